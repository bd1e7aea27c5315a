"""Decide each metric from its evidence, and the gate from its metrics. Pure and deterministic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import ConfigError
from unitrack.gate.decision import Cause, Decision, MetricDecision, Outcome, Value
from unitrack.gate.policy import MetricPolicy, Policy, margin_of
from unitrack.gate.statistics import (
    PairedTest,
    detectable_drop,
    mean_of,
    paired_test,
    resolution,
    seeds_needed,
)
from unitrack.model import metric_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.gate.decision import Noise

__all__ = ["MetricEvidence", "decide", "overall", "settled"]

_LARGEST = 1e100  # beyond it squares overflow; no metric means such a number


class MetricEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured for one metric: a value for each seed on both sides, None where it was not logged."""

    rule: MetricPolicy
    seeds: tuple[int, ...]
    candidate: tuple[float | None, ...]
    baseline: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"{self.rule.name}: seeds must be given, each once: {self.seeds}")
        if not len(self.seeds) == len(self.candidate) == len(self.baseline):
            raise ValueError(f"{self.rule.name}: each seed needs one value of each side")


class _Finding(msgspec.Struct, frozen=True, kw_only=True):
    decision: Decision
    cause: Cause
    reason: str


def decide(
    policy: Policy,
    evidence: Sequence[MetricEvidence],
    *,
    pairs_max: int | None = None,
    noise: Mapping[str, Noise] = {},
    unlike_hardware: str | None = None,
) -> tuple[MetricDecision, ...]:
    """Decide every metric of a gate together: what corrects for their number belongs here.

    With `unlike_hardware` (how the machines of a pair differ) no metric passes.
    """
    return tuple(_decide_one(policy, one, unlike_hardware) for one in evidence)


def settled(decisions: Sequence[MetricDecision]) -> bool:
    """Tell whether no further pair is needed: nothing that gates is still open."""
    return all(one.cause not in ("noise", "one_seed") for one in decisions if one.role != "report")


def overall(decisions: Sequence[MetricDecision]) -> Outcome:
    """Join the decisions: one fail fails, else one undecided leaves it open, else it passes.

    Raises ConfigError when no metric could have failed it.
    """
    found = {one.decision for one in decisions if one.role != "report"}
    if not found:
        raise ConfigError("no metric can fail a candidate: give one a role other than report")
    if "fail" in found:
        return "fail"
    return "pass" if found == {"pass"} else "undecided"


def _decide_one(policy: Policy, evidence: MetricEvidence, unlike: str | None) -> MetricDecision:
    lacking = _lacking(evidence)
    if lacking is not None:
        return _build(evidence, lacking)
    candidate, baseline = _present(evidence.candidate), _present(evidence.baseline)
    sign = 1.0 if evidence.rule.goal == "maximize" else -1.0
    differences = [sign * (c - b) + 0.0 for c, b in zip(candidate, baseline, strict=True)]  # no -0.0
    margin = margin_of(evidence.rule, mean_of(baseline))
    blur = resolution([*candidate, *baseline])
    test = _test(differences, margin, policy.pass_level, blur)
    finding = _finding(policy, differences, margin, test, blur)
    if unlike is not None and finding.decision == "pass":
        finding = _Finding(
            decision="undecided",
            cause="unlike_hardware",
            reason=f"{finding.reason} But candidate and baseline ran on unlike hardware ({unlike}): "
            "run both on the same machine.",
        )
    figures = _figures(
        policy, candidate=candidate, baseline=baseline, differences=differences, margin=margin, test=test
    )
    return _build(evidence, finding, differences=tuple(differences), margin=margin, **figures)


def _present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _lacking(evidence: MetricEvidence) -> _Finding | None:
    """Say why there is nothing to compare; the candidate answers for its gaps whatever the baseline has."""
    seeds = evidence.seeds
    for side, values in (("candidate", evidence.candidate), ("baseline", evidence.baseline)):
        missing = [seed for seed, value in zip(seeds, values, strict=True) if value is None]
        if missing:
            return _gap(side, "missing", f"did not log it for {_seed_list(missing)}", evidence)
        bad = [seed for seed, value in zip(seeds, _present(values), strict=True) if not _usable(value)]
        if bad:
            return _gap(side, "not_finite", f"has no finite value for {_seed_list(bad)}", evidence)
    return None


def _usable(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= _LARGEST


def _gap(side: str, kind: str, what: str, evidence: MetricEvidence) -> _Finding:
    cause: Cause = f"{side}_{kind}"  # type: ignore[assignment]  # the four words of Cause
    if side == "candidate":
        both = kind == "missing" and all(value is None for value in evidence.baseline)
        hint = " The baseline did not log it either: is the name right?" if both else ""
        return _Finding(decision="fail", cause=cause, reason=f"The candidate {what}.{hint}")
    remedy = "name a baseline that logs it" if kind == "missing" else "name a baseline that trains well"
    return _Finding(
        decision="undecided",
        cause=cause,
        reason=f"The baseline {what}: there is nothing to compare with; {remedy}.",
    )


def _seed_list(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def _test(differences: list[float], margin: float | None, level: float, blur: float) -> PairedTest | None:
    """Test the differences, unless they are one or the same but for rounding: no variance, no p-value."""
    if len(differences) < 2 or max(differences) - min(differences) <= blur:
        return None
    return paired_test(differences, margin=margin, level=level)


def _finding(
    policy: Policy, differences: list[float], margin: float | None, test: PairedTest | None, blur: float
) -> _Finding:
    if not any(differences):
        return _Finding(decision="pass", cause="equal", reason="Candidate and baseline are equal in every seed.")
    if margin is None:  # only of reported metrics, whose decision `_build` leaves out
        mean = f"The mean difference is {mean_of(differences):+.6g}; it has no margin."
        return _Finding(decision="undecided", cause="no_margin", reason=mean)
    if test is not None:
        return _tested(policy, test, margin)
    if len(differences) < 2:
        return _Finding(
            decision="undecided",
            cause="one_seed",
            reason="One seed shows no noise: run at least two, better five.",
        )
    return _constant(mean_of(differences), margin, blur)


def _constant(mean: float, margin: float, blur: float) -> _Finding:
    """Judge a training without noise by the margin alone; a drop of just the margin is still allowed."""
    text = f"Every seed differs by {mean:+.6g}: there is no noise to test, and"
    if mean >= -margin - blur:
        return _Finding(
            decision="pass", cause="within_margin", reason=f"{text} that is within the margin {margin:.6g}."
        )
    return _Finding(
        decision="fail",
        cause="beyond_margin",
        reason=f"{text} that is a loss beyond the margin {margin:.6g}.",
    )


def _tested(policy: Policy, test: PairedTest, margin: float) -> _Finding:
    mean = f"The mean difference is {test.mean:+.6g}"
    if test.lower > -margin:
        note = "" if test.p_fail > policy.fail_level else " It is worse, but by less than the margin."
        return _Finding(
            decision="pass",
            cause="within_margin",
            reason=f"{mean}, at worst {test.lower:+.6g}: a loss of {margin:.6g} or more is ruled out.{note}",
        )
    if test.p_fail <= policy.fail_level and test.mean < -margin:
        return _Finding(
            decision="fail",
            cause="beyond_margin",
            reason=f"{mean}: worse (p = {test.p_fail:.2g}) and beyond the margin {margin:.6g}.",
        )
    return _Finding(decision="undecided", cause="noise", reason=f"{mean}. {_noise_words(policy, test, margin)}")


def _noise_words(policy: Policy, test: PairedTest, margin: float) -> str:
    drop = detectable_drop(test.sd, test.n, level=policy.fail_level)
    needed = seeds_needed(test.sd, margin, level=policy.pass_level)
    more = (
        f"about {needed} seeds would let an unchanged candidate pass"
        if needed is not None and needed > test.n
        else "more seeds would settle it"
        if needed is not None
        else "no reasonable number of seeds would: widen the margin or make training less noisy"
    )
    return (
        f"Neither a loss within the margin {margin:.6g} nor one beyond it is shown: {test.n} seeds "
        f"detect a drop of {drop:.3g} ({policy.fail_level:.0%} one-sided, 80% power); {more}."
    )


def _figures(
    policy: Policy,
    *,
    candidate: list[float],
    baseline: list[float],
    differences: list[float],
    margin: float | None,
    test: PairedTest | None,
) -> dict[str, float | None]:
    means = {
        "candidate_mean": _rounded(mean_of(candidate)),
        "baseline_mean": _rounded(mean_of(baseline)),
        "mean": _rounded(mean_of(differences)),
    }
    if test is None:
        return {**means}
    return {
        **means,
        "lower": _rounded(test.lower),
        "upper": _rounded(test.upper),
        "p_pass": None if test.p_pass is None else _rounded(test.p_pass),
        "p_fail": _rounded(test.p_fail),
        "detectable": _rounded(detectable_drop(test.sd, test.n, level=policy.fail_level)),
        "seeds_needed": None if margin is None else seeds_needed(test.sd, margin, level=policy.pass_level),
    }


def _rounded(value: float) -> float:
    # Ten digits: the last ones differ between builds of scipy, and verdicts are compared byte by byte.
    return float(f"{value:.10g}")


def _build(
    evidence: MetricEvidence,
    finding: _Finding,
    *,
    differences: tuple[float, ...] = (),
    margin: float | None = None,
    **figures: float | None,
) -> MetricDecision:
    rule = evidence.rule
    limit = rule.margin if margin is None and rule.relative_margin is None else margin
    return MetricDecision(
        name=rule.name,
        goal=rule.goal,
        role=rule.role,
        decision=finding.decision if rule.gates else "reported",
        cause=finding.cause,
        reason=finding.reason if rule.gates else f"Reported only. {finding.reason}",
        candidate=tuple(map(_value, evidence.candidate)),
        baseline=tuple(map(_value, evidence.baseline)),
        differences=tuple(map(_value, differences)),
        margin=None if limit is None else _rounded(limit),
        **figures,  # type: ignore[arg-type]  # the names and types of _figures
    )


def _value(value: float | None) -> Value:
    if value is None:
        return None
    word = metric_value(float(value))
    return word if isinstance(word, str) else float(word)
