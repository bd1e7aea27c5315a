"""Series of the gated metrics, thinned for pictures; and how well two trainings of one job agree. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from unitrack.gate.evidence import value_of
from unitrack.gate.statistics import spread_of
from unitrack.gate.verdict import Curve, Tier
from unitrack.model import metric_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unitrack.gate.decision import Value
    from unitrack.gate.policy import MetricPolicy, Policy
    from unitrack.reader import RunView

__all__ = ["curves_of", "tier_of"]

_POINTS = 60  # a curve at most
_ALL_POINTS = 40_000  # of a verdict: about a megabyte
_FEWEST = 4  # fewer are no picture: then later metrics go without
_CLOSE = 1e-6
_TIERS: tuple[Tier, ...] = ("bit_equal", "within_1e-6", "statistically_equal", "not_reproduced")


def curves_of(policy: Policy, candidate: Mapping[int, RunView], baseline: Mapping[int, RunView]) -> tuple[Curve, ...]:
    """Return the curves of the metrics that gate, 60 points each at most, fewer where there are many."""
    sides: tuple[tuple[Literal["candidate", "baseline"], Mapping[int, RunView]], ...] = (
        ("candidate", candidate),
        ("baseline", baseline),
    )
    wanted = [
        (rule.name, side, seed, view)
        for rule in policy.metrics
        if rule.gates
        for side, views in sides
        for seed, view in views.items()
        if rule.name in view.metrics and view.metrics[rule.name].count > 1
    ]
    if not wanted:
        return ()
    points = max(_FEWEST, min(_POINTS, _ALL_POINTS // len(wanted)))
    return tuple(_curve(name, side, seed, view, points) for name, side, seed, view in wanted[: _ALL_POINTS // points])


def _curve(name: str, side: Literal["candidate", "baseline"], seed: int, view: RunView, points: int) -> Curve:
    series = view.series(name)
    chosen = _spread_over(len(series.values), points)
    steps = [series.steps[at] for at in chosen]
    return Curve(
        metric=name,
        side=side,
        seed=seed,
        steps=tuple(
            float(at if step is None or math.isnan(step) else step) for at, step in zip(chosen, steps, strict=True)
        ),
        values=tuple(_short(series.values[at]) for at in chosen),
    )


def _spread_over(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted({round(at * (count - 1) / (most - 1)) for at in range(most)})


def _short(value: float) -> Value:
    if not math.isfinite(value):
        return str(metric_value(value))  # type: ignore[return-value]  # one of the three words
    return float(f"{value:.6g}")


def tier_of(policy: Policy, trained: Mapping[int, RunView], again: Iterable[tuple[int, RunView]]) -> Tier | None:
    """Return how well runs were reproduced, None if none was repeated. The worst metric of the worst repeat counts.

    `trained` are a side's runs by seed, `again` other trainings of the same jobs. Statistically equal means: final
    values differ by no more than three standard deviations of a difference, as the side's seeds show it.
    """
    worst = [
        _TIERS.index(_agreement(rule, trained, seed, view))
        for seed, view in again
        if seed in trained
        for rule in policy.metrics
        if rule.gates
    ]
    return _TIERS[max(worst)] if worst else None


def _agreement(rule: MetricPolicy, trained: Mapping[int, RunView], seed: int, other: RunView) -> Tier:
    one = trained[seed]
    first, second = _numbers(one, rule), _numbers(other, rule)
    if len(first) == len(second) and all(map(_same, first, second)):
        return "bit_equal"
    if len(first) == len(second) and all(map(_close, first, second)):
        return "within_1e-6"
    values = [value for view in trained.values() if (value := value_of(view, rule)) is not None]
    mine, its = value_of(one, rule), value_of(other, rule)
    if mine is None or its is None or len(values) < 2 or not all(map(math.isfinite, [*values, its])):
        return "not_reproduced"
    return "statistically_equal" if abs(mine - its) <= 3 * math.sqrt(2) * spread_of(values) else "not_reproduced"


def _numbers(view: RunView, rule: MetricPolicy) -> Sequence[float]:
    if rule.name in view.metrics:
        return [float(value) for value in view.series(rule.name).values]
    value = value_of(view, rule)
    return [] if value is None else [value]


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _close(one: float, other: float) -> bool:
    return _same(one, other) or math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE * 1e-6)
