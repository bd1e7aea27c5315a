"""Read from runs what the gate compares: one number a metric and seed, and what the logged predictions tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from unitrack.gate.decide import MetricEvidence
from unitrack.gate.predictions import Examples
from unitrack.gate.statistics import mean_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.gate.policy import MetricPolicy, Policy
    from unitrack.reader import RunView

__all__ = ["gather", "reduce_series", "value_of"]


def gather(
    policy: Policy,
    seeds: Sequence[int],
    candidate: Mapping[int, RunView],
    baseline: Mapping[int, RunView],
    *,
    examples: Examples | None = None,
    whole: bool = True,
) -> list[MetricEvidence]:
    """Return the evidence for every metric of the policy, in its order.

    `examples` keeps predictions that were read before. Without `whole` what is only shown is left out.
    """
    known = Examples() if examples is None else examples
    ours, theirs = [candidate[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    return [
        _of_predictions(rule, seeds, ours, theirs, known, whole=whole)
        if rule.examples is not None
        else MetricEvidence(
            rule=rule,
            seeds=tuple(seeds),
            candidate=tuple(value_of(view, rule) for view in ours),
            baseline=tuple(value_of(view, rule) for view in theirs),
        )
        for rule in policy.metrics
    ]


def _of_predictions(
    rule: MetricPolicy,
    seeds: Sequence[int],
    candidate: Sequence[RunView],
    baseline: Sequence[RunView],
    known: Examples,
    *,
    whole: bool,
) -> MetricEvidence:
    found = known.measure(rule, candidate, baseline, whole=whole)
    return MetricEvidence(
        rule=rule,
        seeds=tuple(seeds),
        candidate=found.candidate,
        baseline=found.baseline,
        examples=found.examples,
        slices=found.slices,
        unfit=found.unfit,
        notes=found.notes,
    )


def value_of(view: RunView, rule: MetricPolicy) -> float | None:
    """Return the value of a run that counts, or None if it was not logged.

    A metric of examples is worked out from the logged predictions, whatever the run says of it. Any other the
    policy picks from the logged series, so that a candidate can't choose a kinder summary; a
    summary value set by hand counts where there is no series. What is no number is NaN.
    """
    if rule.examples is not None:
        return Examples().value(view, rule)
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
