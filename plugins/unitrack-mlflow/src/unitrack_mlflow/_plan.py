"""What is to be done in MLflow: the result of the mapping and the input of the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from unitrack.backend import Lowering, Record, Rejection
from unitrack.lowering import Lowerings, Policy
from unitrack_mlflow._names import Key, to_key

__all__ = ["KINDS", "LONGEST_TAG", "DatasetUse", "Held", "ModelUse", "Plan", "Point", "SkippedError", "Upload"]

KINDS: Mapping[str, tuple[Policy, ...]] = {
    "name": ("sanitize", "skip", "fail"),
    "step": ("sanitize", "skip", "fail"),
    "non-finite": ("sanitize", "skip", "fail"),
    "precision": ("sanitize", "skip", "fail"),
    "param-length": ("artifact", "sanitize", "skip", "fail"),
    "param-changed": ("sanitize", "skip", "fail"),
    "tag-length": ("artifact", "sanitize", "skip", "fail"),
    "dataset-digest": ("sanitize", "skip", "fail"),
}

LONGEST_TAG = 8000
_NAME_TAG = "unitrack.name."


class SkippedError(Exception):
    """A value is left out, as the policy says; what else its record holds is not."""


class Point(NamedTuple):
    """One value of a metric; the time is in ms."""

    key: str
    value: float
    timestamp: int
    step: int


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that is a model."""

    name: str
    digest: str
    aliases: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file for the run's artifacts: an object (a folder's manifest if `tree`) or the bytes themselves."""

    path: str
    record: Record
    digest: str | None = None
    data: bytes | None = None
    tree: bool = False
    tag: str | None = None
    """The tag that says it is there, written only if it is."""
    model: ModelUse | None = None


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

    def __init__(self, held: Held, policies: Mapping[str, Policy] | None = None) -> None:
        self.held = held
        self.rejected: list[Rejection] = []
        self._policies = policies or {}
        self._lowerings = Lowerings(policies)
        self.points: list[Point] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str | None] = {}
        self.uploads: list[Upload] = []
        self.datasets: list[DatasetUse] = []
        self.resumed = False

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """Each lowering once."""
        return self._lowerings.all

    def lower(self, kind: str, name: str, detail: str) -> None:
        """Take note that MLflow holds less than the journal."""
        self._lowerings.tell(kind, name, detail)

    def decide(self, kind: str, name: str, trouble: str, remedy: str) -> Policy:
        """Tell of `trouble` and return the policy. Raises SkippedError for `skip`, RefusedError for `fail`."""
        policy = self._lowerings.decide(kind, name, trouble=trouble, remedy=remedy)
        if policy == "skip":
            raise SkippedError
        return policy

    # -- a record that is refused leaves nothing ---------------------------------------------------

    @property
    def may_refuse(self) -> bool:
        """Tell whether any policy is `fail`."""
        return "fail" in self._policies.values()

    def state(self) -> tuple[int, int, int, dict[str, str], dict[str, str | None], bool]:
        """Return what `restore` goes back to."""
        counts = len(self.points), len(self.uploads), len(self.datasets)
        return *counts, dict(self.params), dict(self.tags), self.resumed

    def restore(self, state: tuple[int, int, int, dict[str, str], dict[str, str | None], bool]) -> None:
        """Forget what came since `state`."""
        points, uploads, datasets, self.params, self.tags, self.resumed = state
        del self.points[points:], self.uploads[uploads:], self.datasets[datasets:]

    # -- names and tags ----------------------------------------------------------------------------

    def key(self, name: str, prefix: str = "") -> str:
        """Return the key of a name, and see to it that the name can be had back. Raises SkippedError, RefusedError."""
        return self.note(name, to_key(name, prefix))

    def note(self, name: str, key: Key) -> str:
        """Keep the original of a lowered name as a tag."""
        if key.mark is not None:
            tag = f"{_NAME_TAG}{key.mark}"
            remedy = f"it is {key.text} there; the tag {tag} holds the name"
            self.decide("name", name, "MLflow takes no such name", remedy)
            self.tags[tag] = name
        return key.text

    def tag(self, key: str, value: str, record: Record) -> None:
        """Set a tag; a longer value than MLflow takes becomes an artifact, its beginning the tag."""
        if len(value) > LONGEST_TAG:
            value = self._shortened_tag(key, value, record)
        self.tags[key] = value

    def _shortened_tag(self, key: str, value: str, record: Record) -> str:
        path, trouble = f"unitrack/tags/{key}.txt", f"{len(value):,} characters"
        if self.policy("tag-length") != "artifact":
            self.decide("tag-length", key, trouble, "the first 400 are kept")
            return f"{value[:400]}..."
        self.decide("tag-length", key, trouble, f"the whole value is the artifact {path}")
        self.uploads.append(Upload(path=path, record=record, data=value.encode()))
        return f"{value[:400]}... (whole: {path})"

    def policy(self, kind: str) -> Policy:
        """Return what to do about a kind of lowering."""
        return self._lowerings.policy(kind)

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
