"""What earlier gates of this store tell of the noise: the differences of their pairs, oldest first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.decision import Value
from unitrack.gate.history import is_rounding
from unitrack.gate.policy import MetricPolicy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from unitrack.gate.policy import Policy

__all__ = ["earlier_differences", "place_of"]

_LARGEST = 16 << 20  # bytes
_MOST = 200  # gates; older ones tell of a project that is no more


class _Rules(msgspec.Struct, kw_only=True):
    model: str | None = None
    metrics: tuple[MetricPolicy, ...] = ()


class _Metric(msgspec.Struct, kw_only=True):
    name: str
    decision: str = ""
    candidate: tuple[Value, ...] = ()
    baseline: tuple[Value, ...] = ()
    differences: tuple[Value, ...] = ()


class _Run(msgspec.Struct, kw_only=True):
    job: str


class _Subject(msgspec.Struct, kw_only=True):
    runs: tuple[_Run, ...] = ()


class _Past(msgspec.Struct, kw_only=True):
    """The few fields of a verdict that are needed here: checking it whole would take longer than a gate."""

    created: float
    mode: str = "rerun"
    place: str = ""
    evaluated_by: str | None = None
    policy: _Rules
    candidate: _Subject
    baseline: _Subject
    metrics: tuple[_Metric, ...] = ()


def earlier_differences(
    store: Path, policy: Policy, *, place: str, evaluated: bool, without: Collection[str]
) -> dict[str, list[tuple[float, ...]]]:
    """Return for each metric the differences of earlier gates of this model at this place, oldest first.

    Gates that share a candidate's job with `without` are left out: their noise would count twice. So are metrics
    that failed: a broken training is often erratic, and whoever tried it twice would find it forgiven as noise. Files
    that can't be read tell nothing.
    """
    found: dict[str, list[tuple[float, ...]]] = {rule.name: [] for rule in policy.metrics}
    if not place:
        return found
    rules = {rule.name: rule for rule in policy.metrics}
    for past in _verdicts(store):
        like = past.mode == "rerun" and past.place == place and (past.evaluated_by is not None) == evaluated
        if not like or past.policy.model != policy.model or {one.job for one in past.candidate.runs} & {*without}:
            continue
        theirs = {rule.name: rule for rule in past.policy.metrics}
        for metric in past.metrics:
            mine, its = rules.get(metric.name), theirs.get(metric.name)
            differences = _numbers(metric.differences)
            whole = len(differences) == len(metric.differences) > 1
            values = [*_numbers(metric.candidate), *_numbers(metric.baseline)]
            told = whole and metric.decision != "fail" and not is_rounding(differences, values)
            if mine and its and _same_measure(mine, its) and told:
                found[metric.name].append(tuple(differences))
    return found


def _numbers(values: Sequence[Value]) -> list[float]:
    return [one for one in values if isinstance(one, float) and math.isfinite(one)]


def _same_measure(one: MetricPolicy, other: MetricPolicy) -> bool:
    return (one.goal, one.summary) == (other.goal, other.summary)


def _verdicts(store: Path) -> list[_Past]:
    found = []
    # Calibrations have the same fields: pairs of one commit tell of the noise like any other.
    for path in (*store.glob("gate/*/verdict.json"), *store.glob("gate/calibration-*/calibration.json")):
        try:
            if path.stat().st_size <= _LARGEST:
                found.append(msgspec.json.decode(path.read_bytes(), type=_Past))
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return sorted(found, key=lambda past: past.created)[-_MOST:]


def place_of(fingerprints: Mapping[str, str]) -> str:
    """Return the place both sides were trained at, empty if they differ: then no earlier noise is like theirs."""
    places = set(fingerprints.values())
    return places.pop() if len(places) == 1 else ""
