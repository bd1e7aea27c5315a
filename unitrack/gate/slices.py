"""Judge slices by their figures. Pure, so that it can be done again from a verdict.

A slice that gates fails its metric when it is worse and its mean loss beyond the metric's margin: by Holm's
procedure over all gating slices of the gate, with error rates spent over the looks. It stays open when it looks
that way and is not shown to be. Slices are not asked to be shown harmless: a few hundred examples seldom could,
so a slice passes without a sign of loss, and its reason says what is not ruled out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from unitrack.gate.decision import Decision, SliceDecision
from unitrack.gate.statistics import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.looks import Rates
    from unitrack.gate.policy import MetricPolicy

__all__ = ["SUSPECT", "SliceCase", "judge_slices", "slices_gate"]

SUSPECT: Final = 0.10
"""The false discovery rate at which slices look worse (Benjamini and Hochberg over a metric's slices)."""

_Slices = tuple[SliceDecision, ...]


class SliceCase(msgspec.Struct, frozen=True, kw_only=True):
    """The slices of one metric with their figures, and what the metric may lose."""

    rule: MetricPolicy
    margin: float | None
    slices: _Slices


def slices_gate(rule: MetricPolicy) -> bool:
    """Tell whether slices can fail a metric."""
    return rule.gates and rule.slices_gate


def judge_slices(cases: Sequence[SliceCase], rates: Rates, n: int) -> list[_Slices]:
    """Judge the slices of all metrics together after `n` pairs; `rates.fail_level` is what they may err by."""
    levels = _levels(cases, rates, n)
    found = []
    for at, case in enumerate(cases):
        adjusted = _adjusted(case.slices)
        judged = (
            _judged(case, one, fair, levels.get((at, place)))
            for place, (one, fair) in enumerate(zip(case.slices, adjusted, strict=True))
        )
        found.append(tuple(judged))
    return found


def _adjusted(slices: _Slices) -> list[float | None]:
    fair = iter(benjamini_hochberg([one.p_fail for one in slices if one.p_fail is not None]))
    return [None if one.p_fail is None else next(fair) for one in slices]


def _levels(cases: Sequence[SliceCase], rates: Rates, n: int) -> dict[tuple[int, int], float]:
    """Return for each gating slice that has figures the level that its p has to reach: Holm, step by step."""
    if n < 2:
        return {}
    tests = sorted(
        (one.p_fail, at, place)
        for at, case in enumerate(cases)
        if slices_gate(case.rule)
        for place, one in enumerate(case.slices)
        if one.p_fail is not None
    )
    found, stopped, level = {}, False, 0.0
    for rank, (p, at, place) in enumerate(tests):
        if not stopped:
            level = rates.failing(n, rates.fail_level / (len(tests) - rank))
            stopped = p > level
        found[at, place] = level
    return found


def _judged(case: SliceCase, one: SliceDecision, adjusted: float | None, level: float | None) -> SliceDecision:
    if one.p_fail is None or one.mean is None or adjusted is None:
        words = f"Too small to tell: {_least(case.rule)} are needed."
        return msgspec.structs.replace(one, decision="reported", reason=words)
    if slices_gate(case.rule):
        decision, words = _gating(case, one, adjusted, level)
    else:
        decision, words = "reported", _shown(one, adjusted)
    return msgspec.structs.replace(one, decision=decision, reason=words, adjusted=adjusted)


def _gating(case: SliceCase, one: SliceDecision, adjusted: float, level: float | None) -> tuple[Decision, str]:
    p, mean, margin = one.p_fail or 0.0, one.mean or 0.0, case.margin or 0.0
    if _equal(one):
        return "pass", "Both sides gave the same answers."
    if level is None:
        return "undecided", "One seed shows no noise: run at least two, better five."
    tested, beyond = f"(p = {p:.2g}, needed {level:.2g})", mean < -margin
    if p <= level and beyond:
        return "fail", f"The mean difference is {mean:+.6g}: worse {tested} and beyond the margin {margin:.6g}."
    if beyond and adjusted <= SUSPECT:
        words = f"The mean difference is {mean:+.6g}, beyond the margin {margin:.6g}, and looks worse; it is not shown"
        return "undecided", f"{words} {tested}: more seeds or more examples would."
    if p <= level:
        return "pass", f"The mean difference is {mean:+.6g}: worse {tested}, but by less than the margin."
    return "pass", f"No loss beyond the margin is shown {tested}.{_ruled_out(one)}"


def _shown(one: SliceDecision, adjusted: float) -> str:
    if _equal(one):
        return "Both sides gave the same answers."
    word = "It looks worse" if adjusted <= SUSPECT else "There is no sign of a loss"
    return f"{word} (adjusted p = {adjusted:.2g}).{_ruled_out(one)}"


def _ruled_out(one: SliceDecision) -> str:
    return f" A loss of {-one.lower:.3g} is not ruled out." if one.lower is not None and one.lower < 0 else ""


def _equal(one: SliceDecision) -> bool:
    return one.p_fail == 1.0 and one.mean == one.lower == one.upper == 0.0


def _least(rule: MetricPolicy) -> str:
    from unitrack.gate.example_metrics import METRICS

    words = f"{rule.smallest_slice:,} examples"
    of_class = rule.examples is not None and METRICS[rule.examples].of == "positives"
    return f"{words}, {rule.smallest_positives:,} of them positive," if of_class else words
