"""What a training's own noise is, from trainings of one commit in pairs, and which margins it allows. Pure.

Two numbers matter. The noise of a pair: how far two trainings of one commit and seed are apart; nothing at all
where training is deterministic. And the spread over seeds. A changed program may lose what ties equal seeds
together (another layer, another order of the data), and then its differences vary by the spread of both sides. So
margins and the noise that later gates start from are taken from the larger of the two.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.gate.curves import tier_of
from unitrack.gate.decision import Value
from unitrack.gate.evidence import value_of
from unitrack.gate.policy import AUTO_RELATIVE, MetricPolicy, Policy
from unitrack.gate.statistics import (
    correlation_of,
    detectable_drop,
    mean_of,
    require_scipy,
    resolution,
    rounded,
    seeds_needed,
    spread_of,
)
from unitrack.gate.verdict import SeedRun, Tier
from unitrack.model import metric_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from unitrack.config import GateSettings
    from unitrack.reader import RunView

__all__ = [
    "PLANNED",
    "Calibration",
    "CalibrationSide",
    "MetricCalibration",
    "Spread",
    "calibrate",
    "rules_of",
    "toml_of",
]

PLANNED = 5
"""The number of pairs that detectable drops and suggested margins are stated for."""

_CONFIDENCE = 0.95
_LARGEST = 1e100  # beyond it squares overflow; no metric means such a number
_MOST_METRICS = 30
_SMALLER_IS_BETTER = re.compile(
    r"(?i)(?:^|[^a-z])(loss|err|error|rmse|mse|mae|mape|brier|perplexity|ppl|wer|cer|fid|latency|seconds|time|duration|"
    r"memory|bytes|size)(?:$|[^a-z])"
)


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A standard deviation with its 95 % interval, as chi-squared gives it for `df` degrees of freedom."""

    sd: float
    lower: float
    upper: float
    df: int


class MetricCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both trainings, seed by seed, and what follows.

    `pair_noise` is of the difference of two trainings with one seed, `seed_spread` of one training over seeds;
    `noise` is what a changed candidate's differences may vary by. `differences` are what later gates take as earlier
    noise. `detectable` is the drop that 5 pairs show at 1 % with a chance of 80 %; `pairs_unchanged` says how many an
    unchanged commit needs at the margin, `pairs_changed` one whose seeds are of no use any more. Everything is None
    where the values say nothing: too few seeds, or values that are missing or not finite.
    """

    name: str
    first: tuple[Value, ...]
    second: tuple[Value, ...]
    tier: Tier | None = None
    mean: float | None = None
    pair_noise: Spread | None = None
    seed_spread: Spread | None = None
    correlation: float | None = None
    noise: float | None = None
    differences: tuple[float, ...] = ()
    margin: float | None = None
    margin_is: Literal["the policy's", "suggested"] = "suggested"
    suggested: float | None = None
    detectable: float | None = None
    pairs_unchanged: int | None = None
    pairs_changed: int | None = None


class CalibrationSide(msgspec.Struct, frozen=True, kw_only=True):
    """A commit and the runs of one training a seed."""

    commit: str
    runs: tuple[SeedRun, ...]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Trainings of one commit in pairs. Named as in a verdict, so that later gates find the noise."""

    schema: Literal[1] = 1
    created: float
    unitrack: str
    place: str
    mode: Literal["rerun"] = "rerun"
    tier: Tier | None
    policy: Policy
    candidate: CalibrationSide
    baseline: CalibrationSide
    seeds: tuple[int, ...]
    metrics: tuple[MetricCalibration, ...]
    seconds: float


def rules_of(gate: GateSettings | None, views: Collection[RunView]) -> tuple[MetricPolicy, ...]:
    """Return the policy's rules, a margin or not; without any, one for each metric that every run logged."""
    if gate is not None and gate.metrics:
        names = MetricPolicy.__struct_fields__
        return tuple(MetricPolicy(**{name: getattr(rule, name) for name in names}) for rule in gate.metrics)
    logged = [{*view.metrics} for view in views]
    shared = sorted(set.intersection(*logged)) if logged else []
    return tuple(
        MetricPolicy(name=name, goal="minimize" if _SMALLER_IS_BETTER.search(name) else "maximize")
        for name in shared[:_MOST_METRICS]
    )


def calibrate(
    policy: Policy, seeds: Sequence[int], first: Mapping[int, RunView], second: Mapping[int, RunView]
) -> tuple[Tier | None, tuple[MetricCalibration, ...]]:
    """Return how well training reproduces, and what each metric's noise is."""
    require_scipy()
    gating = [msgspec.structs.replace(rule, role="target") for rule in policy.metrics]
    again = [(seed, second[seed]) for seed in seeds]
    made = []
    for rule in gating:
        tier = tier_of(msgspec.structs.replace(policy, metrics=(rule,)), first, again)
        values = [[value_of(side[seed], rule) for seed in seeds] for side in (first, second)]
        made.append(_metric(policy, rule, values[0], values[1], tier))
    return tier_of(msgspec.structs.replace(policy, metrics=tuple(gating)), first, again), tuple(made)


def _metric(
    policy: Policy, rule: MetricPolicy, first: list[float | None], second: list[float | None], tier: Tier | None
) -> MetricCalibration:
    bare = MetricCalibration(name=rule.name, first=_words(first), second=_words(second), tier=tier)
    ones, others = [[v for v in side if v is not None and abs(v) <= _LARGEST] for side in (first, second)]
    if len(ones) != len(first) or len(others) != len(second) or len(ones) < 2:
        return bare
    sign = 1.0 if rule.goal == "maximize" else -1.0
    paired = [sign * (one - other) + 0.0 for one, other in zip(ones, others, strict=True)]
    shifted = [sign * (one - other) + 0.0 for one, other in zip(ones, [*others[1:], others[0]], strict=True)]
    blur = resolution([*ones, *others])
    pair_noise, seed_spread = _pair_noise(paired, blur), _seed_spread(ones, others, blur)
    unlinked = math.sqrt(2) * seed_spread.sd
    noise = max(pair_noise.sd, unlinked)
    mean = mean_of([*ones, *others])
    suggested = _round_up(max(AUTO_RELATIVE * abs(mean), 2 * noise / math.sqrt(PLANNED)))
    margin = rule.margin if isinstance(rule.margin, float) else None
    chosen = suggested if margin is None else margin
    df = min(policy.history, len(ones) - 1)
    figures: dict[str, Any] = {
        "detectable": rounded(detectable_drop(noise, PLANNED, level=policy.fail_level, df=PLANNED - 1 + df)),
        "pairs_unchanged": 1 if not any(paired) else _pairs(policy, pair_noise.sd, chosen, df),
        "pairs_changed": _pairs(policy, noise, chosen, df),
    }
    return msgspec.structs.replace(
        bare,
        mean=rounded(mean),
        pair_noise=pair_noise,
        seed_spread=seed_spread,
        correlation=correlation_of(ones, others),
        noise=rounded(noise),
        differences=tuple(paired if pair_noise.sd >= unlinked else shifted),
        margin=chosen,
        margin_is="suggested" if margin is None else "the policy's",
        suggested=suggested,
        **(figures if noise > 0 else {"detectable": 0.0, "pairs_unchanged": 1, "pairs_changed": 1}),
    )


def _words(values: Sequence[float | None]) -> tuple[Value, ...]:
    return tuple(None if value is None else _word(value) for value in values)


def _word(value: float) -> Value:
    word = metric_value(float(value))
    return word if isinstance(word, str) else float(word)


def _pair_noise(paired: Sequence[float], blur: float) -> Spread:
    """The true difference of a pair is zero, which leaves a degree of freedom for each pair."""
    largest = max(map(abs, paired))
    if largest <= blur:
        return _spread(0.0, len(paired))
    return _spread(largest * math.sqrt(mean_of([(each / largest) ** 2 for each in paired])), len(paired))


def _seed_spread(ones: Sequence[float], others: Sequence[float], blur: float) -> Spread:
    """Pool both sides' spread; equal seeds may give equal values, so the second side adds no certainty."""
    spreads = [spread_of(side) if max(side) - min(side) > blur else 0.0 for side in (ones, others)]
    return _spread(math.hypot(*spreads) / math.sqrt(2), len(ones) - 1)


def _spread(sd: float, df: int) -> Spread:
    from scipy.special import chdtri

    tail = (1 - _CONFIDENCE) / 2
    lower, upper = (sd * math.sqrt(df / float(chdtri(df, chance))) for chance in (tail, 1 - tail))
    return Spread(sd=rounded(sd), lower=rounded(lower), upper=rounded(upper), df=df)


def _pairs(policy: Policy, sd: float, margin: float, df: int) -> int | None:
    if sd == 0:
        return 1
    return seeds_needed(sd, margin, level=policy.pass_level, df_before=df)


def _round_up(value: float) -> float:
    """Return the next number with two digits: a margin is a decision, not a measurement."""
    if value <= 0 or not math.isfinite(value):
        return 0.0
    power = math.floor(math.log10(value)) - 1
    scaled = math.ceil(round(value / 10.0**power, 6))
    return float(f"{scaled}e{power}")


def toml_of(calibration: Calibration, *, ruled: bool) -> str:
    """Return `[[gate.metrics]]` with suggested margins; not `ruled`, goals are guessed from names and say so."""
    rules = {rule.name: rule for rule in calibration.policy.metrics}
    return "\n".join(_table(rules[one.name], one, ruled=ruled) for one in calibration.metrics)


def _table(rule: MetricPolicy, one: MetricCalibration, *, ruled: bool) -> str:
    lines = ["[[gate.metrics]]", f"name = {json.dumps(rule.name)}"]
    lines.append(f'goal = "{rule.goal}"{"" if ruled else "  # guessed from the name: check it"}')
    if rule.role != "target":
        lines.append(f'role = "{rule.role}"')
    if rule.summary != "last":
        lines.append(f'summary = "{rule.summary}"')
    if one.suggested is None:
        lines.append("# no margin can be suggested: it was not logged with a finite value for every seed")
    else:
        lines.append(f"margin = {float(one.suggested)!r}  # {_because(one)}")
    return "\n".join(lines) + "\n"


def _because(one: MetricCalibration) -> str:
    if one.noise is None or one.mean is None or one.suggested is None:
        return ""
    noisy = 2 * one.noise / math.sqrt(PLANNED)
    if noisy > AUTO_RELATIVE * abs(one.mean):
        return f"2 standard deviations of a mean of {PLANNED} differences"
    return f"{AUTO_RELATIVE:.0%} of the mean, more than its noise"
