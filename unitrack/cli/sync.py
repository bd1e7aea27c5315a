"""`unitrack sync`: send runs to backends, live or late, and say what is sent."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unitrack.cli._output import Console, duration, emit, json_option, note, styled, table
from unitrack.config import BackendSettings, Settings, load_settings
from unitrack.dispatch.dispatcher import Dispatch, Observer, SyncReport, sync
from unitrack.dispatch.messages import Lowering, Message, Progress, Result, Waiting
from unitrack.dispatch.status import BackendStatus, backend_status
from unitrack.errors import RunNotFoundError
from unitrack.journal import layout
from unitrack.journal.cursor import cursor_path, cursors
from unitrack.plugins import load_plugins

if TYPE_CHECKING:
    import rich.progress

__all__ = ["command"]

_REMAINS = 4
_PATIENCE = 60.0
_PATIENCE_FOLLOWING = 900.0
_STYLES = {"sent": "green", "live": "cyan", "busy": "yellow", "pending": "yellow", "failed": "red"}


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--to", metavar="NAME", multiple=True, help="A backend of the settings, again for more. Default: all.")
@click.option("--follow", is_flag=True, help="Go on until the runs have ended; without RUN, for ever.")
@click.option("--status", is_flag=True, help="Send nothing: show what is sent and what is not.")
@click.option("--retry-dead", is_flag=True, help="Offer the records that a backend refused once more.")
@click.option("--patience", type=click.FloatRange(min=0), help="Seconds a tracker may fail before it is left.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="The store.")
@json_option
def command(
    *,
    runs: tuple[str, ...],
    to: tuple[str, ...],
    follow: bool,
    status: bool,
    retry_dead: bool,
    patience: float | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Send runs to the backends of the settings: those given, or all that aren't sent.

    Exits with 0 if everything is sent, 4 if something remains, 2 for wrong use.
    """
    settings = load_settings(overrides={"dir": directory})
    _check_runs(settings.store, runs)
    if status:
        _show_status(settings, runs, to, as_json=as_json)
        return
    dispatch = Dispatch(
        store=settings.store, backends=_chosen(settings, to), runs=_with_dead(settings, runs, retry_dead=retry_dead),
        follow=follow, retry_dead=retry_dead, root=settings.root,
        patience=patience if patience is not None else _PATIENCE_FOLLOWING if follow else _PATIENCE,
    )  # fmt: skip
    with _progress(as_json=as_json) as observe:
        report = sync(dispatch, observe, plugins=load_plugins())
    emit(report, as_json=as_json, render=lambda console: _render(report, dispatch, console))
    if not report.complete:
        click.get_current_context().exit(_REMAINS)


def _check_runs(store: Path, runs: tuple[str, ...]) -> None:
    for run in runs:
        if not layout.run_dir(store, run).is_dir():
            raise RunNotFoundError(f"there is no run {run} in {store}: `unitrack runs` lists those there are")


def _chosen(settings: Settings, names: tuple[str, ...]) -> Mapping[str, BackendSettings]:
    known = settings.backends
    if not known:
        raise click.UsageError(
            "no backend is configured: add a section [backends.NAME] to unitrack.toml, NAME one of those that "
            "`unitrack plugins` lists"
        )
    for name in names:
        if name not in known:
            raise click.BadParameter(
                f"there is no section [backends.{name}], only {', '.join(known)}", param_hint="--to"
            )
    return {name: known[name] for name in names or known}


def _with_dead(settings: Settings, runs: tuple[str, ...], *, retry_dead: bool) -> tuple[str, ...] | None:
    """Return the runs to send; None for all that aren't done. Dead letters alone don't make a run undone."""
    if runs or not retry_dead:
        return runs or None
    return tuple(
        folder.name for folder in _folders(settings.store) if any(cursor.dead for cursor in cursors(folder).values())
    )


def _folders(store: Path) -> list[Path]:
    folder = layout.runs_dir(store)
    return sorted(path for path in folder.iterdir() if layout.journals(path)) if folder.is_dir() else []


# -- progress ------------------------------------------------------------------------------------


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Observer]:
    """Yield what shows messages as they come: a bar for each backend on a terminal, lines elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield _tell
        return
    import rich.console
    import rich.progress

    with rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True) as bars:
        yield _Bars(bars).show


def _tell(backend: str, message: Message) -> None:
    line = _line(message)
    if line is not None:
        note(f"{backend}: {line}")


def _line(message: Message) -> str | None:
    if isinstance(message, Waiting):
        return f"{message.run}: {message.reason}; trying again in {message.seconds:.0f} s"
    if isinstance(message, Lowering):
        return f"{message.run}: {message.kind}: {message.name}: {message.detail}"
    if isinstance(message, Result) and message.state == "failed":
        return f"{message.run}: {message.pending} events remain: {message.reason}"
    return None


class _Bars:
    """One bar for each backend, and the lines above them."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def show(self, backend: str, message: Message) -> None:
        if backend not in self._tasks:
            self._tasks[backend] = self._bars.add_task(backend, total=None)
        if isinstance(message, (Progress, Result)):
            self._bars.update(
                self._tasks[backend],
                description=f"{backend} {message.run}",
                completed=message.sent,
                total=message.sent + message.pending,
            )
        line = _line(message)
        if line is not None:
            self._bars.console.print(f"{backend}: {line}", markup=False, highlight=False)


# -- the result ----------------------------------------------------------------------------------


def _render(report: SyncReport, dispatch: Dispatch, console: Console) -> None:
    rows = [
        (one.run, backend, styled(one.state, _STYLES[one.state]), one.sent, one.pending, one.dead)
        for backend, results in report.results.items()
        for one in results
    ]
    if rows:
        columns = ["run", "backend", "state", "sent", "pending", "dead"]
        console.print(table(columns, rows, right=("sent", "pending", "dead")))
    elif not report.errors:
        console.print("everything is sent")
    for backend, reason in report.errors.items():
        console.print(f"{backend}: {reason}", style="red")
    for backend, results in report.results.items():
        for one in results:
            _advise(backend, one, dispatch, console)


def _advise(backend: str, one: Result, dispatch: Dispatch, console: Console) -> None:
    """Say what remains, why, and the command that tries again."""
    if one.reason and (one.state == "failed" or not dispatch.follow):
        console.print(f"{backend}: {one.run}: {one.reason}. Try again: unitrack sync {one.run} --to {backend}")
    if one.dead:
        dead = cursor_path(layout.run_dir(dispatch.store, one.run), backend).with_suffix(".dead.jsonl")
        again = f"unitrack sync {one.run} --to {backend} --retry-dead"
        console.print(f"{backend}: {one.run}: {one.dead} events were refused, see {dead}. Try again: {again}")
    if one.state == "live":
        console.print(f"{backend}: {one.run} goes on: unitrack sync {one.run} --follow sends the rest as it comes")


def _show_status(settings: Settings, runs: tuple[str, ...], to: tuple[str, ...], *, as_json: bool) -> None:
    folders = [layout.run_dir(settings.store, run) for run in runs] or _folders(settings.store)
    found = [
        backend_status(folder, name, now=time.time())
        for folder in folders
        for name in dict.fromkeys([*settings.backends, *cursors(folder)])
        if name in to or not to
    ]
    emit(found, as_json=as_json, render=lambda console: _render_status(found, console))


def _render_status(found: list[BackendStatus], console: Console) -> None:
    columns = ["run", "backend", "state", "sent", "pending", "lag", "dead", "lowered", "last error"]
    rows = [
        (one.run, one.backend, styled(one.state, _STYLES[one.state]), one.sent, one.pending, duration(one.lag),
         one.dead, len(one.lowered), one.error)
        for one in found
    ]  # fmt: skip
    console.print(table(columns, rows, right=("sent", "pending", "lag", "dead", "lowered")))
    for one in found:
        for each in one.lowered:
            console.print(f"{one.backend}: {one.run}: {each.kind}: {each.name}: {each.detail}", style="dim")
