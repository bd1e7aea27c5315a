"""`unitrack sync --status`: what each backend has of each run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from unitrack.cli._output import Console, duration, emit, styled, table
from unitrack.config import Settings
from unitrack.dispatch.status import BackendStatus, BackendSummary, backend_status, summaries
from unitrack.journal import layout
from unitrack.journal.cursor import cursors

__all__ = ["STYLES", "folders", "show_status"]

STYLES = {"sent": "green", "live": "cyan", "busy": "yellow", "pending": "yellow", "failed": "red"}
_MOST_ROWS = 20
_MOST_LOWERED = 20
_LONGEST_ERROR = 60


def folders(store: Path) -> list[Path]:
    """Return the folders of all runs."""
    folder = layout.runs_dir(store)
    return sorted(path for path in folder.iterdir() if layout.journals(path)) if folder.is_dir() else []


def show_status(settings: Settings, runs: Sequence[str], to: Sequence[str], *, as_json: bool, everything: bool) -> None:
    """Print one row a run and backend; without `runs`, sums first, and of the runs those that aren't sent."""
    found = [
        backend_status(folder, name, now=time.time())
        for folder in ([layout.run_dir(settings.store, run) for run in runs] or folders(settings.store))
        for name in dict.fromkeys([*settings.backends, *cursors(folder)])
        if name in to or not to
    ]

    def render(console: Console) -> None:
        if runs or everything:
            _render(found, console, most=None)
        else:
            _render_summary(summaries(found), console)
            _render([one for one in found if one.state != "sent" or one.dead], console, most=_MOST_ROWS)

    emit(found, as_json=as_json, render=render)


def _render_summary(found: Sequence[BackendSummary], console: Console) -> None:
    columns = ["backend", "runs", "sent", "live", "pending", "failed", "events", "to send", "lag", "dead", "lowered"]
    rows = [
        (one.backend, one.runs, one.sent, one.live, one.pending, one.failed, one.events_sent, one.events_pending,
         duration(one.lag), one.dead, one.lowered)
        for one in found
    ]  # fmt: skip
    console.print(table(columns, rows, right=columns[1:]))
    for one in found:
        if one.error is not None:
            console.print(f"{one.backend}: {one.error}", style="red")


def _render(found: Sequence[BackendStatus], console: Console, *, most: int | None) -> None:
    shown = found[-most:] if most is not None else found
    columns = ["run", "backend", "state", "sent", "pending", "lag", "dead", "lowered", "last error"]
    rows = [
        (one.run, one.backend, styled(one.state, STYLES[one.state]), one.sent, one.pending, duration(one.lag),
         one.dead, len(one.lowered), _short(one.error))
        for one in shown
    ]  # fmt: skip
    if rows or most is None:
        console.print(table(columns, rows, right=("sent", "pending", "lag", "dead", "lowered")))
    if len(shown) < len(found):
        console.print(f"and {len(found) - len(shown)} older ones: --all shows them", style="dim")
    if most is None:
        _render_lowered(shown, console)


def _short(error: str | None) -> str | None:
    return error if error is None or len(error) <= _LONGEST_ERROR else f"{error[:_LONGEST_ERROR]}..."


def _render_lowered(found: Iterable[BackendStatus], console: Console) -> None:
    for one in found:
        if one.error is not None and _short(one.error) != one.error:
            console.print(f"{one.backend}: {one.run}: {one.error}", style="red")
        for each in one.lowered[:_MOST_LOWERED]:
            console.print(f"{one.backend}: {one.run}: {each.kind}: {each.name}: {each.detail}", style="dim")
        if len(one.lowered) > _MOST_LOWERED:
            rest = len(one.lowered) - _MOST_LOWERED
            console.print(f"{one.backend}: {one.run}: and {rest} more: --json shows them", style="dim")
