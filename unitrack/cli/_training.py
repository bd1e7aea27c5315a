"""What `rerun` and `gate` share: the rerunner of this project, and progress while jobs train."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from unitrack.capture.hardware import HardwareCollector
from unitrack.cli._output import note, text_of
from unitrack.cli._watch import watched_over
from unitrack.errors import PluginError
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.rerun.executors.process import ProcessExecutor
from unitrack.rerun.runner import Rerunner
from unitrack.rerun.scheduler import how_many

if TYPE_CHECKING:
    from unitrack.config import Settings, TrainSettings
    from unitrack.rerun.executors import Executor
    from unitrack.rerun.git import Repository

__all__ = ["jobs_option", "limit_of", "make_executor", "make_rerunner", "stopped_in_order", "warn_of"]

_WATCHED = "unitrack.cli._training.watched"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def jobs_option(command: _Command) -> _Command:
    """Add `--jobs N` to a command."""
    words = "How many to train at a time; [train].jobs, or as many containers as fit."
    return click.option("--jobs", type=click.IntRange(min=1), metavar="N", help=words)(command)


def limit_of(train: TrainSettings, jobs: int | None) -> int:
    """Return how many jobs may run at a time: as asked, as the settings say, or as fit into this machine."""
    return jobs or train.jobs or how_many(train, HardwareCollector().collect())


def make_executor(settings: Settings) -> Executor:
    """Open the executor that `[train]` names; PluginError if nothing of that name is installed."""
    train = settings.train
    if train is None:
        return ProcessExecutor()  # Rerunner says what is missing
    name = train.executor or ("process" if train.container is None else "container")
    plugins = load_plugins(settings)
    found = plugins.named("executors")
    if name not in found:
        known = ", ".join(sorted(found))
        message = f"[train].executor: no executor {name!r} can be used in this Python, found: {known}"
        raise PluginError(". ".join([*map(str, plugins.problems), message]))
    opened: Executor = found[name].open(train, store=settings.store)
    return opened


def make_rerunner(repository: Repository, settings: Settings, *, fresh: bool) -> Rerunner:
    """Return what trains commits of this project, with the executor of its settings.

    From here to the end of the command it is watched over: if it is killed, nothing of it is left.
    """
    context = click.get_current_context()
    if _WATCHED not in context.meta:
        context.meta[_WATCHED] = True
        context.with_resource(watched_over(settings))
    return Rerunner(
        repository=repository,
        settings=settings,
        executor=make_executor(settings),
        open_run=lambda run: get_run(run, dir=settings.store),
        environ=os.environ,
        fresh=fresh,
    )


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Let SIGTERM, as CI systems send it, unwind like Ctrl-C: jobs are ended and checkouts removed."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def warn_of(warnings: tuple[str, ...]) -> None:
    """Show warnings on stderr."""
    for warning in warnings:
        note(f"unitrack: warning: {text_of(warning)}")
