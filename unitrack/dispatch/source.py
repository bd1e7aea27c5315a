"""What a run's journals hold beyond a cursor, and whether the run still goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from unitrack.backend import Record, RunInfo
from unitrack.events import Event, FinalStatus, RunStarted, Status, WriterStarted
from unitrack.journal import layout
from unitrack.journal._loss import read_loss
from unitrack.journal.codec import decode_line
from unitrack.journal.cursor import Cursor, Position, start_of
from unitrack.journal.reader import JournalReader
from unitrack.journal.seal import last_line

__all__ = ["Ending", "RunSource", "Tail", "is_done", "oldest_pending", "pending"]

_CHUNK = 1 << 18


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How and when (epoch seconds) a run ended."""

    status: FinalStatus
    time: float


class Tail:
    """One journal from where the cursor stands. `position` is what is done with, as told by `ack`."""

    def __init__(self, path: Path, header: WriterStarted, run: RunStarted | None, position: Position) -> None:
        self.path, self.header, self.run = path, header, run
        self.writer = path.stem
        self.position = position
        self._reader = JournalReader(path, offset=position.offset)

    def records(self) -> Iterator[list[Record]]:
        """Yield what is not done with, up to the end as it is now, a chunk at a time; each must be acked.

        Raises JournalError at a bad line, FileNotFoundError.
        """
        end = self.path.stat().st_size  # a busy writer must not keep the others waiting
        self._reader.offset = self.position.offset
        while self._reader.offset < end:
            batch = self._reader.read(_CHUNK)
            if not batch.events:
                return
            if batch.events[0].seq > self.position.seq + 1:  # not the file the cursor was made for
                self.position, self._reader.offset = Position(), 0
                continue
            fresh = [self._record(event) for event in batch.events if event.seq > self.position.seq]
            if fresh:
                yield fresh
            self.position = Position(offset=batch.offset, seq=self.position.seq)

    def _record(self, event: Event) -> Record:
        return Record(writer=self.writer, rank=self.header.rank, event=event)

    def ack(self, seq: int) -> None:
        """Count everything up to `seq` as done with."""
        self.position = msgspec.structs.replace(self.position, seq=seq)

    def ending(self, now: float) -> Ending | None:
        """Return how the writer ended, None while it lives."""
        alive = layout.is_alive(self.path, self.header.host, now=now)  # asked first: it may seal and go meanwhile
        last = _last(self.path)
        if isinstance(last, Status):
            return Ending(status=last.status, time=last.time)
        if alive:
            return None
        ended = self.header.time if last is None else last.time
        return Ending(status=read_loss(layout.loss_path(self.path)).status or "killed", time=ended)


class RunSource:
    """The journals of one run, those that come later included."""

    def __init__(self, folder: Path, cursor: Cursor, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._cursor = cursor
        self._clock = clock
        self._tails: dict[str, Tail] = {}
        self.look()

    def look(self) -> None:
        """Take note of writers that have come since."""
        for path in layout.journals(self.folder):
            if path.stem not in self._tails:
                tail = _open(path, self._cursor.position(path.stem))
                if tail is not None:
                    self._tails[path.stem] = tail

    def tails(self) -> list[Tail]:
        """Return the journals in the order to send them: by rank, helpers last, oldest first."""
        return sorted(self._tails.values(), key=_order)

    @property
    def positions(self) -> dict[str, Position]:
        """Where each journal stands."""
        return {tail.writer: tail.position for tail in self._tails.values()}

    def pending(self) -> int:
        """Return how many whole events are not done with."""
        return pending(self.folder, Cursor(writers=self.positions))

    def restart(self) -> None:
        """Forget all positions: the tracker holds nothing of what was acked."""
        self._cursor = Cursor()
        self._tails.clear()
        self.look()

    def info(self, objects: Path, state: dict[str, object]) -> RunInfo | None:
        """Return who the run is; None while no writer has said so."""
        named = [tail for tail in self.tails() if tail.run is not None]
        if not named or named[0].run is None:
            return None
        first = named[0].run
        return RunInfo(
            id=self.folder.name,
            project=first.project,
            name=next((t.run.name for t in reversed(named) if t.run and t.run.name), None),
            group=next((t.run.group for t in named if t.run and t.run.group), None),
            parent=next((t.run.parent for t in named if t.run and t.run.parent), None),
            tags=tuple(dict.fromkeys(tag for t in named if t.run for tag in t.run.tags)),
            started=min(tail.header.started for tail in self._tails.values()),
            folder=self.folder,
            objects=objects,
            state=state,
        )

    def ending(self) -> Ending | None:
        """Return how the run ended, None while a primary writer lives.

        The newest writer of each rank counts; one that failed makes a failed run, one killed a killed run.
        """
        self.look()
        now = self._clock()
        tails = self.tails()
        primary = [tail for tail in tails if tail.header.role == "primary"] or tails
        newest = {tail.header.rank: tail for tail in primary}
        endings = [tail.ending(now) for tail in newest.values()]
        ended = [ending for ending in endings if ending is not None]
        if not ended or len(ended) < len(endings):
            return None
        statuses = {ending.status for ending in ended}
        worst: FinalStatus = "failed" if "failed" in statuses else "killed" if "killed" in statuses else "finished"
        return Ending(status=worst, time=max(ending.time for ending in ended))


def is_done(folder: Path, cursor: Cursor) -> bool:
    """Tell whether the tracker has all of the run and was told its end."""
    if pending(folder, cursor):
        return False
    ending = RunSource(folder, cursor).ending()
    return ending is not None and ending.status == cursor.told


def pending(folder: Path, cursor: Cursor) -> int:
    """Return how many whole events of the run's journals the cursor hasn't passed."""
    return sum(_pending(path, cursor.position(path.stem)) for path in layout.journals(folder))


def _pending(path: Path, position: Position) -> int:
    last = _last(path)
    return 0 if last is None else max(0, last.seq - position.seq)  # seq is dense, so nothing need be counted


def oldest_pending(folder: Path, cursor: Cursor) -> float | None:
    """Return the time of the oldest event the cursor hasn't passed, None if there is none."""
    times = [_first_time(path, cursor.position(path.stem)) for path in layout.journals(folder)]
    return min((time for time in times if time is not None), default=None)


def _first_time(path: Path, position: Position) -> float | None:
    with path.open("rb") as file:
        file.seek(start_of(path, position).offset)
        events = (_event(line) for line in file if line.endswith(b"\n"))
        return next((event.time for event in events if event is not None and event.seq > position.seq), None)


def _open(path: Path, position: Position) -> Tail | None:
    """Return the tail of a journal, None while its first lines aren't whole."""
    try:
        with path.open("rb") as file:
            lines = [line for line in (file.readline(), file.readline(), file.readline()) if line.endswith(b"\n")]
    except FileNotFoundError:
        return None
    header = _event(lines[0]) if lines else None
    if not isinstance(header, WriterStarted):
        return None
    run = next((event for line in lines[1:] if isinstance(event := _event(line), RunStarted)), None)
    if run is None and header.role == "primary" and len(lines) < 2:
        return None  # it is about to say which run it writes
    return Tail(path, header, run, start_of(path, position))


def _last(path: Path) -> Event | None:
    with path.open("rb") as file:
        return _event(last_line(file.fileno())[1])


def _event(line: bytes) -> Event | None:
    try:
        return decode_line(line)
    except ValueError:
        return None


def _order(tail: Tail) -> tuple[bool, int, str]:
    return tail.header.role == "worker", tail.header.rank or 0, tail.writer
