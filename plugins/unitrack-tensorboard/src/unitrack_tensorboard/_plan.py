"""What is to be written for a batch of records: the result of the mapping."""

from __future__ import annotations

from typing import Any, NamedTuple, Union

import msgspec

from unitrack.backend import Record, Rejection

__all__ = ["Bins", "Line", "Number", "Place", "Plan", "Shown", "Text", "Value"]


class Number(NamedTuple):
    """One value of a scalar."""

    tag: str
    value: float


class Text(NamedTuple):
    """Text, shown as Markdown."""

    tag: str
    text: str


class Bins(NamedTuple):
    """A histogram: one more edge than counts."""

    tag: str
    edges: list[float]
    counts: list[float]


class Shown(NamedTuple):
    """An object to show: its bytes are read when the line is encoded."""

    tag: str
    kind: str
    format: str
    digest: str
    path: str
    """Where it stands as a file if TensorBoard can't show it."""


Value = Union[Number, Text, Bins, Shown]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An object (a folder's manifest if `tree`) to be had as a file under `unitrack/`."""

    path: str
    digest: str
    record: Record
    tree: bool = False


class Line(msgspec.Struct, kw_only=True):
    """One event of TensorBoard's. `whole` is the record itself where the values don't tell all of it."""

    record: Record
    step: int
    values: list[Value]
    caption: str | None = None
    whole: bytes | None = None


class Plan(msgspec.Struct, kw_only=True):
    """Lines in order, files, and what changes about the run; a tag whose value is None is removed."""

    lines: list[Line] = []
    places: list[Place] = []
    params: dict[str, Any] = {}
    tags: dict[str, str | None] = {}
    rejected: list[Rejection] = []
