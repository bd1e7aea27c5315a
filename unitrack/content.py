"""What a run holds, apart from how it was written: compare a run with what a tracker made of it.

    found = differences(content_of(logged), content_of(read_back), lowered)

Two runs of equal content may differ in writers, in the order of what has no order, and in everything
below a millisecond. Pure but for the journals that the views read.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from unitrack import _merge
from unitrack.backend import Lowering
from unitrack.events import Summary
from unitrack.reader import RunStatus, RunView, Series

if TYPE_CHECKING:
    from unitrack.events import Artifact, DatasetUsed, Media, MetricDefinition

__all__ = ["IMPORT", "ArtifactContent", "MediaContent", "RunContent", "content_of", "differences", "flattened"]

IMPORT = "import"
"""The capture that says where a run was imported from: about the copy, no part of what the run holds."""

T = TypeVar("T")
_MILLISECOND = 0.001001
_SINGLE = 1e-6  # what a number loses that is kept in 32 bits
_SHOWN = 120

# Which kinds of lowering (by their first word) may change what part of a run, whatever the tracker.
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "param": ("param", "name", "type", "text", "int", "non", "precision"),
    "metric": ("metric", "name"),
    "machine metric": ("system", "metric", "name", "rank"),
    "summary value": ("summary", "param", "name", "type", "text", "int", "tag", "non", "precision"),
    "metric definition": ("definition", "metric", "name"),
    "tag": ("tag", "name", "text"),
    "artifact": ("artifact", "name", "lineage", "file"),
    "media": ("media", "histogram", "text", "name", "step", "no", "artifact", "file"),
    "dataset": ("dataset", "name"),
    "capture": ("capture", "name"),
    "alert": ("alert",),
}
# Events that a tracker has no place for are told of by their type.
_EVENTS = {
    "param": "params", "metric": "metrics", "machine metric": "system", "summary value": "summary",
    "metric definition": "metric_definition", "tag": "tags", "artifact": "artifact", "media": "media",
    "dataset": "dataset", "capture": "capture", "alert": "alert",
}  # fmt: skip


class ArtifactContent(msgspec.Struct, frozen=True, kw_only=True):
    """The last version of an artifact that a run logged or used under a name."""

    kind: str
    digest: str | None
    uri: str | None
    aliases: tuple[str, ...]
    metadata: dict[str, Any]


class MediaContent(msgspec.Struct, frozen=True, kw_only=True):
    """Something shown; `content` is the digest of its bytes, wherever they are."""

    name: str
    kind: str
    format: str
    step: float | None
    content: str | None
    caption: str | None
    metadata: dict[str, Any]


class RunContent(msgspec.Struct, frozen=True, kw_only=True):
    """All a run holds. Nested names are joined by `/`; `summary` has only what was set by hand.

    `artifacts` are named by what they were for, too: `output model.pt`, `input model.pt`.
    """

    id: str
    project: str
    name: str | None
    group: str | None
    parent: str | None
    status: RunStatus
    started: float
    ended: float | None
    params: dict[str, Any]
    tags: tuple[str, ...]
    tag_values: dict[str, str]
    metrics: dict[str, Series]
    system: dict[str, Series]
    summary: dict[str, Any]
    definitions: dict[str, tuple[str | None, str | None, str | None]]
    artifacts: dict[str, ArtifactContent]
    media: tuple[MediaContent, ...]
    datasets: tuple[dict[str, Any], ...]
    captures: dict[str, Any]
    alerts: tuple[tuple[str, str, str], ...]


# -- what a run holds ----------------------------------------------------------------------------


def content_of(view: RunView) -> RunContent:
    """Return what the run holds. Raises JournalError, OSError."""
    kept = [each.event for each in _merge._merged(view._state.states)]
    captures = {name: values for name, values in view.captures.items() if name != IMPORT}
    return RunContent(
        id=view.id, project=view.project, name=view.name, group=view.group, parent=view.parent,
        status=view.status, started=view.started, ended=view.ended,
        params=flattened(view.params), tags=tuple(sorted(view.tags)), tag_values=view.tag_values,
        metrics={name: view.series(name) for name in view.metrics},
        system={name: view.system_series(name) for name in view.system},
        summary=flattened(_merge._nested(event.values for event in kept if isinstance(event, Summary))),
        definitions={name: _meaning(event) for name, event in _merge._definitions(kept).items()},
        artifacts={f"{each.use} {each.name}": _artifact(each) for each in view.artifacts},
        media=tuple(map(_media, view.media)), datasets=tuple(map(_dataset, view.datasets)),
        captures=flattened(captures), alerts=tuple((each.level, each.title, each.text) for each in view.alerts),
    )  # fmt: skip


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a nested dict by their path, keys joined by `/`; an empty dict is a leaf."""
    return dict(_leaves(values, ""))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _meaning(event: MetricDefinition) -> tuple[str | None, str | None, str | None]:
    return event.goal, event.summary, event.step


def _artifact(event: Artifact) -> ArtifactContent:
    return ArtifactContent(
        kind=event.kind, digest=event.digest, uri=event.uri, aliases=tuple(event.aliases), metadata=event.metadata
    )


def _media(event: Media) -> MediaContent:
    return MediaContent(
        name=event.name, kind=event.kind, format=event.format, step=event.step, content=_content_digest(event),
        caption=event.caption, metadata=event.metadata,
    )  # fmt: skip


def _content_digest(event: Media) -> str | None:
    if event.inline is None:
        return event.digest
    text = event.inline if isinstance(event.inline, str) else json.dumps(event.inline, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _dataset(event: DatasetUsed) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name not in ("seq", "time")}
    return {name: value for name, value in fields.items() if value not in (None, {})}


# -- the comparison ------------------------------------------------------------------------------


def differences(one: RunContent, other: RunContent, lowered: Iterable[Lowering] = ()) -> list[str]:
    """Return a sentence for each way in which two runs differ; none if they hold the same.

    What `lowered` tells of, by kind and name, is no difference. Times are equal within a millisecond, NaN
    equals NaN. Of several equal points, tags or media the order doesn't count.
    """
    told = _Told(lowered)
    return [
        *_of_identity(one, other, told),
        *_of_values("param", one.params, other.params, told),
        *_of_values("tag", dict.fromkeys(one.tags, True), dict.fromkeys(other.tags, True), told),
        *_of_values("tag", one.tag_values, other.tag_values, told),
        *_of_metrics("metric", one.metrics, other.metrics, told),
        *_of_metrics("machine metric", one.system, other.system, told),
        *_of_values("summary value", one.summary, other.summary, told),
        *_of_values("metric definition", one.definitions, other.definitions, told),
        *_of_values("artifact", one.artifacts, other.artifacts, told, name_of=lambda key: key.partition(" ")[2]),
        *_of_many("media", one.media, other.media, told, lambda each: each.name),
        *_of_many("dataset", one.datasets, other.datasets, told, lambda each: str(each["name"])),
        *_of_values("capture", one.captures, other.captures, told, name_of=lambda key: key.partition("/")[0]),
        *_of_many("alert", one.alerts, other.alerts, told, lambda each: each[1]),
    ]


class _Told:
    """What was lowered, asked by part and name."""

    def __init__(self, lowered: Iterable[Lowering]) -> None:
        self._kinds: dict[str, set[str]] = {}
        for each in lowered:
            self._kinds.setdefault(each.name, set()).add(each.kind)

    def of(self, name: str) -> set[str]:
        """Return the kinds told for `name`, or for all names alike."""
        return self._kinds.get(name, set()) | self._kinds.get("*", set()) | self._kinds.get("(none)", set())

    def about(self, field: str) -> bool:
        """Tell whether anything was told of who the run is or how it ended, by kind or by name."""
        return field in self._kinds or any(field in kinds for kinds in self._kinds.values())

    def explains(self, part: str, name: str) -> bool:
        """Tell whether a lowering has changed or left out `name` among such parts."""
        if "event" in self._kinds.get(_EVENTS[part], ()):
            return True
        return any(kind.partition("-")[0] in _ABOUT[part] for kind in self.of(name))


def _of_identity(one: RunContent, other: RunContent, told: _Told) -> Iterator[str]:
    for field in ("id", "project", "name", "group", "parent", "status", "started", "ended"):
        here, there = getattr(one, field), getattr(other, field)
        same = _near(here, there) if field in ("started", "ended") else here == there
        if not same and not told.about(field):
            yield f"{field} is {_word(here)} and {_word(there)}"


def _near(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) <= _MILLISECOND


def _of_values(
    part: str,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    told: _Told,
    *,
    name_of: Callable[[str], str] = lambda key: key,
) -> Iterator[str]:
    for key in dict.fromkeys([*one, *other]):
        if key in one and key in other and _same(one[key], other[key]):
            continue
        if told.explains(part, key) or told.explains(part, name_of(key)):
            continue
        if key in one and key in other:
            yield f"{part} {key!r} is {_word(one[key])} and {_word(other[key])}"
        else:
            yield _missing(part, key, one[key] if key in one else other[key], second=key in one)


def _of_many(
    part: str, one: Iterable[T], other: Iterable[T], told: _Told, name_of: Callable[[T], str]
) -> Iterator[str]:
    here, there = {_spelled(each): each for each in one}, {_spelled(each): each for each in other}
    for key in dict.fromkeys([*here, *there]):
        each = here[key] if key in here else there[key]
        if (key in here) != (key in there) and not told.explains(part, name_of(each)):
            yield _missing(part, name_of(each), each, second=key in here)


def _missing(part: str, name: str, value: Any, *, second: bool) -> str:
    return f"{part} {name!r} ({_word(value)}) is missing in the {'second' if second else 'first'}"


def _spelled(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), sort_keys=True, default=str)


def _same(one: Any, other: Any) -> bool:
    """Compare trees, NaN equal to NaN."""
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return all(_same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))


def _word(value: Any) -> str:
    spelled = _spelled(value) if isinstance(value, (msgspec.Struct, Mapping)) else repr(value)
    return spelled if len(spelled) <= _SHOWN else f"{spelled[:_SHOWN]}..."


# -- metrics -------------------------------------------------------------------------------------


def _of_metrics(part: str, one: Mapping[str, Series], other: Mapping[str, Series], told: _Told) -> Iterator[str]:
    for name in dict.fromkeys([*one, *other]):
        here, there = one.get(name), other.get(name)
        if here is not None and there is not None:
            yield from _of_series(f"{part} {name!r}", here, there, told.of(name))
        elif not told.explains(part, name):
            points = len(here or there or ())
            yield f"{part} {name!r} ({points:,} points) is missing in the {'first' if here is None else 'second'}"


def _of_series(what: str, one: Series, other: Series, kinds: set[str]) -> Iterator[str]:
    if _equal_in_order(one, other):
        return
    here, there = _comparable(one, kinds), _comparable(other, kinds)
    if len(here) != len(there):
        yield f"{what} has {len(here):,} points and {len(there):,}"
        return
    timeless, rounded = "time" in kinds, "precision" in kinds
    pairs = zip(here, there, strict=True)
    wrong = [pair for pair in pairs if not _same_point(*pair, timeless=timeless, rounded=rounded)]
    if wrong:
        (step, value, time), (step2, value2, time2) = wrong[0]
        yield (
            f"{what} differs in {len(wrong):,} of {len(here):,} points, the first {value!r} at step {step:g}, "
            f"time {time:.3f} and {value2!r} at step {step2:g}, time {time2:.3f}"
        )


def _equal_in_order(one: Series, other: Series) -> bool:
    """Compare what is nearly always the case, without sorting."""
    return (
        one.steps.tobytes() == other.steps.tobytes()
        and one.values.tobytes() == other.values.tobytes()
        and all(abs(here - there) <= _MILLISECOND for here, there in zip(one.times, other.times, strict=True))
    )


_Point = tuple[float, float, float]
_STEPLESS = {"step", "no-step", "step-digits"}


def _comparable(series: Series, kinds: set[str]) -> list[_Point]:
    """Return (step, value, time) sorted, NaN last, without what was lowered."""
    stepless, finite = bool(kinds & _STEPLESS), "non-finite" in kinds
    points = [
        (0.0 if stepless else step, value, time)
        for step, time, value in series
        if not finite or abs(value) < sys.float_info.max  # False for NaN, too
    ]
    points.sort(key=_order)
    return _once_a_millisecond(points) if "repeat" in kinds else points


def _order(point: _Point) -> tuple[float, float, float]:
    return tuple(math.inf if number != number else number for number in point)  # type: ignore[return-value]  # three


def _once_a_millisecond(points: Iterable[_Point]) -> list[_Point]:
    found = {(repr(step), repr(value), math.floor(time * 1000 + 1e-3)): (step, value, time)
             for step, value, time in points}  # fmt: skip
    return list(found.values())


def _same_point(one: _Point, other: _Point, *, timeless: bool, rounded: bool) -> bool:
    if not timeless and abs(one[2] - other[2]) > _MILLISECOND:
        return False
    if rounded and _same(one[0], other[0]):
        return _same(one[1], other[1]) or math.isclose(one[1], other[1], rel_tol=_SINGLE)
    return _same(one[:2], other[:2])
