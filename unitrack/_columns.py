"""The points of metrics as columns of doubles: read fast, kept small, merged over writers."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from unitrack._journals import damaged, sources
from unitrack._scan import Scanner, numbers, rows_by_name
from unitrack.events import Metrics, System

__all__ = ["Columns", "Kind", "Points", "RunColumns", "Series", "merge", "read_columns", "series_of"]

Kind = Union[type[Metrics], type[System]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one metric in order of time: steps (NaN where none was given), epoch seconds, values."""

    steps: array[float]
    times: array[float]
    values: array[float]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[float, float, float]]:
        return zip(self.steps, self.times, self.values, strict=True)


@dataclass(slots=True)
class Points:
    """One metric's values and the rows they stand in, rising."""

    rows: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Columns:
    """One row an event. A metric holds values only where it was logged, so rare ones cost little."""

    steps: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))
    points: dict[str, Points] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)


class RunColumns:
    """The columns of a run, read when asked for and kept.

    The first metric asked for is read alone, since it is often the only one; a second one reads all.
    """

    def __init__(self, run: Path, *, salvage: bool) -> None:
        self._run = run
        self._salvage = salvage
        self._parts: dict[Kind, list[Columns]] = {}
        self._series: dict[tuple[Kind, str], Series] = {}

    def table(self, kind: Kind = Metrics) -> Columns:
        """Return all metrics of all writers in order of time. Raises JournalError, OSError."""
        return merge(self._all(kind))

    def series(self, name: str, kind: Kind = Metrics) -> Series:
        """Return the points of one metric, none if there is no such. Raises JournalError, OSError."""
        found = self._series.get((kind, name))
        if found is None:
            alone = not self._series and kind not in self._parts
            parts = self._read(kind, name) if alone else self._all(kind)
            merged = merge([series_of(part, name) for part in parts if name in part.points])
            points = merged.points.get(name) or Points()
            found = Series(steps=merged.steps, times=merged.times, values=points.values)
            self._series[kind, name] = found
        return found

    def _all(self, kind: Kind) -> list[Columns]:
        if kind not in self._parts:
            self._parts[kind] = self._read(kind, None)
        return self._parts[kind]

    def _read(self, kind: Kind, name: str | None) -> list[Columns]:
        journals, _ = sources(self._run)
        return [read_columns(journal, name=name, kind=kind, salvage=self._salvage) for journal in journals]


def read_columns(path: Path, *, name: str | None = None, kind: Kind = Metrics, salvage: bool = False) -> Columns:
    """Read one journal's metrics, or only the events that hold `name` and of them only it.

    Raises OSError, and JournalError at damage unless `salvage`.
    """
    columns, scanner = Columns(), Scanner(path)
    for events in scanner.batches():
        rows: list[Any] = [event for event in events if type(event) is kind]
        if name is None:
            _add(columns, rows, rows_by_name(rows))
        else:
            rows = [event for event in rows if name in event.values]
            _add(columns, rows, {name: range(len(rows))} if rows else {})
    if scanner.damage and not salvage:
        raise damaged(path, scanner.damage[0])
    return columns


def _add(columns: Columns, events: Sequence[Any], found: dict[str, Any]) -> None:
    start = len(columns.times)
    columns.times.extend(array("d", [event.time for event in events]))
    columns.steps.extend(_steps(events))
    for name, rows in found.items():
        points = columns.points.get(name)
        if points is None:
            points = columns.points[name] = Points()
        whole = len(rows) == len(events)
        points.rows.extend(range(start, start + len(rows)) if whole else [start + row for row in rows])
        taken = events if whole else [events[row] for row in rows]
        points.values.extend(numbers([event.values[name] for event in taken]))


def _steps(events: Sequence[Any]) -> array[float]:
    if events and type(events[0]) is System:
        return array("d", [math.nan]) * len(events)
    return numbers([event.step for event in events])


def series_of(columns: Columns, name: str) -> Columns:
    """Return the columns with only the rows of `name`, which is one of them."""
    points = columns.points[name]
    if len(points.rows) == len(columns):
        return Columns(columns.steps, columns.times, {name: points})
    return Columns(
        array("d", map(columns.steps.__getitem__, points.rows)),
        array("d", map(columns.times.__getitem__, points.rows)),
        {name: Points(array("q", range(len(points.rows))), points.values)},
    )


def merge(parts: Sequence[Columns]) -> Columns:
    """Put the columns of several writers into one order of time; each writer's rows keep theirs."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    merged, clocks = _joined(parts)
    if any(later < earlier for earlier, later in itertools.pairwise(clocks)):
        return _sorted(merged, sorted(range(len(clocks)), key=clocks.__getitem__))
    return merged


def _joined(parts: Collection[Columns]) -> tuple[Columns, array[float]]:
    """Put parts behind each other; the clock of a row never falls within its part."""
    merged, clocks = Columns(), array("d")
    for part in parts:
        start = len(merged)
        clocks.extend(array("d", itertools.accumulate(part.times, max)))
        merged.times.extend(part.times)
        merged.steps.extend(part.steps)
        for name, points in part.points.items():
            target = merged.points.setdefault(name, Points())
            target.rows.extend(array("q", [start + row for row in points.rows]))
            target.values.extend(points.values)
    return merged, clocks


def _sorted(columns: Columns, order: Sequence[int]) -> Columns:
    place = array("q", bytes(8 * len(order)))
    for new, old in enumerate(order):
        place[old] = new
    return Columns(
        array("d", map(columns.steps.__getitem__, order)),
        array("d", map(columns.times.__getitem__, order)),
        {name: _placed(points, place) for name, points in columns.points.items()},
    )


def _placed(points: Points, place: Sequence[int]) -> Points:
    rows = array("q", map(place.__getitem__, points.rows))
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return Points(array("q", map(rows.__getitem__, order)), array("d", map(points.values.__getitem__, order)))
