"""Events to CSV rows: pure, so that tests need no file.

What a table of numbers can't hold is lowered, and each lowering is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from unitrack.backend import Lowering, Record
from unitrack.events import Metrics, Params, RunStarted, Summary, System
from unitrack.model import restore

__all__ = ["COLUMNS", "Rows", "to_rows"]

COLUMNS = ("writer", "seq", "time", "kind", "name", "step", "value")
_IGNORED = {"writer", "status"}  # told to `open` and `close`


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to append, in `COLUMNS` order, and what they lack."""

    rows: tuple[tuple[object, ...], ...]
    lowered: tuple[Lowering, ...]


def to_rows(records: Iterable[Record]) -> Rows:
    """Return the rows of records; (writer, seq, name) is a row's identity."""
    rows: list[tuple[object, ...]] = []
    lowered: list[Lowering] = []
    for record in records:
        event = record.event
        if isinstance(event, (Metrics, Params, Summary, System)):
            step = event.step if isinstance(event, Metrics) else None
            kind = type(event).__name__.lower()
            rows += [
                (record.writer, event.seq, f"{event.time:.6f}", kind, name, "" if step is None else step, _cell(value))
                for name, value in _leaves(event.values)
            ]
        elif isinstance(event, RunStarted):
            lowered += _of_run(event)
        elif (word := _type(event)) not in _IGNORED:
            lowered.append(_left_out("event", word))
    return Rows(rows=tuple(rows), lowered=tuple(lowered))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is nested by its path, joined by `/`."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _of_run(event: RunStarted) -> Iterator[Lowering]:
    if event.tags:
        yield _left_out("event", "tags")
    if event.parent is not None:
        yield _left_out("parent", event.parent)


def _left_out(kind: str, name: str) -> Lowering:
    return Lowering(kind=kind, name=name, detail="left out: a CSV file holds values only")


def _type(event: object) -> str:
    config = getattr(type(event), "__struct_config__", None)
    return str(getattr(event, "type", None) or getattr(config, "tag", None))


def _cell(value: object) -> str:
    """Return text that reads back as the same value: JSON for what is nested."""
    value = restore(value)  # a text that spells a non-finite number is escaped in the journal
    return value if isinstance(value, str) else json.dumps(value)
