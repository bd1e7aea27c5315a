"""MLflow's module by its own names: `import unitrack.compat.mlflow as mlflow`. What it does is in docs/compat.md.

Autologging and model flavours need MLflow itself: keep `import mlflow`, install `unitrack-mlflow`, and call
`mlflow.set_tracking_uri("unitrack:")`.
"""

from __future__ import annotations

from unitrack.compat._support import Namespace, refusing
from unitrack.compat.mlflow import client, entities, exceptions, tracking
from unitrack.compat.mlflow._data import load
from unitrack.compat.mlflow._fluent import (
    ActiveRun,
    active_run,
    create_experiment,
    delete_tag,
    end_run,
    get_experiment,
    get_experiment_by_name,
    get_run,
    get_tracking_uri,
    last_active_run,
    log_artifact,
    log_artifacts,
    log_dict,
    log_figure,
    log_image,
    log_input,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_table,
    log_text,
    set_experiment,
    set_tag,
    set_tags,
    set_tracking_uri,
    start_run,
)
from unitrack.compat.mlflow.client import MlflowClient
from unitrack.compat.mlflow.exceptions import MlflowException

__all__ = [
    "ActiveRun", "MlflowClient", "MlflowException", "active_run", "client", "create_experiment", "data", "delete_tag",
    "end_run", "entities", "exceptions", "get_experiment", "get_experiment_by_name", "get_run", "get_tracking_uri",
    "last_active_run", "log_artifact", "log_artifacts", "log_dict", "log_figure", "log_image", "log_input",
    "log_metric", "log_metrics", "log_param", "log_params", "log_table", "log_text", "set_experiment",
    "set_tag", "set_tags", "set_tracking_uri", "start_run", "tracking",
]  # fmt: skip

_STORE = "keep `import mlflow`, install unitrack-mlflow and call mlflow.set_tracking_uri('unitrack:')"
data = Namespace(
    "mlflow.data", _STORE, from_pandas=load, from_polars=load, from_numpy=load,
)  # fmt: skip

_FLAVOURS = (
    "catboost", "fastai", "h2o", "keras", "langchain", "lightgbm", "onnx", "openai", "prophet", "pyfunc", "pyspark",
    "pytorch", "sentence_transformers", "shap", "sklearn", "spacy", "spark", "statsmodels", "tensorflow",
    "transformers", "xgboost",
)  # fmt: skip
UNSUPPORTED = {
    **dict.fromkeys(_FLAVOURS, f"flavours are MLflow's own: {_STORE}; or log_artifact() the model's file"),
    "autolog": _STORE,
    "delete_experiment": "runs are folders of the store: remove them there",
    "delete_run": "runs are folders of the store: remove them there",
    "disable_system_metrics_logging": "nothing to switch off",
    "enable_system_metrics_logging": "set `capture` in unitrack.toml",
    "evaluate": _STORE,
    "log_model": f"log_artifact() the model's file, or {_STORE}",
    "log_outputs": _STORE,
    "models": _STORE,
    "projects": "`unitrack rerun` runs a command with pinned inputs",
    "register_model": "`unitrack models register` gives a logged model a version",
    "run": "`unitrack rerun` runs a command with pinned inputs",
    "search_experiments": "unitrack.runs() lists runs with their project",
    "search_runs": "unitrack.runs(project=..., where=...), or `unitrack query` for SQL",
    "set_registry_uri": "the registry is in the store: `unitrack models`",
    "trace": _STORE,
}
__getattr__ = refusing("mlflow", UNSUPPORTED, f"see docs/compat.md for what there is, or {_STORE}")
