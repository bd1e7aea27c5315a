"""Merge the journals of a run into one account of it. Pure: all inputs are folded journals.

Writers are merged by time; what one writer said keeps its order even if its clock was set back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from unitrack._scan import JournalState, Kept, Stat
from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Media,
    MetricDefinition,
    Params,
    Role,
    RunStarted,
    Summary,
    Tags,
)
from unitrack.model import restore

__all__ = ["Details", "Header", "MetricInfo", "RunStatus", "WriterView", "deciding", "details", "header", "status_of"]

RunStatus = Literal["running", "finished", "failed", "killed"]


class WriterView(msgspec.Struct, frozen=True, kw_only=True):
    """One process that logged into the run. `status` is `running` while it does.

    `events` were read, `lost` could not be written, `sealed` says that its journal ended in order.
    """

    id: str
    host: str
    pid: int
    rank: int | None
    role: Role
    status: RunStatus
    reason: str | None
    started: float
    ended: float
    events: int
    lost: int
    sealed: bool


class MetricInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric's values come to over all writers; `min`, `max` pass over NaN, `step` names its x axis."""

    name: str
    count: int
    first: float
    last: float
    min: float
    max: float
    mean: float
    goal: Literal["maximize", "minimize"] | None = None
    summary: Literal["last", "min", "max", "mean", "first", "none"] | None = None
    step: str | None = None

    @property
    def best(self) -> float | None:
        """The best value by the metric's goal; None without a goal."""
        return None if self.goal is None else self.max if self.goal == "maximize" else self.min


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing tells of a run. `damage` are problems that make its data incomplete."""

    id: str
    project: str
    name: str | None
    group: str | None
    parent: str | None
    tags: list[str]
    tag_values: dict[str, str]
    status: RunStatus
    reason: str | None
    started: float
    ended: float | None
    params: dict[str, Any]
    summary: dict[str, Any]
    metrics: dict[str, MetricInfo]
    system: dict[str, MetricInfo]
    writers: list[WriterView]
    problems: list[str]
    damage: list[str]


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What a run logged besides numbers and words about itself."""

    artifacts: tuple[Artifact, ...]
    datasets: tuple[DatasetUsed, ...]
    media: tuple[Media, ...]
    alerts: tuple[Alert, ...]
    captures: dict[str, dict[str, Any]]
    argv: tuple[str, ...]


# -- writers and status ------------------------------------------------------------------------------


def deciding(writers: Iterable[WriterView]) -> list[WriterView]:
    """Return the writers whose ends decide the run's: the latest primary one of each rank."""
    latest: dict[int | None, WriterView] = {}
    for writer in sorted(writers, key=lambda each: (each.started, each.id)):
        if writer.role == "primary":
            latest[writer.rank] = writer
    return list(latest.values())


def status_of(writers: Iterable[WriterView]) -> RunStatus:
    """Return `running` while any deciding writer runs, else the worst of their ends; `killed` if there is none."""
    found = {writer.status for writer in deciding(writers)}
    order: tuple[RunStatus, ...] = ("running", "failed", "killed", "finished")
    return next((status for status in order if status in found), "killed")


def _reason(writers: Sequence[WriterView], status: RunStatus) -> str | None:
    return next((each.reason for each in deciding(writers) if each.status == status and each.reason), None)


# -- the header --------------------------------------------------------------------------------------


def header(
    run_id: str,
    states: Sequence[JournalState],
    writers: Sequence[WriterView],
    *,
    created: float,
    problems: Sequence[str] = (),
) -> Header:
    """Merge journals into what a listing tells; `created` (epoch seconds) stands in for a start nobody wrote."""
    events = [kept.event for kept in _merged(states)]
    starts = [event for event in events if isinstance(event, RunStarted)]
    definitions = _definitions(events)
    metrics = _infos([state.metrics for state in states], definitions)
    status, ends = status_of(writers), [each.ended for each in deciding(writers) or writers]
    tags, tag_values = _tags(events)
    return Header(
        id=run_id, project=starts[0].project if starts else "",
        name=_latest(starts, "name"), group=_latest(starts, "group"), parent=_latest(starts, "parent"),
        tags=tags, tag_values=tag_values, status=status, reason=_reason(writers, status),
        started=min((each.started for each in writers), default=created),
        ended=None if status == "running" else max(ends, default=created),
        params=_nested(event.values for event in events if isinstance(event, Params)),
        summary=_summary(metrics, events), metrics=metrics,
        system=_infos([state.system for state in states], {}),
        writers=list(writers), problems=[*_problems(states, writers), *problems], damage=_damage(states),
    )  # fmt: skip


def _merged(states: Iterable[JournalState]) -> list[Kept]:
    return sorted((kept for state in states for kept in state.kept), key=lambda kept: kept.clock)


def _latest(starts: Sequence[RunStarted], field: str) -> str | None:
    return next((value for start in reversed(starts) if (value := getattr(start, field)) is not None), None)


def _tags(events: Iterable[Any]) -> tuple[list[str], dict[str, str]]:
    tags: dict[str, None] = {}
    values: dict[str, str] = {}
    for event in events:
        if isinstance(event, RunStarted):
            tags |= dict.fromkeys(event.tags)
        elif isinstance(event, Tags):
            tags |= dict.fromkeys(event.add)
            values |= event.values
            for tag in event.remove:
                tags.pop(tag, None)
                values.pop(tag, None)
    return list(tags), values


def _nested(trees: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for tree in trees:
        _merge_into(merged, restore(tree))
    return merged


def _merge_into(target: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        old = target.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge_into(old, value)
        else:
            target[key] = value


# -- metrics -----------------------------------------------------------------------------------------


def _definitions(events: Iterable[Any]) -> dict[str, MetricDefinition]:
    found: dict[str, MetricDefinition] = {}
    for event in events:
        if isinstance(event, MetricDefinition):
            old = found.get(event.name, event)
            found[event.name] = msgspec.structs.replace(
                event, goal=event.goal or old.goal, summary=event.summary or old.summary, step=event.step or old.step
            )
    return found


def _infos(
    journals: Sequence[Mapping[str, Stat]], definitions: Mapping[str, MetricDefinition]
) -> dict[str, MetricInfo]:
    names = dict.fromkeys(name for stats in journals for name in stats)
    return {
        name: _info(name, [stats[name] for stats in journals if name in stats], definitions.get(name)) for name in names
    }


def _info(name: str, stats: Sequence[Stat], definition: MetricDefinition | None) -> MetricInfo:
    count = sum(stat.count for stat in stats)
    return MetricInfo(
        name=name,
        count=count,
        first=min(stats, key=lambda stat: stat.began).first,
        last=max(reversed(stats), key=lambda stat: stat.ended).last,
        min=min((stat.min for stat in stats if stat.min == stat.min), default=math.nan),
        max=max((stat.max for stat in stats if stat.max == stat.max), default=math.nan),
        mean=sum(stat.total for stat in stats) / count,
        goal=definition.goal if definition else None,
        summary=definition.summary if definition else None,
        step=definition.step if definition else None,
    )


def _summary(metrics: Mapping[str, MetricInfo], events: Iterable[Any]) -> dict[str, Any]:
    implied = {name: getattr(info, info.summary or "last") for name, info in metrics.items() if info.summary != "none"}
    given = _nested(event.values for event in events if isinstance(event, Summary))
    return {**implied, **given}


# -- problems ----------------------------------------------------------------------------------------


def _damage(states: Iterable[JournalState]) -> list[str]:
    return [f"{state.name}: {problem}" for state in states for problem in state.damage]


def _problems(states: Sequence[JournalState], writers: Sequence[WriterView]) -> Iterator[str]:
    running = {writer.id for writer in writers if writer.status == "running"}
    for state in states:
        yield from (f"{state.name}: {problem}" for problem in state.damage)
        if state.writer is None and not state.damage:
            yield f"{state.name}: holds no whole event"
        if state.torn and not (state.writer and state.writer.writer in running):
            yield f"{state.name}: a torn last line of {state.torn} bytes was left out"
        if state.repeated:
            yield f"{state.name}: {state.repeated} repeated events were left out"
    for writer in writers:
        if writer.lost:
            because = f": {writer.reason}" if writer.reason and not writer.sealed else ""
            yield f"{writer.id}: {writer.lost} events could not be written{because}"


# -- details -----------------------------------------------------------------------------------------


def details(states: Sequence[JournalState], writers: Sequence[WriterView]) -> Details:
    """Merge what was logged besides numbers, in order of time."""
    events = [_restored(kept.event) for kept in _merged(states)]
    return Details(
        artifacts=tuple(event for event in events if isinstance(event, Artifact)),
        datasets=tuple(event for event in events if isinstance(event, DatasetUsed)),
        media=tuple(event for event in events if isinstance(event, Media)),
        alerts=tuple(event for event in events if isinstance(event, Alert)),
        captures=_captures(states, writers),
        argv=tuple(next((event.argv for event in events if isinstance(event, RunStarted)), ())),
    )


def _restored(event: Any) -> Any:
    if isinstance(event, (Artifact, DatasetUsed)) and event.metadata:
        return msgspec.structs.replace(event, metadata=restore(event.metadata))
    if isinstance(event, Media):
        return msgspec.structs.replace(event, metadata=restore(event.metadata), inline=restore(event.inline))
    return event


def _captures(states: Sequence[JournalState], writers: Sequence[WriterView]) -> dict[str, dict[str, Any]]:
    """Merge captures; the first rank's primary writers have the last word, for what they know stands for the run."""
    first = min((each.rank or 0 for each in writers if each.role == "primary"), default=0)
    main = {each.id for each in writers if each.role == "primary" and (each.rank or 0) == first}
    ours = [state for state in states if state.writer is not None and state.writer.writer in main]
    others = [state for state in states if state not in ours]
    merged: dict[str, dict[str, Any]] = {}
    for kept in (*_merged(others), *_merged(ours)):
        if isinstance(kept.event, Capture):
            _merge_into(merged.setdefault(kept.event.name, {}), restore(kept.event.values))
    return merged
