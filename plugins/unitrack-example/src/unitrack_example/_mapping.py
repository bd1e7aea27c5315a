"""Events to CSV rows: pure, so that tests need no file.

What a table of numbers can't hold is lowered, and each lowering is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from unitrack.backend import Lowering, Record
from unitrack.events import Metrics, Params, Summary, System

__all__ = ["COLUMNS", "Rows", "to_rows"]

COLUMNS = ("writer", "seq", "time", "kind", "name", "step", "value")
_IGNORED = {"writer", "run", "status"}  # told to `open` and `close`


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
                for name, value in event.values.items()
            ]
        elif (word := _type(event)) not in _IGNORED:
            lowered.append(Lowering(kind="event", name=word, detail="left out: a CSV file holds values only"))
    return Rows(rows=tuple(rows), lowered=tuple(lowered))


def _type(event: object) -> str:
    config = getattr(type(event), "__struct_config__", None)
    return str(getattr(event, "type", None) or getattr(config, "tag", None))


def _cell(value: object) -> str:
    """Return text that reads back as the same value: JSON for what is nested."""
    return value if isinstance(value, str) else json.dumps(value)
