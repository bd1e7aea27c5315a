"""Take one journal in: every event once, folded into all a run's view needs but the points of its metrics.

The fold can be kept and taken up again where it stopped, which makes listing live runs cheap.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import msgspec

from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Event,
    Media,
    MetricDefinition,
    Metrics,
    Params,
    RunStarted,
    Status,
    Summary,
    System,
    Tags,
    WriterStarted,
)
from unitrack.journal.reader import JournalReader

__all__ = ["JournalState", "Kept", "KeptEvent", "Scanner", "Stat", "advance", "numbers", "rows_by_name"]

KeptEvent = Union[RunStarted, Params, Summary, Tags, Artifact, DatasetUsed, Media, Capture, Alert, MetricDefinition]
_KEPT = KeptEvent.__args__  # type: ignore[attr-defined]  # typing knows no accessor for a Union's members
_MOST_EVENTS = 1 << 62
_LISTED = 20  # problems told one by one; a destroyed journal has millions


class Kept(msgspec.Struct, frozen=True):
    """An event and when it counts as said: a clock set back never reorders one writer's events."""

    clock: float
    event: KeptEvent


class Stat(msgspec.Struct, kw_only=True):
    """What the values of one metric in one journal come to; `min` and `max` pass over NaN."""

    count: int = 0
    first: float = math.nan
    last: float = math.nan
    min: float = math.nan
    max: float = math.nan
    total: float = 0.0
    began: float = math.inf
    ended: float = -math.inf


class JournalState(msgspec.Struct, kw_only=True):
    """One journal up to byte `offset`."""

    name: str
    offset: int = 0
    seqs: list[tuple[int, int]] = []
    events: int = 0
    ended: float = 0.0
    clock: float = 0.0
    writer: WriterStarted | None = None
    status: Status | None = None
    metrics: dict[str, Stat] = {}
    system: dict[str, Stat] = {}
    kept: list[Kept] = []
    damage: list[str] = []
    repeated: int = 0
    torn: int = 0


class Scanner:
    """Read the events of a journal from `offset` on, past damage, each `seq` once.

    `seqs` are the stretches of `seq` that were seen, in order of arrival; `damage` tells what is bad.
    """

    def __init__(self, path: Path, *, offset: int = 0, seqs: Iterable[tuple[int, int]] = ()) -> None:
        self.seqs = list(seqs)
        self.repeated = 0
        self._odd: list[str] = []
        self._reader = JournalReader(path, offset=offset, salvage=True)
        self._top = max((high for _, high in self.seqs), default=0)

    @property
    def offset(self) -> int:
        """Where the next event will begin."""
        return self._reader.offset

    @property
    def torn(self) -> int:
        """Bytes behind the last whole line."""
        return self._reader.torn

    @property
    def damage(self) -> list[str]:
        """Bad lines, or events that are not there at all."""
        prefix = f"{self._reader.path.name}:"
        bad = [f"line {problem.removeprefix(prefix)}" for problem in self._reader.problems[: _LISTED + 1]]
        if len(bad) > _LISTED:
            return [*bad[:_LISTED], f"{len(self._reader.problems) - _LISTED} more lines are no events"]
        return bad or self._odd[:_LISTED] or self._gaps()

    def _gaps(self) -> list[str]:
        seen, gaps = 0, []
        for low, high in sorted(self.seqs):
            if low > seen + 1:
                gaps.append(f"events {seen + 1} to {low - 1} are missing")
            seen = max(seen, high)
        return gaps[:_LISTED]

    def batches(self) -> Iterator[list[Event]]:
        """Yield events in journal order, thousands at a time. Raises OSError."""
        for batch in self._reader.batches():
            if batch.events:
                yield self._once(batch.events)

    def _once(self, events: list[Event]) -> list[Event]:
        first, last = self._top + 1, self._top + len(events)
        if [event.seq for event in events] != list(range(first, last + 1)):
            return [event for event in events if self._is_new(event.seq)]
        self._extend(first, last)
        return events

    def _is_new(self, seq: int) -> bool:
        if not 0 < seq < _MOST_EVENTS:
            self._odd.append(f"an event has the impossible seq {seq!s:.30}")
            return False
        if seq <= self._top and any(low <= seq <= high for low, high in self.seqs):
            self.repeated += 1
            return False
        self._extend(seq, seq)
        return True

    def _extend(self, first: int, last: int) -> None:
        if self.seqs and self.seqs[-1][1] + 1 == first:
            self.seqs[-1] = (self.seqs[-1][0], last)
        else:
            self.seqs.append((first, last))
        self._top = max(self._top, last)


def advance(state: JournalState, path: Path) -> JournalState:
    """Fold what was written to the journal at `path` since `state` into it. Raises OSError."""
    scanner = Scanner(path, offset=state.offset, seqs=state.seqs)
    for events in scanner.batches():
        _fold(state, events)
    state.offset, state.seqs, state.torn = scanner.offset, scanner.seqs, scanner.torn
    state.damage = list(dict.fromkeys((state.damage + scanner.damage)[: _LISTED + 1]))
    state.repeated += scanner.repeated
    if state.writer is None and state.events:
        state.damage.insert(0, "the first event does not tell who wrote the journal")
    return state


def _fold(state: JournalState, events: list[Event]) -> None:
    if not events:
        return
    others = [event for event in events if type(event) is not Metrics]
    metrics = [event for event in events if type(event) is Metrics] if others else events
    _fold_stats(state.metrics, metrics)
    _fold_stats(state.system, [event for event in others if type(event) is System])
    for event in others:
        _fold_other(state, event)
    state.events += len(events)
    state.ended = events[-1].time


def _fold_other(state: JournalState, event: Event) -> None:
    if isinstance(event, WriterStarted):
        state.writer = state.writer or event
    elif isinstance(event, Status):
        state.status = event
    elif isinstance(event, _KEPT):
        state.clock = max(state.clock, event.time)
        state.kept.append(Kept(state.clock, event))


def _fold_stats(stats: dict[str, Stat], events: Sequence[Any]) -> None:
    for name, rows in rows_by_name(events).items():
        values = numbers([events[row].values[name] for row in rows])
        stat = stats.get(name)
        if stat is None:
            stat = stats[name] = Stat(first=values[0], began=events[rows[0]].time)
        _add_values(stat, values, events[rows[-1]].time)


def _add_values(stat: Stat, values: array[float], time: float) -> None:
    total = sum(values)
    stat.count += len(values)
    stat.last, stat.ended = values[-1], time
    stat.total += total
    known: Sequence[float] = values if total == total else [value for value in values if value == value]
    if known:
        low, high = min(known), max(known)
        stat.min = low if not stat.min <= low else stat.min
        stat.max = high if not stat.max >= high else stat.max


def rows_by_name(events: Sequence[Any]) -> dict[str, list[int]]:
    """Return for each name the positions in `events` whose `values` have it, rising.

    Events with the same names are taken together, so that most of the work is done once a group.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, names in enumerate([tuple(event.values) for event in events]):
        groups[names].append(row)
    rows: dict[str, list[int]] = {}
    for group, members in groups.items():
        for name in group:
            rows[name] = sorted(rows[name] + members) if name in rows else members
    return rows


def numbers(values: list[Any]) -> array[float]:
    """Return metric values or steps as doubles: words become floats, None becomes NaN."""
    try:
        return array("d", values)
    except (TypeError, OverflowError):
        return array("d", map(_double, values))


def _double(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # an int that a later version or another program wrote
        return math.inf if value > 0 else -math.inf
