"""Read from runs what the gate compares: one number a metric and seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from unitrack.gate.decide import MetricEvidence
from unitrack.gate.statistics import mean_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.gate.policy import MetricPolicy, Policy
    from unitrack.reader import RunView

__all__ = ["gather", "reduce_series", "value_of"]


def gather(
    policy: Policy, seeds: Sequence[int], candidate: Mapping[int, RunView], baseline: Mapping[int, RunView]
) -> list[MetricEvidence]:
    """Return the evidence for every metric of the policy, in its order."""
    return [
        MetricEvidence(
            rule=rule,
            seeds=tuple(seeds),
            candidate=tuple(value_of(candidate[seed], rule) for seed in seeds),
            baseline=tuple(value_of(baseline[seed], rule) for seed in seeds),
        )
        for rule in policy.metrics
    ]


def value_of(view: RunView, rule: MetricPolicy) -> float | None:
    """Return the value of a run that counts, or None if it was not logged.

    The policy picks it from the logged series, so that a candidate can't choose a kinder summary; a
    summary value set by hand counts where there is no series. What is no number is NaN.
    """
    if rule.name in view.metrics:
        return reduce_series(view.series(rule.name).values, rule)
    return _as_number(view.summary.get(rule.name))


def reduce_series(values: Sequence[float], rule: MetricPolicy) -> float | None:
    """Return the value that `rule.summary` names; a NaN anywhere in it makes all but `last` and `first` NaN."""
    if not len(values):
        return None
    if rule.summary in ("last", "first"):
        return float(values[-1 if rule.summary == "last" else 0])
    if any(math.isnan(value) for value in values):
        return math.nan
    if rule.summary == "mean":
        return mean_of(values) if all(map(math.isfinite, values)) else math.nan
    largest = rule.summary == "max" or (rule.summary == "best" and rule.goal == "maximize")
    return float(max(values) if largest else min(values))


def _as_number(value: Any) -> float | None:
    if value is None:
        return None
    return float(value) if isinstance(value, (int, float)) else math.nan
