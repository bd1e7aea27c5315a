"""Calls on the current run, and MLflow-like second names for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from unitrack.errors import UsageError
from unitrack.events import FinalStatus
from unitrack.run import Run
from unitrack.session import current, init

__all__ = [
    "alert", "define_metric", "end_run", "finish", "flush", "log", "log_artifact", "log_audio", "log_dataset",
    "log_figure", "log_file", "log_histogram", "log_html", "log_image", "log_metric", "log_metrics",
    "log_model", "log_param", "log_params", "log_predictions", "log_table", "log_text", "log_video",
    "remove_tags", "set_tags", "start_run", "use_artifact", "use_model",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")


def _on_current(method: Callable[Concatenate[Run, P], R]) -> Callable[P, R]:
    """Return `method` as a function of the current run."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(current(), *args, **kwargs)

    return call


def log(values: Mapping[str, Any], step: float | None = None) -> None:
    """Log `values` into the current run, see `Run.log`."""
    current().log(values, step)  # not by _on_current: each run binds its own fast `log`


alert = _on_current(Run.alert)
define_metric = _on_current(Run.define_metric)
finish = _on_current(Run.finish)
flush = _on_current(Run.flush)
log_artifact = _on_current(Run.log_artifact)
log_audio = _on_current(Run.log_audio)
log_dataset = _on_current(Run.log_dataset)
log_figure = _on_current(Run.log_figure)
log_file = _on_current(Run.log_file)
log_histogram = _on_current(Run.log_histogram)
log_html = _on_current(Run.log_html)
log_image = _on_current(Run.log_image)
log_model = _on_current(Run.log_model)
log_predictions = _on_current(Run.log_predictions)
log_table = _on_current(Run.log_table)
log_text = _on_current(Run.log_text)
log_video = _on_current(Run.log_video)
remove_tags = _on_current(Run.remove_tags)
set_tags = _on_current(Run.set_tags)
use_artifact = _on_current(Run.use_artifact)
use_model = _on_current(Run.use_model)


def start_run(run_name: str | None = None, *, run_id: str | None = None, nested: bool = False, **settings: Any) -> Run:
    """Begin a run as MLflow users do; `settings` go to `init`. An open run needs `nested=True`."""
    try:
        opened: Run | None = current()
    except UsageError:
        opened = None
    if opened is not None and not nested:
        raise UsageError(f"run {opened.id} is open: end_run() it first, or start_run(nested=True)")
    return init(name=run_name, id=run_id, **settings)


def end_run(status: str = "FINISHED") -> None:
    """End the current run; `status` as MLflow spells it."""
    words: dict[str, FinalStatus] = {"finished": "finished", "failed": "failed", "killed": "killed"}
    if status.lower() not in words:
        raise UsageError(f"status is FINISHED, FAILED or KILLED, not {status!r}")
    current().finish(words[status.lower()])


def log_metric(key: str, value: Any, step: float | None = None) -> None:
    """Log one metric into the current run."""
    current().log({key: value}, step)


def log_metrics(metrics: Mapping[str, Any], step: float | None = None) -> None:
    """Log several metrics of one step into the current run."""
    current().log(metrics, step)


def log_param(key: str, value: Any) -> None:
    """Log one parameter of the current run."""
    current().config.update({key: value})


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters of the current run."""
    current().config.update(params)
