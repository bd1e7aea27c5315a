"""What is to be done in MLflow: the result of the mapping and the input of the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from unitrack.backend import Lowering, Record
from unitrack_mlflow._names import Key, to_key

__all__ = ["LONGEST_TAG", "DatasetUse", "Held", "Plan", "Point", "Upload"]

LONGEST_TAG = 8000
_NAME_TAG = "unitrack.name."


class Point(NamedTuple):
    """One value of a metric; the time is in ms."""

    key: str
    value: float
    timestamp: int
    step: int


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file for the run's artifacts: an object (a folder's manifest if `tree`) or the bytes themselves."""

    path: str
    record: Record
    digest: str | None = None
    data: bytes | None = None
    tree: bool = False
    tag: str | None = None
    """The tag that says it is there, written only if it is."""


class DatasetUse(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset as an input of the run; `digest` has at most 36 characters."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    context: str | None


class Held(msgspec.Struct, kw_only=True):
    """What the run holds in MLflow, as far as the mapping must know it."""

    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Plan:
    """Collects what a batch of records becomes. A tag whose value is None is removed."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.points: list[Point] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str | None] = {}
        self.uploads: list[Upload] = []
        self.datasets: list[DatasetUse] = []
        self.resumed = False
        self._lowered: dict[tuple[str, str], Lowering] = {}

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """Each lowering once."""
        return tuple(self._lowered.values())

    def lower(self, kind: str, name: str, detail: str) -> None:
        """Take note that MLflow holds less than the journal."""
        if (kind, name) not in self._lowered:
            self._lowered[kind, name] = Lowering(kind=kind, name=name, detail=detail)

    def key(self, name: str, prefix: str = "") -> str:
        """Return the key of a name, and see to it that the name can be had back."""
        return self.note(name, to_key(name, prefix))

    def note(self, name: str, key: Key) -> str:
        """Keep the original of a lowered name as a tag."""
        if key.mark is not None:
            self.tags[f"{_NAME_TAG}{key.mark}"] = name
            self.lower("name", name, f"is {key.text} in MLflow; the tag {_NAME_TAG}{key.mark} holds the name")
        return key.text

    def tag(self, key: str, value: str, record: Record) -> None:
        """Set a tag; a longer value than MLflow takes becomes an artifact, its beginning the tag."""
        if len(value) > LONGEST_TAG:
            path = f"unitrack/tags/{key}.txt"
            self.uploads.append(Upload(path=path, record=record, data=value.encode()))
            self.lower("tag-length", key, f"{len(value):,} characters; the whole value is the artifact {path}")
            value = f"{value[:400]}... (whole: {path})"
        self.tags[key] = value

    def tag_of(self, key: str) -> str | None:
        """Return the value a tag has, or will have once this plan is carried out."""
        return self.tags[key] if key in self.tags else self.held.tags.get(key)

    def check_repeats(self, points: Iterable[Point]) -> None:
        """Tell of points that MLflow can't tell from each other."""
        seen: set[Point] = set()
        for point in points:
            if point in seen:
                detail = "the same value at the same step within one millisecond is one point"
                self.lower("repeat", point.key, detail)
            seen.add(point)
