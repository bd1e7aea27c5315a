"""What `unitrack import` and `unitrack copy` share: readers by name, options as text, progress, the account."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from unitrack.cli._output import Console, note, styled, table
from unitrack.errors import PluginError
from unitrack.foreign import Reader
from unitrack.importing import Imported, ImportReport, Progress
from unitrack.plugins import Plugins

if TYPE_CHECKING:
    import rich.progress

__all__ = ["options_of", "reader_named", "render_import", "showing"]

_STYLES = {"imported": "green", "skipped": "dim", "mismatched": "bold red", "failed": "red"}
_TOLD_EVERY = 5.0
_MOST_ROWS = 50


def reader_named(plugins: Plugins, name: str) -> Reader:
    """Return the reader `name`. Raises PluginError that says which there are."""
    readers = plugins.named("readers")
    if name in readers:
        found: Reader = readers[name]
        return found
    near = difflib.get_close_matches(name, readers, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    known = ", ".join(sorted(readers)) or "none"
    message = f"no plugin offers a reader {name!r}, found: {known}{meant}. `unitrack import` lists them"
    raise PluginError(". ".join([*map(str, plugins.problems), message]))


def options_of(words: Iterable[str]) -> dict[str, str]:
    """Return `key=value` words as a dict."""
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{word!r} is not key=value", param_hint="-o")
        options[key.replace("-", "_")] = value
    return options


@contextmanager
def showing(*, as_json: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield what shows how an import goes on: a bar on a terminal, a line now and then elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield _Lines().tell
        return
    import rich.console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Bars(*columns, console=rich.console.Console(stderr=True), transient=True) as bars:
        task = bars.add_task("importing", total=None)
        yield _Bar(bars, task).show


class _Bar:
    """The line on a terminal."""

    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._bars, self._task = bars, task

    def show(self, progress: Progress) -> None:
        self._bars.update(self._task, description=_line(progress))
        if progress.waiting:
            self._bars.console.print(_line(progress), markup=False, highlight=False)


class _Lines:
    """Lines for a log, not too many."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _TOLD_EVERY

    def tell(self, progress: Progress) -> None:
        if progress.waiting or time.monotonic() >= self._next:
            self._next = time.monotonic() + _TOLD_EVERY
            note(_line(progress))


def _line(progress: Progress) -> str:
    if progress.waiting:
        return f"{progress.run}: {progress.waiting}; trying again"
    events = f", {progress.events:,} events" if progress.events else ""
    return f"{progress.done:,} runs done, now {progress.run}{events}"


# -- the account ---------------------------------------------------------------------------------


def render_import(report: ImportReport, console: Console) -> None:
    """Write what became of each run, what was lowered, and the sum of it."""
    wrong = [each for each in report.runs if each.state in ("mismatched", "failed")]
    shown = report.runs if len(report.runs) <= _MOST_ROWS else wrong[:_MOST_ROWS]
    if shown:
        columns = ["run", "state", "params", "points", "tags", "artifacts", "media", "lowered"]
        console.print(table(columns, map(_cells, shown), right=columns[2:]))
    for run in report.runs:
        for each in run.lowered:
            console.print(f"{run.run}: {each.kind}: {each.name}: {each.detail}", style="dim")
    for run in wrong:
        console.print(f"{run.run}: {run.reason}", style="red")
    if report.error:
        console.print(f"stopped: {report.error}. What is imported stays; run the same command to go on", style="red")
    console.print(_sum(report), style=None if report.complete else "bold red")


def _cells(run: Imported) -> tuple[object, ...]:
    counts = run.counts
    state = styled(run.state, _STYLES[run.state])
    if run.state in ("skipped", "failed"):
        return (run.run, state, None, None, None, None, None, None)
    return (run.run, state, counts.params, counts.points, counts.tags, counts.artifacts, counts.media,
            len(run.lowered))  # fmt: skip


def _sum(report: ImportReport) -> str:
    states = [each.state for each in report.runs]
    written = [each.counts for each in report.runs]
    return (
        f"{states.count('imported'):,} runs imported and checked, {states.count('skipped'):,} skipped (there already), "
        f"{states.count('mismatched'):,} mismatched, {states.count('failed'):,} failed: "
        f"{sum(each.points for each in written):,} points, {sum(each.artifacts for each in written):,} artifacts, "
        f"{sum(each.media for each in written):,} media, {sum(len(each.lowered) for each in report.runs):,} lowered"
    )
