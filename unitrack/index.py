"""The index of a store: what a listing needs of each run, kept in SQLite and never the truth.

It can be deleted at any time. A run whose journals all ended in order is read once; one that may
still change is looked at each time. An index that is locked, broken or can't be written costs
time, not correctness: runs are then read directly and the listing says so.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from unitrack._journals import RunState, host_of, is_run_id, merged_header, read_header, read_run, writer_of
from unitrack._merge import Header, RunStatus
from unitrack._scan import JournalState
from unitrack.journal import layout

__all__ = ["Index", "Listing", "Row"]

Progress = Callable[[int, int], None]

_VERSION = 1
_PATIENCE = 2.0  # seconds to wait for another process that is writing the index
_SETTLED = 3.0  # a folder touched later than this may change again without its time of change moving on
_LARGEST_HEADER = 1 << 16
_BATCH = 500

_TABLE = f"""BEGIN IMMEDIATE; DROP TABLE IF EXISTS runs;
    CREATE TABLE runs (id TEXT PRIMARY KEY, entry BLOB NOT NULL, states BLOB);
    PRAGMA user_version = {_VERSION}; COMMIT"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is found and sorted by. `header` is all a listing knows, packed; None if that is too large."""

    id: str
    project: str
    name: str | None
    group: str | None
    parent: str | None
    tags: list[str]
    status: RunStatus
    started: float
    ended: float | None
    damaged: bool
    header: bytes | None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, newest run first, and why the index could not be used, if so."""

    rows: list[Row]
    problem: str | None = None


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A row and how to tell that it still holds: `open` are the journals that may go on, with their hosts."""

    row: Row
    signature: str
    open: dict[str, str]


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a run: its entry, and for one that may go on how far each journal was read."""

    entry: _Entry
    states: list[JournalState]


class Index:
    """The index of the store `root`. Safe for many processes at once."""

    def __init__(self, root: Path) -> None:
        self.path = root / "index.sqlite"
        self._runs = layout.runs_dir(root)

    def rows(self, *, progress: Progress | None = None) -> Listing:
        """Return all runs of the store; `progress` is told (done, all) of those that must be read. Raises OSError."""
        if not self._runs.is_dir():
            return Listing(rows=[])
        try:
            return self._listing(progress)
        except sqlite3.OperationalError as error:
            return self._without(progress, str(error))
        except sqlite3.DatabaseError:  # not a database, or a broken one
            return self._rebuilt(progress)

    def _rebuilt(self, progress: Progress | None) -> Listing:
        try:
            self.path.unlink(missing_ok=True)
            return self._listing(progress)
        except (OSError, sqlite3.Error) as error:
            return self._without(progress, str(error))

    def _without(self, progress: Progress | None, problem: str) -> Listing:
        entries = (read.entry for read in self._read(self._ids(), progress))
        return Listing(rows=_newest(entries), problem=problem)

    def _ids(self) -> list[str]:
        with os.scandir(self._runs) as entries:
            return [entry.name for entry in entries if is_run_id(entry.name) and entry.is_dir()]

    # -- with the index --------------------------------------------------------------------------

    def _listing(self, progress: Progress | None) -> Listing:
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                database.executescript(_TABLE)
            known = {entry.row.id: entry for entry in _entries(database)}
            ids = self._ids()
            entries = {run_id: known[run_id] for run_id in ids if self._holds(known.get(run_id), run_id)}
            stale = [run_id for run_id in ids if run_id not in entries]
            problem: str | None = None
            for fresh in _batches(self._read(stale, progress, database)):
                entries.update((read.entry.row.id, read.entry) for read in fresh)
                problem = problem or _save(database, fresh)
            problem = problem or _forget(database, known.keys() - entries.keys())
        return Listing(rows=_newest(entries.values()), problem=problem)

    def _holds(self, entry: _Entry | None, run_id: str) -> bool:
        if entry is None or not entry.signature:
            return False
        folder = f"{self._runs}/{run_id}/journal"
        stamps = {name: _stamp(folder, name) for name in entry.open}
        alive = {name for name, host in entry.open.items() if _is_alive(folder, name, host)}
        return entry.signature == _signature(folder, stamps, alive)

    def _read(
        self, ids: list[str], progress: Progress | None, database: sqlite3.Connection | None = None
    ) -> Iterator[_Read]:
        for done, run_id in enumerate(ids, 1):
            read = self._read_one(run_id, [] if database is None else _states(database, run_id))
            if read is not None:
                yield read
            if progress is not None:
                progress(done, len(ids))

    def _read_one(self, run_id: str, known: list[JournalState]) -> _Read | None:
        run, folder = self._runs / run_id, f"{self._runs}/{run_id}/journal"
        try:
            journals = layout.journals(run)
        except OSError as error:
            return _unreadable(run_id, error)
        if not journals:
            return None
        stamps = {path.name: _stamp(folder, path.name) for path in journals}  # before reading: what comes later shows
        touched = _touched(folder)
        found = read_run(run, {state.name: state for state in known})
        unfinished = {state.name: host_of(state) for state in found.states if state.status is None}
        running = {writer.id for writer in found.writers if writer.status == "running"}
        alive = {state.name for state in found.states if writer_of(state) in running}
        settled = time.time() - touched / 1e9 > _SETTLED and touched == _touched(folder)
        stamps = {name: stamps.get(name, "") for name in unfinished}
        entry = _Entry(
            row=_row(read_header(run, found)),
            signature=_signature(folder, stamps, alive) if settled else "",
            open=unfinished,
        )
        return _Read(entry=entry, states=found.states if unfinished else [])


# -- telling whether a run changed -------------------------------------------------------------------


def _signature(folder: str, stamps: dict[str, str], alive: set[str]) -> str:
    parts = (f"{name}:{stamp}:{name in alive:d}" for name, stamp in sorted(stamps.items()))
    return " ".join((str(_touched(folder)), *parts))


def _touched(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _stamp(folder: str, name: str) -> str:
    """Return what changes when a journal, or the count of its losses, does."""
    path = Path(folder, name)
    found = []
    for file in (path, layout.loss_path(path)):
        try:
            status = os.stat(file)
            found.append(f"{status.st_size}:{status.st_mtime_ns}")
        except OSError:
            found.append("")
    return "/".join(found)


def _is_alive(folder: str, name: str, host: str) -> bool:
    try:
        return layout.is_alive(Path(folder, name), host, now=time.time())
    except OSError:
        return False


# -- rows --------------------------------------------------------------------------------------------


def _unreadable(run_id: str, error: OSError) -> _Read:
    """Return a row for a run whose folder can't be listed; it is tried again each time."""
    found = RunState(states=[], writers=[], problems=[f"can't be read: {error.strerror}"])
    return _Read(entry=_Entry(row=_row(merged_header(run_id, found, created=0.0)), signature="", open={}), states=[])


def _row(header: Header) -> Row:
    packed = _packed(header) or b""
    return Row(
        id=header.id, project=header.project, name=header.name, group=header.group, parent=header.parent,
        tags=header.tags, status=header.status, started=header.started, ended=header.ended, damaged=bool(header.damage),
        header=packed if 0 < len(packed) <= _LARGEST_HEADER else None,
    )  # fmt: skip


def _packed(value: Header | list[JournalState]) -> bytes | None:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # a param of more than 64 bits: the journals are read when it is asked for
        return None


def _newest(entries: Iterable[_Entry]) -> list[Row]:
    return sorted((entry.row for entry in entries), key=lambda row: (row.started, row.id), reverse=True)


def _entries(database: sqlite3.Connection) -> Iterator[_Entry]:
    decode = msgspec.msgpack.Decoder(_Entry).decode
    for (packed,) in database.execute("SELECT entry FROM runs"):
        try:
            yield decode(packed)
        except (msgspec.DecodeError, TypeError):
            continue  # a broken row: the run is read again


def _states(database: sqlite3.Connection, run_id: str) -> list[JournalState]:
    """Return how far the journals of an unfinished run were read; nothing where that is not known."""
    try:
        found = database.execute("SELECT states FROM runs WHERE id = ?", (run_id,)).fetchone()
        return msgspec.msgpack.decode(found[0], type=list[JournalState]) if found and found[0] else []
    except (sqlite3.Error, msgspec.DecodeError):
        return []


# -- writing -----------------------------------------------------------------------------------------


def _batches(found: Iterator[_Read]) -> Iterator[list[_Read]]:
    while batch := list(itertools.islice(found, _BATCH)):
        yield batch


def _save(database: sqlite3.Connection, found: Iterable[_Read]) -> str | None:
    """Write rows; return why they could not be written."""
    rows = [
        (read.entry.row.id, msgspec.msgpack.encode(read.entry), _packed(read.states) if read.states else None)
        for read in found
    ]
    return _write(database, "REPLACE INTO runs VALUES (?, ?, ?)", rows)


def _forget(database: sqlite3.Connection, ids: Iterable[str]) -> str | None:
    gone = [(run_id,) for run_id in ids]
    return _write(database, "DELETE FROM runs WHERE id = ?", gone) if gone else None


def _write(database: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> str | None:
    try:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(statement, rows)
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        return str(error)
    return None
