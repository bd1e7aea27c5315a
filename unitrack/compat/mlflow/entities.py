"""MLflow's entities, as far as code that logs and reads runs looks at them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from unitrack.reader import RunView

__all__ = ["Experiment", "Metric", "Param", "Run", "RunData", "RunInfo", "RunStatus", "RunTag"]


class Metric(msgspec.Struct, frozen=True):
    """One value; `timestamp` is in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: float | None = None


class Param(msgspec.Struct, frozen=True):
    """One parameter."""

    key: str
    value: Any


class RunTag(msgspec.Struct, frozen=True):
    """One tag."""

    key: str
    value: str


class RunStatus:
    """How a run stands, by MLflow's words."""

    RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A project of unitrack's; its name is its id."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str = "active"
    tags: dict[str, str] = {}


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who a run is. Times are in milliseconds."""

    run_id: str
    experiment_id: str
    run_name: str
    status: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: str = "active"
    user_id: str = ""

    @property
    def run_uuid(self) -> str:
        return self.run_id


class RunData(msgspec.Struct, frozen=True, kw_only=True):
    """What a run logged: each metric's last value, params as given, tags."""

    metrics: dict[str, float]
    params: dict[str, Any]
    tags: dict[str, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it was when it was read."""

    info: RunInfo
    data: RunData


def run_of(view: RunView) -> Run:
    """Return what a view of ours tells, as MLflow's entity."""
    info = RunInfo(
        run_id=view.id, experiment_id=view.project, run_name=view.name or view.id, status=view.status.upper(),
        start_time=int(view.started * 1000), end_time=None if view.ended is None else int(view.ended * 1000),
        artifact_uri=view.path.absolute().as_uri(),
    )  # fmt: skip
    metrics = {name: metric.last for name, metric in view.metrics.items()}
    tags = {**dict.fromkeys(view.tags, "true"), **view.tag_values}
    return Run(info=info, data=RunData(metrics=metrics, params=dict(view.params), tags=tags))


def milliseconds() -> int:
    """Return the time now."""
    return int(time.time() * 1000)
