"""What `unitrack sync` shows while it sends: a line for each backend on a terminal, notes elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unitrack.cli._output import duration, note, text_of
from unitrack.dispatch.dispatcher import Observer
from unitrack.dispatch.messages import Lowering, Message, Note, Progress, Result, Waiting

if TYPE_CHECKING:
    import rich.progress

__all__ = ["progress"]


@contextmanager
def progress(*, as_json: bool) -> Iterator[Observer]:
    """Yield what shows messages as they come."""
    if as_json or not sys.stderr.isatty():
        yield _tell
        return
    import rich.console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20),
               TextColumn("{task.fields[figures]}", markup=False))  # fmt: skip
    with Progress(*columns, console=rich.console.Console(stderr=True), transient=True) as bars:
        yield Bars(bars).show


def _tell(backend: str, message: Message) -> None:
    line = _line(message)
    if line is not None:
        note(f"{backend}: {line}")


def _line(message: Message) -> str | None:
    if isinstance(message, Waiting):
        return f"{message.run}: {message.reason}; trying again in {message.seconds:.0f} s"
    if isinstance(message, Lowering):
        return f"{message.run}: {message.kind}: {message.name}: {message.detail}"
    if isinstance(message, Note):
        return f"{message.run}: {message.text}"
    if isinstance(message, Result) and message.state == "failed":
        return f"{message.run}: {message.pending} events remain: {message.reason}"
    return None


class _Sending:
    """What one backend has taken since the start: a rate needs no more than that."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.runs = self.events = 0
        self.before: tuple[str, int] | None = None

    def add(self, run: str, sent: int) -> None:
        """Count what has come since the last message; the first one of a run may tell of an earlier day's events."""
        if self.before is not None and self.before[0] == run:
            self.events += max(0, sent - self.before[1])
        self.before = run, sent

    def figures(self, message: Progress | Result, now: float) -> str:
        """Return events done, to do, the rate, and how old what is being sent is."""
        rate = self.events / max(now - self.began, 1e-3)
        lag = f", lag {duration(message.lag)}" if isinstance(message, Progress) else ""
        runs = f", {self.runs} runs done" if self.runs > 1 else ""
        return f"{message.sent:,} sent, {message.pending:,} to do, {rate:,.0f}/s{lag}{runs}"


class Bars:
    """One bar for each backend, and the lines above them."""

    def __init__(self, bars: rich.progress.Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._bars, self._clock = bars, clock
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._sending: dict[str, _Sending] = {}

    def show(self, backend: str, message: Message) -> None:
        """Take a message of a backend's worker."""
        if backend not in self._tasks:
            self._tasks[backend] = self._bars.add_task(text_of(backend), total=None, figures="")
            self._sending[backend] = _Sending(self._clock())
        if isinstance(message, (Progress, Result)):
            self._advance(backend, message)
        line = _line(message)
        if line is not None:
            self._bars.console.print(f"{backend}: {line}", markup=False, highlight=False)

    def _advance(self, backend: str, message: Progress | Result) -> None:
        sending = self._sending[backend]
        sending.add(message.run, message.sent)
        sending.runs += isinstance(message, Result)
        self._bars.update(
            self._tasks[backend],
            description=f"{backend} {text_of(message.run)}",
            completed=message.sent,
            total=message.sent + message.pending,
            figures=sending.figures(message, self._clock()),
        )
