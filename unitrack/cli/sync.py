"""`unitrack sync`: send runs to backends, live or late, and say what is sent."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click

from unitrack.alerts import Message
from unitrack.cli._alerts import tell
from unitrack.cli._output import Console, emit, json_option, note, styled, table
from unitrack.cli._sync_progress import progress
from unitrack.cli._sync_status import STYLES, folders, show_status
from unitrack.config import BackendSettings, Settings, load_settings
from unitrack.dispatch import messages as dispatched
from unitrack.dispatch.dispatcher import Dispatch, Observer, SyncReport, start_background, sync
from unitrack.dispatch.messages import Result
from unitrack.errors import RunNotFoundError
from unitrack.journal import layout
from unitrack.journal.cursor import cursor_path, cursors
from unitrack.plugins import Plugins, load_plugins

__all__ = ["command"]

_REMAINS = 4
_PATIENCE = 60.0
_MOST_ROWS = 50


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--to", metavar="NAME", multiple=True, help="A backend of the settings, again for more. Default: all.")
@click.option("--follow", is_flag=True, help="Go on until the runs have ended; without RUN, for ever.")
@click.option("--status", is_flag=True, help="Send nothing: show what is sent and what is not.")
@click.option("--all", "everything", is_flag=True, help="With --status: each run, also those that are sent.")
@click.option("--retry-dead", is_flag=True, help="Offer the records that a backend refused once more.")
@click.option("--patience", type=click.FloatRange(min=0), help="Seconds a tracker may fail before it is left.")
@click.option("--beside", is_flag=True, hidden=True, help="As `init()` starts it: take nothing over.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="The store.")
@json_option
def command(
    *,
    runs: tuple[str, ...],
    to: tuple[str, ...],
    follow: bool,
    status: bool,
    everything: bool,
    beside: bool,
    retry_dead: bool,
    patience: float | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Send runs to the backends of the settings: those given, or all that aren't sent.

    A dispatcher that follows one of them in the background is asked to end, and the run is sent under the settings
    of today.

    Exits with 0 if everything is sent, 4 if something remains, 2 for wrong use.
    """
    settings = load_settings(overrides={"dir": directory})
    _check_runs(settings.store, runs)
    if status:
        show_status(settings, runs, to, as_json=as_json, everything=everything)
        return
    dispatch = Dispatch(
        store=settings.store, backends=_chosen(settings, to), runs=_with_dead(settings, runs, retry_dead=retry_dead),
        follow=follow, retry_dead=retry_dead, root=settings.root, beside=beside,
        takeover=not beside and not (follow and not runs),
        patience=patience if patience is not None else settings.patience if follow else _PATIENCE,
    )  # fmt: skip
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    plugins = load_plugins()
    with progress(as_json=as_json) as observe:
        report = sync(dispatch, _telling(observe, settings, plugins), plugins=plugins)
    for name, reason in report.errors.items():
        tell(settings, plugins, _is_dead(name, settings, reason))
    _go_on_beside(report, dispatch)
    emit(report, as_json=as_json, render=lambda console: _render(report, dispatch, console))
    if not report.complete:
        click.get_current_context().exit(_REMAINS)


def _telling(observe: Observer, settings: Settings, plugins: Plugins) -> Observer:
    """Tell people of a tracker that a run was given up at, at once: one that serves a store never ends."""

    def watch(backend: str, message: dispatched.Message) -> None:
        observe(backend, message)
        if isinstance(message, Result) and message.state == "failed":
            tell(settings, plugins, _is_dead(backend, settings, message.reason or "unknown"))

    return watch


def _is_dead(backend: str, settings: Settings, reason: str) -> Message:
    return Message(
        title=f"unitrack can't send runs to {backend}",
        text=f"{reason}\nNothing is lost: `unitrack sync` sends what is pending when {backend} is back.",
        level="error",
        about=f"project {settings.project}",
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Leave as for Ctrl-C: a service manager's way to ask, which the first process of a container would not feel."""
    raise KeyboardInterrupt


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
        folder.name for folder in folders(settings.store) if any(cursor.dead for cursor in cursors(folder).values())
    )


# -- the result ----------------------------------------------------------------------------------


def _go_on_beside(report: SyncReport, dispatch: Dispatch) -> None:
    """Start a dispatcher in the background, under today's settings, for runs that go on and lost theirs to us."""
    taken = {one.run for many in report.results.values() for one in many if one.taken and one.state == "live"}
    for run in sorted(taken):
        if start_background(dispatch.store, run):
            note(f"{run} goes on: a new dispatcher in the background sends what comes")


def _render(report: SyncReport, dispatch: Dispatch, console: Console) -> None:
    rows = [(backend, one) for backend, results in report.results.items() for one in results]
    shown = rows if len(rows) <= _MOST_ROWS else [(b, one) for b, one in rows if one.state != "sent" or one.dead]
    if shown:
        columns = ["run", "backend", "state", "sent", "pending", "dead"]
        cells = [(one.run, b, styled(one.state, STYLES[one.state]), one.sent, one.pending, one.dead)
                 for b, one in shown[:_MOST_ROWS]]  # fmt: skip
        console.print(table(columns, cells, right=("sent", "pending", "dead")))
    elif not rows and not report.errors:
        console.print("everything is sent")
    if len(rows) > _MOST_ROWS:
        _render_counts(report, console)
    for backend, reason in report.errors.items():
        console.print(f"{backend}: {reason}", style="red")
    for backend, one in shown[:_MOST_ROWS]:
        _advise(backend, one, dispatch, console)


def _render_counts(report: SyncReport, console: Console) -> None:
    for backend, results in report.results.items():
        states = Counter(one.state for one in results)
        said = ", ".join(f"{count} {state}" for state, count in states.items())
        console.print(f"{backend}: {len(results)} runs: {said}. `unitrack sync --status` shows each")


def _advise(backend: str, one: Result, dispatch: Dispatch, console: Console) -> None:
    """Say what remains, why, and the command that tries again."""
    if one.reason and (one.state == "failed" or not dispatch.follow):
        console.print(f"{backend}: {one.run}: {one.reason}. Try again: unitrack sync {one.run} --to {backend}")
    if one.dead:
        dead = cursor_path(layout.run_dir(dispatch.store, one.run), backend).with_suffix(".dead.jsonl")
        again = f"unitrack sync {one.run} --to {backend} --retry-dead"
        console.print(f"{backend}: {one.run}: {one.dead} events were refused, see {dead}. Try again: {again}")
    if one.state == "live" and not one.taken and one.reason is None:
        console.print(f"{backend}: {one.run} goes on: unitrack sync {one.run} --follow sends the rest as it comes")
