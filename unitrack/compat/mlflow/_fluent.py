"""The functions of MLflow's module: they act on the innermost run of the thread, and begin one if there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from unitrack._run_data import outcome_of
from unitrack.compat.mlflow import _logging as calls
from unitrack.compat.mlflow._state import state, status_of
from unitrack.compat.mlflow.entities import Experiment, Run, RunData, RunInfo, run_of
from unitrack.errors import UsageError
from unitrack.reader import open_store
from unitrack.run import Run as Written

__all__ = [
    "ActiveRun", "active_run", "create_experiment", "delete_tag", "end_run", "get_experiment", "get_experiment_by_name",
    "get_run", "get_tracking_uri", "last_active_run", "log_artifact", "log_artifacts", "log_batch", "log_dict",
    "log_figure", "log_image", "log_input", "log_metric", "log_metrics", "log_param", "log_params", "log_table",
    "log_text", "set_experiment", "set_tag", "set_tags", "set_tracking_uri", "start_run",
]  # fmt: skip


class ActiveRun:
    """An open run: `info.run_id`, `info.experiment_id`, `info.run_name`, `data`; its end is the `with` block's."""

    def __init__(self, run: Written) -> None:
        self._id = run.id
        self._info = state.read(run.id).info

    @property
    def info(self) -> RunInfo:
        """Who it is, as when it began."""
        return self._info

    @property
    def data(self) -> RunData:
        """What it has logged up to now."""
        return state.read(self._id).data

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state.end(self._id, *outcome_of(error))


# -- where runs go -------------------------------------------------------------------------------


def set_tracking_uri(uri: str | os.PathLike[str]) -> None:
    """Take a store (`unitrack:///PATH`); any other address is a warning that says where it belongs."""
    state.set_uri(uri)


def get_tracking_uri() -> str:
    """Return what was set, else the store."""
    return state.uri or f"unitrack://{state.store.absolute()}"


def set_experiment(
    experiment_name: str | None = None, experiment_id: str | None = None, trace_location: Any = None
) -> Experiment:
    """Choose the project of runs to come; an experiment's name is its id."""
    state.warned.ignored("mlflow.set_experiment", {"trace_location": trace_location})
    name = experiment_name or experiment_id
    if not name:
        raise UsageError("set_experiment takes a name")
    state.project = str(name)
    return state.experiment(state.project)


def create_experiment(
    name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None, trace_location: Any = None
) -> str:
    """Return the id of the project `name`, which is its name: projects need no making."""
    state.warned.ignored(
        "mlflow.create_experiment",
        {"artifact_location": artifact_location, "tags": tags or None, "trace_location": trace_location},
    )
    return name


def get_experiment(experiment_id: str) -> Experiment:
    """Return a project as an experiment."""
    return state.experiment(str(experiment_id))


def get_experiment_by_name(name: str) -> Experiment | None:
    """Return a project as an experiment, or None if no run is in it and it isn't set."""
    return state.experiment(name) if name == state.project or name in state.known() else None


# -- runs ----------------------------------------------------------------------------------------


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
) -> ActiveRun:
    """Begin a run, or continue the one of `run_id`. Raises UsageError when one is open and `nested` isn't said."""
    stack = state.stack
    if stack and not nested:
        raise UsageError(f"run {stack[-1].info.run_id} is open: mlflow.end_run() it first, or start_run(nested=True)")
    state.warned.ignored("mlflow.start_run", {"log_system_metrics": log_system_metrics or None})
    run_id = run_id or (None if stack else os.environ.pop("MLFLOW_RUN_ID", None))
    parent = parent_run_id or (stack[-1].info.run_id if stack else None)
    if run_id is not None:
        written = state.written(run_id)
    else:
        name = run_name or os.environ.get("MLFLOW_RUN_NAME")
        written = state.begin(project=experiment_id or state.current_project(), name=name, parent=parent)
    told = {**(tags or {}), **({"mlflow.note.content": description} if description else {})}
    calls.set_tags(written, told)
    active = ActiveRun(written)
    stack.append(active)
    return active


def end_run(status: str = "FINISHED") -> None:
    """End the innermost run of the thread, if there is one."""
    if state.stack:
        state.end(state.stack[-1].info.run_id, status_of(status))


def active_run() -> ActiveRun | None:
    """Return the innermost open run of the thread."""
    return state.stack[-1] if state.stack else None


def last_active_run() -> Run | ActiveRun | None:
    """Return the open run, else the newest of the store."""
    if state.stack:
        return active_run()
    store = open_store(state.store)
    rows = store.rows()
    return run_of(store.run(rows[0].id)) if rows else None


def get_run(run_id: str) -> Run:
    """Return a run as it is now. Raises RunNotFoundError."""
    return state.read(run_id)


def _written(run_id: str | None = None) -> Written:
    """Return the run to log into; as in MLflow logging begins one."""
    return state.written(run_id or (active_run() or start_run()).info.run_id)


# -- logging -------------------------------------------------------------------------------------


def log_metric(
    key: str, value: Any, step: float | None = None, synchronous: bool | None = None, timestamp: int | None = None,
    run_id: str | None = None, model_id: str | None = None, dataset: Any = None,
) -> None:  # fmt: skip
    """Log one number; `timestamp` is in milliseconds."""
    state.warned.ignored("mlflow.log_metric", {"model_id": model_id, "dataset": dataset})
    calls.log_metrics(_written(run_id), {key: value}, step, timestamp)


def log_metrics(
    metrics: Mapping[str, Any], step: float | None = None, synchronous: bool | None = None, run_id: str | None = None,
    timestamp: int | None = None, model_id: str | None = None, dataset: Any = None,
) -> None:  # fmt: skip
    """Log numbers of one step."""
    state.warned.ignored("mlflow.log_metrics", {"model_id": model_id, "dataset": dataset})
    calls.log_metrics(_written(run_id), metrics, step, timestamp)


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log one parameter and return it."""
    calls.log_params(_written(), {key: value})
    return value


def log_params(params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None) -> None:
    """Log parameters."""
    calls.log_params(_written(run_id), params)


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> None:
    """Set a tag."""
    calls.set_tags(_written(), {key: value})


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> None:
    """Set tags."""
    calls.set_tags(_written(), tags)


def delete_tag(key: str) -> None:
    """Take a tag off."""
    calls.delete_tag(_written(), key)


def log_artifact(local_path: str, artifact_path: str | None = None, run_id: str | None = None) -> None:
    """Keep a file or folder."""
    calls.log_artifact(_written(run_id), local_path, artifact_path)


def log_artifacts(local_dir: str, artifact_path: str | None = None, run_id: str | None = None) -> None:
    """Keep each file of a folder."""
    calls.log_artifacts(_written(run_id), local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Keep text as a file."""
    calls.log_text(_written(run_id), text, artifact_file)


def log_dict(dictionary: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Keep a dict as a file."""
    calls.log_dict(_written(run_id), dictionary, artifact_file)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
    """Keep a figure as a file."""
    calls.log_figure(_written(), figure, artifact_file, save_kwargs)


def log_image(
    image: Any, artifact_file: str | None = None, key: str | None = None, step: float | None = None,
    timestamp: int | None = None, synchronous: bool | None = None,
) -> None:  # fmt: skip
    """Show an image, or keep it as a file."""
    calls.log_image(_written(), image, artifact_file, key, step)


def log_table(data: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Show a table."""
    calls.log_table(_written(run_id), data, artifact_file)


def log_input(
    dataset: Any, context: str | None = None, tags: Mapping[str, str] | None = None, model: Any = None
) -> None:
    """Name the data the run reads."""
    state.warned.ignored("mlflow.log_input", {"model": model})
    calls.log_input(_written(), dataset, context, tags)


def log_batch(run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
    """Log entities into a run."""
    calls.log_batch(_written(run_id), metrics, params, tags)
