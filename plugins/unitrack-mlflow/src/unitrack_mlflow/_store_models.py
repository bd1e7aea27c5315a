"""MLflow's logged models: what is known of one is a capture of its run, its files are an artifact of kind `model`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.search_utils import SearchLoggedModelsUtils

import unitrack
from unitrack_mlflow._store_entities import model_of
from unitrack_mlflow._store_runs import MODELS, Writers

__all__ = ["LoggedModels"]

_MOST = 1000


class LoggedModels:
    """The part of the tracking store that `mlflow.<flavour>.log_model` and `load_model` need."""

    writers: Writers
    _project: Any

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[Any] | None = None,
        params: Sequence[Any] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Note a model to come. One logged outside of any run gets a run of its own, named after it."""
        model_id, now = f"m-{uuid.uuid4().hex}", _milliseconds()
        name = name or _generate_random_name()
        run_id = source_run_id or self.writers.begin(self._project(experiment_id), name, None, {}).id
        about = {
            "name": name, "created": now, "updated": now, "type": model_type, "status": str(LoggedModelStatus.PENDING),
            "sourced": source_run_id is not None, "tags": {tag.key: tag.value for tag in tags or ()},
            "params": {param.key: param.value for param in params or ()},
        }  # fmt: skip
        return self._note(run_id, model_id, about)

    def _note(self, run_id: str, model_id: str, about: dict[str, Any]) -> LoggedModel:
        """Write what is known of a model into its run."""
        self.writers.run(run_id).capture(MODELS, {model_id: about})
        view = self.writers.view(run_id)
        return model_of(model_id, view.captures[MODELS][model_id], view, self.writers.uri)

    def _change(self, model_id: str, about: dict[str, Any]) -> LoggedModel:
        view = self._run_with(model_id)
        return self._note(view.id, model_id, {**about, "updated": _milliseconds()})

    def _run_with(self, model_id: str) -> unitrack.RunView:
        """Return the run that holds a model: an open one, else the newest of the store. Raises MlflowException."""
        for run_id in self.writers.open_ids():
            view = self.writers.view(run_id)
            if model_id in view.captures.get(MODELS, {}):
                return view
        for view in unitrack.runs(dir=self.writers.root):
            if model_id in view.captures.get(MODELS, {}):
                return view
        raise MlflowException(f"Logged model with ID {model_id!r} not found.", RESOURCE_DOES_NOT_EXIST)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a model as it is now. Raises MlflowException if there is none."""
        view = self._run_with(model_id)
        return model_of(model_id, view.captures[MODELS][model_id], view, self.writers.uri)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Say that a model is whole, or failed."""
        model = self._change(model_id, {"status": str(status)})
        if model.source_run_id is None:
            self.writers.end(self._run_with(model_id).id, "FINISHED")
        return model

    def log_logged_model_params(self, model_id: str, params: Sequence[Any]) -> None:
        """Add params to a model."""
        self._change(model_id, {"params": {param.key: param.value for param in params}})

    def set_logged_model_tags(self, model_id: str, tags: Sequence[Any]) -> None:
        """Set tags of a model."""
        self._change(model_id, {"tags": {tag.key: tag.value for tag in tags}})

    def log_outputs(self, run_id: str, models: Sequence[LoggedModelOutput]) -> None:
        """Note at which step of the run its models were made."""
        for output in models:
            self.writers.run(run_id).capture(MODELS, {output.model_id: {"step": output.step}})

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None = None,
        datasets: Any = None,
        max_results: int | None = None,
        order_by: Any = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """Return the models that fit."""
        projects = [self._project(experiment_id) for experiment_id in experiment_ids]
        known = [
            model_of(model_id, about, view, self.writers.uri)
            for view in (unitrack.runs(project=projects, dir=self.writers.root) if projects else [])
            for model_id, about in view.captures.get(MODELS, {}).items()
            if "name" in about
        ]
        found = SearchLoggedModelsUtils.filter_logged_models(known, filter_string, datasets)
        found = SearchLoggedModelsUtils.sort(found, order_by)
        return PagedList(*SearchLoggedModelsUtils.paginate(found, page_token, max_results or _MOST))


def _milliseconds() -> int:
    return int(time.time() * 1000)
