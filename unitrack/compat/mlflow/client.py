"""`MlflowClient`: the same calls, with the run named in each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from unitrack.compat._support import refuse
from unitrack.compat.mlflow import _fluent as fluent
from unitrack.compat.mlflow import _logging as calls
from unitrack.compat.mlflow._state import state, status_of
from unitrack.compat.mlflow.entities import Experiment, Metric, Run
from unitrack.reader import open_store

__all__ = ["MlflowClient"]


class MlflowClient:
    """What training code asks of MLflow's client. Runs go into unitrack's store, whatever `tracking_uri` is."""

    def __init__(self, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        if tracking_uri is not None and tracking_uri != state.uri:
            state.set_uri(tracking_uri)

    @property
    def tracking_uri(self) -> str:
        """As `mlflow.get_tracking_uri`."""
        return fluent.get_tracking_uri()

    # -- experiments and runs --------------------------------------------------------------------

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None
    ) -> str:
        """As `mlflow.create_experiment`, in the run or project named."""
        return fluent.create_experiment(name, artifact_location, tags)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """As `mlflow.get_experiment`, in the run or project named."""
        return fluent.get_experiment(experiment_id)

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """As `mlflow.get_experiment_by_name`, in the run or project named."""
        return fluent.get_experiment_by_name(name)

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Begin a run that is written until `set_terminated`; its start is now, whatever `start_time` says."""
        state.warned.ignored("MlflowClient.create_run", {"start_time": start_time})
        told = dict(tags or {})
        parent, name = told.pop("mlflow.parentRunId", None), told.pop("mlflow.runName", None)
        run = state.begin(project=str(experiment_id), name=run_name or name, parent=parent)
        calls.set_tags(run, told)
        return state.read(run.id)

    def get_run(self, run_id: str) -> Run:
        """As `mlflow.get_run`, in the run or project named."""
        return state.read(run_id)

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        """End a run, now."""
        state.written(run_id)
        state.end(run_id, status_of(status))

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Give a run another name, or end it."""
        if name is not None:
            state.written(run_id).rename(name)
        if status is not None and status != "RUNNING":
            self.set_terminated(run_id, status)

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        """Return the points of a metric in order of time. Raises UsageError if there is none of that name."""
        series = open_store(state.store).run(run_id).series(key)
        points = zip(series.values, series.times, series.steps, strict=True)
        return [Metric(key, value, int(at * 1000), None if step != step else step) for value, at, step in points]

    # -- logging ---------------------------------------------------------------------------------

    def log_metric(
        self, run_id: str, key: str, value: Any, timestamp: int | None = None, step: float | None = None,
        synchronous: bool | None = None, dataset_name: str | None = None, dataset_digest: str | None = None,
        model_id: str | None = None,
    ) -> None:  # fmt: skip
        """As `mlflow.log_metric`, in the run or project named."""
        state.warned.ignored("MlflowClient.log_metric", {"model_id": model_id, "dataset_name": dataset_name})
        calls.log_metrics(state.written(run_id), {key: value}, step, timestamp)

    def log_param(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """As `mlflow.log_param`, in the run or project named."""
        calls.log_params(state.written(run_id), {key: value})
        return value

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> None:
        """As `mlflow.set_tag`, in the run or project named."""
        calls.set_tags(state.written(run_id), {key: value})

    def delete_tag(self, run_id: str, key: str) -> None:
        """As `mlflow.delete_tag`, in the run or project named."""
        calls.delete_tag(state.written(run_id), key)

    def log_batch(
        self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Sequence[Any] = (),
        synchronous: bool | None = None,
    ) -> None:  # fmt: skip
        """As `mlflow.log_batch`, in the run or project named."""
        calls.log_batch(state.written(run_id), metrics, params, tags)

    def log_artifact(self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """As `mlflow.log_artifact`, in the run or project named."""
        calls.log_artifact(state.written(run_id), local_path, artifact_path)

    def log_artifacts(self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """As `mlflow.log_artifacts`, in the run or project named."""
        calls.log_artifacts(state.written(run_id), local_dir, artifact_path)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """As `mlflow.log_text`, in the run or project named."""
        calls.log_text(state.written(run_id), text, artifact_file)

    def log_dict(self, run_id: str, dictionary: Any, artifact_file: str) -> None:
        """As `mlflow.log_dict`, in the run or project named."""
        calls.log_dict(state.written(run_id), dictionary, artifact_file)

    def log_figure(self, run_id: str, figure: Any, artifact_file: str, *, save_kwargs: Any = None) -> None:
        """As `mlflow.log_figure`, in the run or project named."""
        calls.log_figure(state.written(run_id), figure, artifact_file, save_kwargs)

    def log_image(
        self, run_id: str, image: Any, artifact_file: str | None = None, key: str | None = None,
        step: float | None = None, timestamp: int | None = None, synchronous: bool | None = None,
    ) -> None:  # fmt: skip
        """As `mlflow.log_image`, in the run or project named."""
        calls.log_image(state.written(run_id), image, artifact_file, key, step)

    def log_table(self, run_id: str, data: Any, artifact_file: str) -> None:
        """As `mlflow.log_table`, in the run or project named."""
        calls.log_table(state.written(run_id), data, artifact_file)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(
            f"mlflow.MlflowClient.{name}",
            "keep `import mlflow` and call mlflow.set_tracking_uri('unitrack:'), or use unitrack.runs() and "
            "`unitrack models`",
        )
