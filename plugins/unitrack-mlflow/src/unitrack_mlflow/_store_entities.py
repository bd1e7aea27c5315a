"""Runs of ours as MLflow's entities. Pure: a view goes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LifecycleStage,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)

from unitrack import RunView, events
from unitrack.model import restore
from unitrack_mlflow._mapping import flatten
from unitrack_mlflow._store_runs import MODELS, RUN

__all__ = ["experiment_of", "model_of", "points_of", "run_of"]

_CONTEXT = "mlflow.data.context"


def experiment_of(project: str, uri: str, times: tuple[float, float] = (0, 0)) -> Experiment:
    """Return a project as an experiment: its name is its id. `times` are its first run's start and last run's end."""
    first, last = (int(at * 1000) for at in times)
    return Experiment(project, project, uri, LifecycleStage.ACTIVE, [], first, last)


def run_of(view: RunView, uri: str) -> Run:
    """Return a run with all that MLflow asks of one."""
    data = RunData(_latest(view), _params(view), [RunTag(key, value) for key, value in _tags(view).items()])
    outputs = [
        LoggedModelOutput(model_id, model.get("step", 0))
        for model_id, model in view.captures.get(MODELS, {}).items()
        if "step" in model
    ]
    inputs = RunInputs(dataset_inputs=[_dataset(used) for used in view.datasets], model_inputs=[])
    return Run(_info(view, uri), data, inputs, RunOutputs(outputs))


def _info(view: RunView, uri: str) -> RunInfo:
    about = view.captures.get(RUN, {})
    ended = None if view.ended is None else about.get("end_time") or int(view.ended * 1000)
    return RunInfo(
        run_id=view.id, experiment_id=view.project, user_id=about.get("user_id") or "", status=view.status.upper(),
        start_time=about.get("start_time") or int(view.started * 1000), end_time=ended,
        lifecycle_stage=LifecycleStage.ACTIVE, artifact_uri=f"{uri}/runs/{view.id}/artifacts",
        run_name=view.name or view.id,
    )  # fmt: skip


def _params(view: RunView) -> list[Param]:
    return [
        Param(key, json.dumps(value) if isinstance(value, (dict, list)) else str(value))
        for key, value in flatten(view.params)
    ]


def _tags(view: RunView) -> dict[str, str]:
    tags = {**dict.fromkeys(view.tags, "true"), **view.tag_values, "mlflow.runName": view.name or view.id}
    if view.parent is not None:
        tags["mlflow.parentRunId"] = view.parent
    return tags


# -- metrics -------------------------------------------------------------------------------------


def points_of(view: RunView) -> Iterator[Metric]:
    """Yield all points, in order of time. MLflow's steps are whole, its first is 0."""
    for _, event in view.events():
        if isinstance(event, events.Metrics):
            step, stamp = int(event.step or 0), round(event.time * 1000)
            for key, value in event.values.items():
                yield Metric(key, float(restore(value)), stamp, step)


def _latest(view: RunView) -> list[Metric]:
    """Return for each metric the point that MLflow calls its latest: of the highest step, then time."""
    latest: dict[str, Metric] = {}
    for point in points_of(view):
        old = latest.get(point.key)
        if old is None or (point.step, point.timestamp) >= (old.step, old.timestamp):
            latest[point.key] = point
    return list(latest.values())


# -- data and models -----------------------------------------------------------------------------


def _dataset(used: events.DatasetUsed) -> DatasetInput:
    about = used.metadata
    dataset = Dataset(
        used.name, (used.digest or used.version or "unknown").removeprefix("sha256:")[:36],
        about.get("source_type", "local"), about.get("source", json.dumps({"uri": used.uri or used.name})),
        about.get("schema"), about.get("profile"),
    )  # fmt: skip
    return DatasetInput(dataset, [InputTag(_CONTEXT, used.split)] if used.split else [])


def model_of(model_id: str, about: dict[str, Any], view: RunView, uri: str) -> LoggedModel:
    """Return a logged model from what its run says of it."""
    return LoggedModel(
        experiment_id=view.project, model_id=model_id, name=about["name"],
        artifact_location=f"{uri}/runs/{view.id}/models/{model_id}/{about['name']}",
        creation_timestamp=about["created"], last_updated_timestamp=about["updated"],
        model_type=about.get("type"), source_run_id=view.id if about.get("sourced") else None,
        status=LoggedModelStatus(about["status"]), tags=dict(about.get("tags") or {}),
        params=dict(about.get("params") or {}), metrics=[],
    )  # fmt: skip
