"""Read the journals of one run folder: which there are, what they say, who still writes them."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from unitrack import _merge
from unitrack._merge import Header, RunStatus, WriterView
from unitrack._scan import JournalState, Scanner, advance
from unitrack.errors import JournalError, UsageError
from unitrack.events import Event, WriterStarted
from unitrack.journal import layout
from unitrack.journal._loss import read_loss
from unitrack.journal.codec import decode_line
from unitrack.model import check_run_id

__all__ = [
    "RunState",
    "damaged",
    "host_of",
    "is_run_id",
    "merged_events",
    "merged_header",
    "read_header",
    "read_run",
    "sources",
    "writer_of",
]

_FIRST_LINE = 1 << 16


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """The folded journals of a run, its writers, and what was odd about its files."""

    states: list[JournalState]
    writers: list[WriterView]
    problems: list[str]


def damaged(path: Path, damage: str) -> JournalError:
    """Make the error for a journal that can't be read whole; `damage` is its first problem."""
    return JournalError(
        f"the journal is damaged: {damage}. See what can be read with `unitrack verify --salvage`, "
        "and read past it with salvage=True",
        path=str(path),
    )


def is_run_id(name: str) -> bool:
    """Tell whether a folder of this name can be a run."""
    try:
        return check_run_id(name) == name
    except UsageError:
        return False


def read_header(run: Path, found: RunState | None = None) -> Header:
    """Merge what the journals of a run folder say about it, past damage. Raises OSError."""
    found = read_run(run) if found is None else found
    try:
        created = os.stat(layout.journal_dir(run)).st_mtime
    except OSError:
        created = time.time()
    return merged_header(run.name, found, created=created)


def merged_header(run_id: str, found: RunState, *, created: float) -> Header:
    """Merge what folded journals say about a run; `created` stands in for a start nobody wrote."""
    return _merge.header(run_id, found.states, found.writers, created=created, problems=found.problems)


def read_run(run: Path, known: Mapping[str, JournalState] | None = None) -> RunState:
    """Fold all journals of a run folder; those that are `known` (file name to state) from where that stopped."""
    states, writers = [], []
    journals, problems = sources(run)
    for journal in journals:
        state = (known or {}).get(journal.name) or JournalState(name=journal.name)
        try:
            writer = _read_journal(journal, state)
        except FileNotFoundError:
            continue  # the run is being removed
        except OSError as error:
            state.damage.append(f"can't be read: {error.strerror}")
            writer = None
        states.append(state)
        writers += [] if writer is None else [writer]
    return RunState(states=states, writers=writers, problems=problems)


def _read_journal(journal: Path, state: JournalState) -> WriterView | None:
    """Fold a journal and tell its writer, or None for one that died before it said who it is."""
    advance(state, journal)
    alive = state.status is None and layout.is_alive(journal, host_of(state), now=time.time())
    if state.status is None and not alive:
        advance(state, journal)  # what it wrote, or its seal, between the reading and its end
    if state.writer is not None:
        return _writer_view(journal, state, state.writer, alive=alive)
    if not alive:
        return None
    unnamed = WriterStarted(
        seq=1, time=0, schema=0, run="", writer=journal.stem, host=layout.hostname(), pid=0,
        started=journal.stat().st_mtime,
    )  # fmt: skip
    return _writer_view(journal, state, unnamed, alive=True)


def _writer_view(journal: Path, state: JournalState, writer: WriterStarted, *, alive: bool) -> WriterView:
    seal, loss = state.status, read_loss(layout.loss_path(journal))
    status: RunStatus = seal.status if seal else "running" if alive else loss.status or "killed"
    return WriterView(
        id=writer.writer, host=writer.host, pid=writer.pid, rank=writer.rank, role=writer.role,
        status=status, reason=seal.reason if seal else loss.reason or None,
        started=writer.started, ended=max(state.ended, writer.started),
        events=state.events, lost=seal.lost if seal else loss.lost, sealed=seal is not None,
    )  # fmt: skip


def host_of(state: JournalState) -> str:
    """Return the host that writes a journal, as far as it said so."""
    return state.writer.host if state.writer else layout.hostname()


def writer_of(state: JournalState) -> str:
    """Return the id of the writer of a journal; before it says who it is, that is the file's name."""
    return state.writer.writer if state.writer else Path(state.name).stem


def sources(run: Path) -> tuple[list[Path], list[str]]:
    """Return one journal a writer, and what was passed over: a copy of a journal must not count twice."""
    chosen: dict[str, Path] = {}
    problems = []
    for journal in layout.journals(run):
        writer = _writer_id(journal)
        other = chosen.get(writer)
        if other is None:
            chosen[writer] = journal
            continue
        chosen[writer] = max(other, journal, key=os.path.getsize)
        left = journal if chosen[writer] is other else other
        problems.append(f"{left.name}: left out, it is a copy of {chosen[writer].name}")
    return sorted(chosen.values()), problems


def _writer_id(journal: Path) -> str:
    """Return the writer a journal names; its file name stands in where it can't be read."""
    try:
        with journal.open("rb") as file:
            event = decode_line(file.readline(_FIRST_LINE))
    except (OSError, ValueError):
        return journal.stem
    return event.writer if isinstance(event, WriterStarted) else journal.stem


def merged_events(run: Path, *, salvage: bool) -> Iterator[tuple[str, Event]]:
    """Yield (writer, event) of all journals in order of time, each writer's in the order it wrote them.

    Raises JournalError at damage, before the events behind it, unless `salvage`.
    """
    journals, _ = sources(run)
    streams = [_clocked(journal, salvage=salvage) for journal in journals]
    for _, writer, event in heapq.merge(*streams, key=lambda item: item[0]):
        yield writer, event


def _clocked(journal: Path, *, salvage: bool) -> Iterator[tuple[float, str, Event]]:
    scanner, writer, clock = Scanner(journal), _writer_id(journal), 0.0
    for events in scanner.batches():
        if scanner.damage and not salvage:
            raise damaged(journal, scanner.damage[0])
        for event in events:
            clock = max(clock, event.time)
            yield clock, writer, event
