"""Compare what the model in production comes to on fresh data with what it came to when it was promoted.

The rules are the gate's: a metric is worse if that is shown (1 % one-sided, Holm over all metrics) and its loss is
beyond the margin; it holds if a loss of the margin is ruled out (5 % one-sided); otherwise it is undecided. What is
known of chance decides which test there is:

1. Both sides logged predictions: the same model on two samples of examples, whose variances add.
2. Otherwise earlier checks of this version on other data tell how much such a difference varies.
3. Otherwise nothing tells, and the metric is undecided: one number is no evidence of itself.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.config import Goal, Role
from unitrack.errors import UnitrackError
from unitrack.gate.decision import Decision, Value
from unitrack.gate.evidence import value_of
from unitrack.gate.history import noise_of
from unitrack.gate.policy import margin_of
from unitrack.gate.statistics import holm, rounded
from unitrack.model import metric_value
from unitrack.monitor.two_samples import contrast

if TYPE_CHECKING:
    from unitrack.gate.policy import MetricPolicy, Policy
    from unitrack.reader import RunView

__all__ = ["EARLIER", "MetricCheck", "Promoted", "compare_metrics"]

EARLIER = 3
"""Earlier checks of a version on other data from which on they tell how much a difference varies."""

Basis = Literal["two proportions", "delong", "bootstrap", "jackknife", "earlier checks", "none"]
_Tails = Callable[[float], tuple[float, float]]


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """What a version came to when it was promoted. `run` is that run, whose predictions are compared, if it is here.

    `values` are its own numbers by metric, `seeds` those of all seeds of its commit, `source` says where they are from.
    """

    source: str
    run: Any = None
    values: Mapping[str, float] = {}
    seeds: Mapping[str, tuple[Value, ...]] = {}


class MetricCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one metric. `difference` is fresh minus reference, turned so that more is better.

    `lower` and `upper` bound it (two-sided 90 %), `p_pass` tests "the loss is the margin or more", `p_fail` "no worse",
    `adjusted` is that after Holm. `basis` says what is known of chance. `seeds` are the values of all seeds when it
    was promoted, `n_*` count examples.
    """

    name: str
    goal: Goal
    role: Role
    decision: Decision
    reason: str
    basis: Basis = "none"
    fresh: Value = None
    reference: Value = None
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None
    margin: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    p_pass: float | None = None
    p_fail: float | None = None
    adjusted: float | None = None
    n_fresh: int | None = None
    n_reference: int | None = None
    seeds: tuple[Value, ...] = ()


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """One metric made ready: its values, and what tells of chance; or why it is decided already."""

    rule: Any
    fresh: float | None = None
    reference: float | None = None
    basis: Basis = "none"
    tail: _Tails | None = None
    limits: tuple[_Limit, ...] = ()
    half: float | None = None
    sizes: tuple[int, int] | None = None
    finding: tuple[Decision, str] | None = None
    note: str = ""

    @property
    def difference(self) -> float | None:
        if self.fresh is None or self.reference is None:
            return None
        return (self.fresh - self.reference) * (1.0 if self.rule.goal == "maximize" else -1.0) + 0.0

    @property
    def margin(self) -> float | None:
        found = None if self.reference is None else margin_of(self.rule, self.reference)
        return None if found is None else found.value


class _Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the policy: how far the fresh value is on its right side, and the chances of so little, so much."""

    word: str
    bound: float
    distance: float
    low: float
    high: float


def compare_metrics(
    policy: Policy,
    fresh: RunView,
    promoted: Promoted,
    earlier: Mapping[str, Sequence[float]],
) -> tuple[MetricCheck, ...]:
    """Judge every metric of the policy. `earlier` are the differences that earlier checks of this version found."""
    cases = [_case(rule, fresh, promoted, earlier.get(rule.name, ())) for rule in policy.metrics]
    tested = [case for case in cases if case.finding is None and case.rule.gates]
    raw = [p for case in tested for p in _harms(case)]
    adjusted = iter(holm(raw))
    by_name = {case.rule.name: [next(adjusted) for _ in _harms(case)] for case in tested}
    return tuple(_decided(case, by_name.get(case.rule.name, []), policy, promoted) for case in cases)


def _harms(case: _Case) -> list[float]:
    """Return the p-values of "no worse" that a metric is judged by."""
    own = [case.tail(0.0)[0]] if case.tail is not None and case.rule.compares else []
    return [*own, *(limit.low for limit in case.limits)]


# -- what there is -------------------------------------------------------------------------------


def _case(rule: MetricPolicy, fresh: RunView, promoted: Promoted, earlier: Sequence[float]) -> _Case:
    ours, theirs = value_of(fresh, rule), promoted.values.get(rule.name)
    if ours is None:
        return _Case(rule=rule, reference=theirs, finding=_not_measured(rule))
    if not math.isfinite(ours):
        return _Case(
            rule=rule, fresh=ours, reference=theirs, finding=(rule.nan, "It is no finite number on fresh data.")
        )
    case = _Case(rule=rule, fresh=ours, reference=theirs)
    found = _of_predictions(case, fresh, promoted) if rule.examples is not None else case
    found = found if found.tail is not None else _of_history(found, earlier)
    if found.tail is None and found.finding is None:
        return msgspec.structs.replace(found, finding=("undecided", _unknown_chance(found)))
    return found


def _not_measured(rule: MetricPolicy) -> tuple[Decision, str]:
    if rule.role == "budget":  # time, memory and size are the training's
        return "reported", "It was not measured on fresh data."
    return "undecided", "The command did not log it on fresh data, so nothing is known of it."


def _unknown_chance(case: _Case) -> str:
    if case.reference is None and case.rule.compares:
        return f"{case.note} What it came to when the model was promoted is not known here.".strip()
    words = (
        f"One number tells nothing of how much it varies: log predictions and set `examples`, or wait for {EARLIER} "
        "checks on other data."
    )
    return f"{case.note} {words}".strip()


def _of_predictions(case: _Case, fresh: RunView, promoted: Promoted) -> _Case:
    rule = case.rule
    if promoted.run is None:
        return msgspec.structs.replace(
            case, note="The run of the promoted version is not here, nor are its predictions."
        )
    try:
        ours, theirs = fresh.predictions(rule.predictions), promoted.run.predictions(rule.predictions)
        found = contrast(rule.examples, ours, theirs, fewest_positives=rule.smallest_positives)
    except (UnitrackError, ArithmeticError) as error:
        return msgspec.structs.replace(case, note=f"The predictions can't be compared: {str(error)[:300]}.")
    return msgspec.structs.replace(
        case,
        fresh=found.fresh,
        reference=found.reference,
        basis=found.test,
        tail=found.tail,
        half=_Z * found.error,
        sizes=(found.n_fresh, found.n_reference),
        limits=_limits(rule, found.fresh, _normal(found.error_fresh)),
    )


_Z = 1.6448536269514722  # standard errors to the ends of a two-sided 90 % interval


def _of_history(case: _Case, earlier: Sequence[float]) -> _Case:
    """Take the noise from earlier checks: how much the difference varied from one batch of data to the next."""
    past = noise_of(earlier) if len(earlier) >= EARLIER else None
    difference = case.difference
    if past is None or difference is None:
        return case
    from scipy.special import stdtr, stdtrit

    def tails(value: float) -> tuple[float, float]:
        t = value / past.sd
        return float(stdtr(past.df, t)), float(stdtr(past.df, -t))

    return msgspec.structs.replace(
        case,
        basis="earlier checks",
        tail=lambda shift: tails(difference + shift),
        half=-float(stdtrit(past.df, 0.05)) * past.sd,
        limits=_limits(case.rule, case.fresh or 0.0, tails),
    )


def _normal(error: float) -> Callable[[float], tuple[float, float]]:
    from scipy.special import ndtr

    def tails(value: float) -> tuple[float, float]:
        if error == 0:
            return float(value >= 0), float(value <= 0)
        return float(ndtr(value / error)), float(ndtr(-value / error))

    return tails


def _limits(rule: MetricPolicy, fresh: float, tails: Callable[[float], tuple[float, float]]) -> tuple[_Limit, ...]:
    asked = (("minimum", rule.minimum, 1.0), ("maximum", rule.maximum, -1.0))
    return tuple(
        _Limit(word=word, bound=bound, distance=(distance := sign * (fresh - bound)), low=(t := tails(distance))[0],
               high=t[1])
        for word, bound, sign in asked
        if bound is not None
    )  # fmt: skip


# -- what comes of it ----------------------------------------------------------------------------


def _decided(case: _Case, adjusted: Sequence[float], policy: Policy, promoted: Promoted) -> MetricCheck:
    decision, reason = case.finding or _judged(case, adjusted, policy)
    rule = case.rule
    if not rule.gates:
        decision, reason = "reported", f"Reported only. {reason}"
    return MetricCheck(
        name=rule.name,
        goal=rule.goal,
        role=rule.role,
        decision=decision,
        reason=f"{case.note} {reason}".strip() if case.finding is None else reason,
        basis=case.basis,
        fresh=_value(case.fresh),
        reference=_value(case.reference),
        seeds=promoted.seeds.get(rule.name, ()),
        minimum=rule.minimum,
        maximum=rule.maximum,
        margin=None if case.margin is None else rounded(case.margin),
        n_fresh=None if case.sizes is None else case.sizes[0],
        n_reference=None if case.sizes is None else case.sizes[1],
        **_figures(case, adjusted),
    )


def _figures(case: _Case, adjusted: Sequence[float]) -> dict[str, float | None]:
    difference, margin = case.difference, case.margin
    if difference is None or not math.isfinite(difference):
        return {}
    found: dict[str, float | None] = {"difference": rounded(difference)}
    if case.tail is None:
        return found
    half = case.half or 0.0
    found |= {"lower": rounded(difference - half), "upper": rounded(difference + half)}
    found |= {"p_fail": rounded(case.tail(0.0)[0]), "adjusted": min(adjusted, default=None)}
    return {**found, "p_pass": None if margin is None else rounded(case.tail(margin)[1])}


def _judged(case: _Case, adjusted: Sequence[float], policy: Policy) -> tuple[Decision, str]:
    """Join the comparison and the limits: one that fails fails, one that is open leaves it open."""
    rest = list(adjusted)
    found: list[tuple[Decision, str]] = []
    if case.rule.compares and case.tail is not None:
        found.append(_against_promotion(case, rest.pop(0) if rest else 1.0, policy))
    found += [_against_limit(limit, rest.pop(0) if rest else 1.0, policy) for limit in case.limits]
    if not found:
        return "reported", "It has neither a margin nor a limit."
    worst = min(found, key=lambda one: ("fail", "undecided", "pass", "reported").index(one[0]))
    return worst[0], " ".join(reason for decision, reason in found if decision == worst[0])


def _against_promotion(case: _Case, adjusted: float, policy: Policy) -> tuple[Decision, str]:
    difference, margin, tail = case.difference, case.margin, case.tail
    assert difference is not None  # else there is no tail
    assert tail is not None
    if margin is None:
        return "undecided", "What it came to when the model was promoted is not known here."
    p_pass = tail(margin)[1]
    words = f"{difference:+.4g} against the promotion, margin {margin:.4g}"
    if adjusted <= policy.fail_level and -difference > margin:
        return "fail", f"It is worse on fresh data: {words}, p {adjusted:.2g}."
    if p_pass <= policy.pass_level:
        return "pass", f"A loss of the margin is ruled out: {words}, p {p_pass:.2g}."
    return "undecided", f"Neither worse nor a loss of the margin ruled out: {words}, p {adjusted:.2g} and {p_pass:.2g}."


def _against_limit(limit: _Limit, adjusted: float, policy: Policy) -> tuple[Decision, str]:
    words = f"{limit.word} {limit.bound:g}"
    if adjusted <= policy.fail_level and limit.distance < 0:
        return "fail", f"It is beyond the {words}, p {adjusted:.2g}."
    if limit.high <= policy.pass_level:
        return "pass", f"It keeps the {words}, p {limit.high:.2g}."
    return "undecided", f"Whether it keeps the {words} is not shown, p {adjusted:.2g} and {limit.high:.2g}."


def _value(value: float | None) -> Value:
    if value is None:
        return None
    word = metric_value(float(value))
    return word if isinstance(word, str) else rounded(float(word))
