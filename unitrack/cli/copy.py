"""`unitrack copy`: send runs to a backend, read them back, and say what is missing there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from unitrack.backend import Lowering
from unitrack.cli._importing import options_of, reader_named, render_import, showing
from unitrack.cli._output import Console, emit, json_option, styled, table
from unitrack.cli._sync_progress import progress as sending
from unitrack.config import BackendSettings, Settings, load_settings
from unitrack.content import content_of, differences
from unitrack.dispatch.dispatcher import Dispatch, SyncReport, sync
from unitrack.errors import UnitrackError
from unitrack.foreign import ForeignRun, Reader, ReadsBackend
from unitrack.importing import ImportReport, import_runs
from unitrack.journal.cursor import cursor_path, load_cursor
from unitrack.plugins import load_plugins
from unitrack.reader import Store, open_store

__all__ = ["command"]

_REMAINS = 4
_STYLES = {"equal": "green", "unchecked": "yellow", "live": "cyan", "different": "bold red", "failed": "red"}


class _Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run at the backend.

    `equal`: read back, it holds the same but for what `lowered` tells. `unchecked`: sent, and there is no
    reader that could read it back. `live`: sent as far as it goes.
    """

    run: str
    state: Literal["equal", "unchecked", "live", "different", "failed"]
    sent: int = 0
    points: int = 0
    artifacts: int = 0
    lowered: tuple[Lowering, ...] = ()
    differences: tuple[str, ...] = ()
    reason: str | None = None


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    backend: str
    runs: tuple[_Copied, ...]
    imported: ImportReport | None = None
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Everything is in the tracker, as far as could be asked."""
        bad = any(each.state in ("different", "failed") for each in self.runs)
        return not bad and self.error is None and (self.imported is None or self.imported.complete)


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--to", "backend", metavar="BACKEND", required=True, help="A backend of the settings.")
@click.option("--from", "origin", metavar="READER:SOURCE", help="Import the runs from there first.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the reader of --from.")
@click.option("--no-check", is_flag=True, help="Don't read the runs back from the tracker.")
@click.option("--patience", type=click.FloatRange(min=0), default=60.0, help="Seconds a tracker may fail. Default: 60.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="The store.")
@json_option
def command(
    *,
    runs: tuple[str, ...],
    backend: str,
    origin: str | None,
    options: tuple[str, ...],
    no_check: bool,
    patience: float,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Copy runs to a backend with their ids, times, parents and artifacts, and compare what arrived.

    Parents are sent, too, and first. A run is read back from the tracker if there is a reader of its name, and
    compared with what was logged; what the backend told that it lowers is no difference. Safe to repeat.

    Exits with 0 if everything arrived, 4 if something is missing, 2 for wrong use.

    \b
    unitrack copy RUN --to mlflow
    unitrack copy --from wandb-offline:wandb/ --to mlflow
    """  # noqa: D301 - \b is click's mark for text not to be wrapped
    settings = load_settings(overrides={"dir": directory})
    if backend not in settings.backends:
        known = ", ".join(settings.backends) or "none: add one to unitrack.toml"
        raise click.BadParameter(f"there is no section [backends.{backend}], only {known}", param_hint="--to")
    if not runs and origin is None:
        raise click.UsageError("which runs? Name them, or say --from READER:SOURCE")
    store = open_store(settings.store)
    imported = None if origin is None else _import(origin, options, store, patience, as_json=as_json)
    ids = [store.resolve(run) for run in runs] or _imported_ids(imported)
    report = _copy(settings, backend, _with_parents(store, ids), patience, check=not no_check, as_json=as_json)
    report = msgspec.structs.replace(report, imported=imported)
    emit(report, as_json=as_json, render=lambda console: _render(report, console))
    if not report.complete:
        click.get_current_context().exit(_REMAINS)


def _import(origin: str, options: tuple[str, ...], store: Store, patience: float, *, as_json: bool) -> ImportReport:
    name, colon, source = origin.partition(":")
    if not colon or not source:
        raise click.BadParameter(f"{origin!r} is not READER:SOURCE", param_hint="--from")
    reader = reader_named(load_plugins(), name)
    with showing(as_json=as_json) as progress:
        return import_runs(reader, source, store.root, options_of(options), progress, patience=patience)


def _imported_ids(report: ImportReport | None) -> list[str]:
    runs = () if report is None else report.runs
    return [each.run for each in runs if each.state != "failed"]


def _with_parents(store: Store, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the runs with those of their ancestors that are in the store, each after its parent."""
    known, ordered = set(store.ids()), dict[str, None]()
    for run in ids:
        chain: list[str] = []
        at: str | None = run
        while at is not None and at in known and at not in ordered and at not in chain:
            chain.append(at)
            at = store.run(at, salvage=True).parent
        ordered |= dict.fromkeys(reversed(chain))
    return tuple(ordered)


# -- sending and reading back --------------------------------------------------------------------


def _copy(
    settings: Settings, backend: str, ids: tuple[str, ...], patience: float, *, check: bool, as_json: bool
) -> _Report:
    section = settings.backends[backend]
    plugins = load_plugins()
    dispatch = Dispatch(
        store=settings.store, backends={backend: section}, runs=ids, takeover=True, root=settings.root,
        patience=patience,
    )  # fmt: skip
    with sending(as_json=as_json) as observe:
        sent = sync(dispatch, observe, plugins=plugins)
    reader = plugins.named("readers").get(section.type) if check else None
    able = reader if isinstance(reader, ReadsBackend) else None
    checker = _Checker(settings, backend, section, reader, able)
    return _Report(backend=backend, runs=tuple(checker.checked(sent, ids)), error=sent.errors.get(backend))


class _Checker:
    """Reads runs back from a backend, one at a time, into a store that is thrown away."""

    def __init__(
        self, settings: Settings, backend: str, section: BackendSettings, reader: Reader | None,
        able: ReadsBackend | None,
    ) -> None:  # fmt: skip
        self._settings, self._backend, self._section = settings, backend, section
        self._reader, self._able = reader, able
        self._store = Store(settings.store)

    def checked(self, sent: SyncReport, ids: Sequence[str]) -> Iterator[_Copied]:
        """Yield what became of each run."""
        results = {each.run: each for each in sent.results.get(self._backend, ())}
        for run in ids:
            result = results.get(run)
            if result is None or result.state in ("failed", "busy") or result.dead:
                reason = "it was not reached" if result is None else result.reason or f"{result.dead} events refused"
                yield _Copied(run=run, state="failed", reason=reason)
            elif result.state == "live":
                yield _Copied(run=run, state="live", sent=result.sent, reason="it still runs, so it was not compared")
            else:
                yield self._compared(run, result.sent)

    def _compared(self, run: str, sent: int) -> _Copied:
        folder = self._store.run(run).path
        told = load_cursor(folder, self._backend).lowered
        lowered = tuple(Lowering(kind=each.kind, name=each.name, detail=each.detail) for each in told)
        if self._reader is None or self._able is None:
            reason = f"there is no reader {self._section.type!r} that reads a backend back: it was sent, not compared"
            return _Copied(run=run, state="unchecked", sent=sent, lowered=lowered, reason=reason)
        try:
            with _working_in(self._settings.root):
                return self._read_back(run, sent, lowered, self._reader, self._able)
        except (UnitrackError, OSError) as error:
            reason = f"it could not be read back: {error}"
            return _Copied(run=run, state="failed", sent=sent, lowered=lowered, reason=reason)

    def _read_back(
        self, run: str, sent: int, lowered: tuple[Lowering, ...], reader: Reader, able: ReadsBackend
    ) -> _Copied:
        here = content_of(self._store.run(run))
        source, options = able.source_of(self._section.options, project=here.project, run=run)
        with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            report = import_runs(_Only(reader, run), source, Path(scratch), options)
            there = next((each for each in report.runs if each.run == run), None)
            if there is None or there.state == "failed":
                reason = report.error or (there.reason if there else "the tracker has no such run")
                return _Copied(run=run, state="different", sent=sent, lowered=lowered, reason=reason)
            known = (*lowered, *there.lowered)
            found = differences(here, content_of(Store(Path(scratch)).run(run)), known)
            found += [there.reason] if there.reason is not None else []
        return _Copied(
            run=run, state="different" if found else "equal", sent=sent, points=there.counts.points,
            artifacts=there.counts.artifacts, lowered=known, differences=tuple(found),
        )  # fmt: skip


class _Only:
    """A reader that passes over all runs but one."""

    def __init__(self, reader: Reader, run: str) -> None:
        self.name = reader.name
        self._reader, self._run = reader, run

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the one."""
        return (each for each in self._reader.runs(source, options) if each.info.id == self._run)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Work where the backend's worker does: relative paths in its section count from there."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# -- the account ---------------------------------------------------------------------------------


def _render(report: _Report, console: Console) -> None:
    if report.imported is not None:
        render_import(report.imported, console)
    columns = ["run", "state", "events", "points", "artifacts", "lowered"]
    rows = [
        (each.run, styled(each.state, _STYLES[each.state]), each.sent, each.points, each.artifacts, len(each.lowered))
        for each in report.runs
    ]
    console.print(table(columns, rows, right=columns[2:]))
    for each in report.runs:
        for one in each.lowered:
            console.print(f"{each.run}: lowered: {one.kind}: {one.name}: {one.detail}", style="dim")
        for difference in each.differences:
            console.print(f"{each.run}: logged and read back: {difference}", style="red")
        if each.reason:
            console.print(f"{each.run}: {each.reason}")
        if each.state == "different":
            anew = cursor_path(Path("runs") / each.run, report.backend)
            console.print(f"{each.run}: to send it anew, remove {anew} from the store and repeat")
    if report.error:
        console.print(f"{report.backend}: {report.error}", style="red")
    states = [each.state for each in report.runs]
    counted = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
    console.print(f"{len(states):,} runs at {report.backend}: {counted or 'none'}")
