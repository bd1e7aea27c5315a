"""What is to be done in Neptune, in no client's terms: the result of the mapping and the input of the clients."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import msgspec

from unitrack.backend import Record

__all__ = ["Assign", "Bins", "Moment", "Op", "Point", "TagChange", "Upload", "Value"]


class Moment(msgspec.Struct, frozen=True):
    """A point in time as a value; `time` is epoch seconds."""

    time: float


class Bins(msgspec.Struct, frozen=True):
    """A histogram: one more edge than counts, edges increasing."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


Value = Union[bool, int, float, str, Moment]


class Assign(msgspec.Struct, frozen=True):
    """Set a single value in place of an earlier one of its type."""

    path: str
    value: Value


class Point(msgspec.Struct, frozen=True, gc=False):
    """Add to a series; `step` is above the series' last, `time` (epoch seconds) not before it."""

    path: str
    step: float
    time: float
    value: float | str | Bins


class TagChange(msgspec.Struct, frozen=True, kw_only=True):
    """Add and remove tags, or with `group` group tags."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    group: bool = False


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file at `path`, or with a step the next of a series of files: an object of the store, or the bytes.

    `file` is where the object lies, once it was found.
    """

    path: str
    record: Record | None
    name: str
    mime: str
    digest: str | None = None
    data: bytes | None = None
    step: float | None = None
    time: float = 0.0
    file: Path | None = None


Op = Union[Assign, Point, TagChange, Upload]
