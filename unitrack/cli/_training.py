"""What `rerun` and `gate` share: the rerunner of this project, and progress while jobs train."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from unitrack.cli._output import duration, note, text_of
from unitrack.errors import PluginError
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.rerun.executors.process import ProcessExecutor
from unitrack.rerun.runner import Rerunner, log_tail

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.rerun.executors import Executor
    from unitrack.rerun.git import Repository
    from unitrack.rerun.job import JobResult

__all__ = ["TrainingProgress", "make_executor", "make_rerunner", "stopped_in_order", "warn_of"]


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
    """Return what trains commits of this project, with the executor of its settings."""
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


class TrainingProgress:
    """Shows jobs on stderr: a live table on a terminal, one line a job in a pipe. A context manager."""

    def __init__(self, rerunner: Rerunner, sides: tuple[str, ...], seeds: tuple[int, ...]) -> None:
        self._rerunner = rerunner
        self._cells: dict[str, dict[int, str]] = {side: dict.fromkeys(seeds, "") for side in sides}
        self._ended = 0
        self._total = len(sides) * len(seeds)
        self._started: tuple[str, int, float] | None = None
        self._live: Any = _live_display(self._render) if sys.stderr.isatty() else None

    def __enter__(self) -> TrainingProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, side: str, seed: int) -> None:
        """Show that a job trains now."""
        self._started = (side, seed, time.monotonic())

    def ended(self, side: str, seed: int, result: JobResult) -> None:
        """Show how a job ended; of one that failed, the end of its output."""
        self._started = None
        self._ended += 1
        words = _words(result)
        self._cells[side][seed] = words
        if self._live is None:
            note(f"[{self._ended}/{self._total}] {side} seed {seed}: {words}")
        if not result.ok:
            for line in log_tail(self._rerunner.log(result)):
                note(f"    {text_of(line)}")

    def _render(self) -> Any:
        import rich.table

        made = rich.table.Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
        for title in ("seed", *self._cells):
            made.add_column(title)
        for seed in next(iter(self._cells.values())):
            made.add_row(str(seed), *(self._cell(side, seed) for side in self._cells))
        return made

    def _cell(self, side: str, seed: int) -> str:
        if self._started is not None and self._started[:2] == (side, seed):
            return f"trains, {duration(int(time.monotonic() - self._started[2]) or 1)}"
        return self._cells[side][seed]


def _words(result: JobResult) -> str:
    if not result.ok:
        return f"no evidence: {text_of(result.reason)}"
    return "known" if result.cached else duration(result.seconds)


def _live_display(render: Any) -> Any:
    import rich.console
    import rich.live

    console = rich.console.Console(stderr=True, markup=False, highlight=False)
    return rich.live.Live(get_renderable=render, console=console, refresh_per_second=2)
