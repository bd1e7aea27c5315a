"""Decide each metric from its evidence, and the gate from its metrics. Pure and deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import ConfigError
from unitrack.gate.decision import Decision, ExampleTest, MetricDecision, Noise, Outcome, SliceDecision, Value
from unitrack.gate.looks import Bound, Family, Rates, Series, Track, follow
from unitrack.gate.policy import Margin, MetricPolicy, Policy, margin_of
from unitrack.gate.reasons import Finding, detectable_of, gap_of, judged, needed_of, new_of, of_slices, reported_of
from unitrack.gate.slices import SliceCase, judge_slices, slices_gate
from unitrack.gate.statistics import correlation_of, is_fine, mean_of, resolution, rounded
from unitrack.model import metric_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["INTERVAL_LEVEL", "MetricEvidence", "decide", "overall", "settled"]

INTERVAL_LEVEL = 0.05
"""What `lower` and `upper` each leave out: together they are a two-sided 90 % interval."""

_MORE_SEEDS_HELP = {"noise", "one_seed"}


class MetricEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured for one metric: a value for each seed on both sides, None where it was not logged.

    Seeds are in the order in which they were trained. `examples` and `slices` are what the logged predictions
    of these seeds tell; slices have their figures, and are judged here. `unfit` says why predictions of both sides
    can't be compared, `notes` why a side has no value.
    """

    rule: MetricPolicy
    seeds: tuple[int, ...]
    candidate: tuple[float | None, ...]
    baseline: tuple[float | None, ...]
    examples: ExampleTest | None = None
    slices: tuple[SliceDecision, ...] = ()
    unfit: Finding | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"{self.rule.name}: seeds must be given, each once: {self.seeds}")
        if not len(self.seeds) == len(self.candidate) == len(self.baseline):
            raise ValueError(f"{self.rule.name}: each seed needs one value of each side")


def decide(
    policy: Policy,
    evidence: Sequence[MetricEvidence],
    *,
    pairs_max: int | None = None,
    noise: Mapping[str, Noise] = {},
    unlike_hardware: str | None = None,
) -> tuple[MetricDecision, ...]:
    """Decide every metric of a gate together, from all pairs so far of at most `pairs_max`.

    Call it after each pair with the same policy, `pairs_max` and `noise` (what earlier gates know, by metric): error
    rates are spent over the looks, which are gone through again each time. With `unlike_hardware` (how the machines
    of a pair differ) no metric passes.
    """
    n_max = max([pairs_max or 1, *(len(one.seeds) for one in evidence)])
    share = _share_of_slices(policy)
    rates = Rates(n_max=n_max, pass_level=policy.pass_level, fail_level=policy.fail_level * (1 - share))
    compared = _compared(evidence)
    cases = [_case(one, noise.get(one.rule.name), n_max, compared=compared) for one in evidence]
    cases = _with_slices(cases, msgspec.structs.replace(rates, fail_level=policy.fail_level * share))
    series = [msgspec.structs.replace(each, metric=at) for at, case in enumerate(cases) for each in case.series]
    tracks = follow(series, rates, whole=all(case.finding is None for case in cases))
    by_metric: list[list[Track]] = [[] for _ in cases]
    for track in tracks:
        by_metric[track.series.metric].append(track)
    return tuple(_decided(case, found, rates, unlike_hardware) for case, found in zip(cases, by_metric, strict=True))


def settled(decisions: Sequence[MetricDecision]) -> bool:
    """Tell whether no further pair is needed: nothing that gates is still open.

    A metric that failed does not end it: a waiver may let that one through, and the others have to hold then, too.
    """
    return not any(
        one.cause in _MORE_SEEDS_HELP or (one.cause == "slice" and one.decision == "undecided")
        for one in decisions
        if one.role != "report"
    )


def overall(decisions: Sequence[MetricDecision]) -> Outcome:
    """Join the decisions: one fail that is not waived fails, else one undecided leaves it open, else it passes.

    Raises ConfigError when no metric could have failed it.
    """
    gating = [one for one in decisions if one.role != "report"]
    if not gating:
        raise ConfigError("no metric can fail a candidate: give one a role other than report")
    found = {"pass" if one.decision == "fail" and one.waived is not None else one.decision for one in gating}
    if "fail" in found:
        return "fail"
    return "pass" if found - {"reported"} == {"pass"} else "undecided"


def _share_of_slices(policy: Policy) -> float:
    """Return the share of the rate for false fails that slices get: as much as targets, or guardrails, get."""
    families = {_family(rule) for rule in policy.metrics} - {None}
    return 1 / (len(families) + 1) if any(map(slices_gate, policy.metrics)) else 0.0


def _with_slices(cases: Sequence[_Case], rates: Rates) -> list[_Case]:
    """Return the cases with their slices judged, all of the gate together."""
    asked = [
        SliceCase(
            rule=case.evidence.rule,
            margin=case.margin.value if case.margin else None,
            slices=case.evidence.slices,
        )
        for case in cases
    ]
    found = judge_slices(asked, rates, max((len(case.evidence.seeds) for case in cases), default=0))
    return [
        msgspec.structs.replace(case, evidence=msgspec.structs.replace(case.evidence, slices=slices))
        for case, slices in zip(cases, found, strict=True)
    ]


# -- from evidence to series ---------------------------------------------------------------------


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """One metric made ready: why it can't be judged, or the series to follow, the one against the baseline first."""

    evidence: MetricEvidence
    finding: Finding | None = None
    differences: tuple[float, ...] = ()
    margin: Margin | None = None
    noise: Noise | None = None
    series: tuple[Series, ...] = ()


def _compared(evidence: Sequence[MetricEvidence]) -> bool:
    """Tell whether the baseline was trained with every seed: then it logged something of what was asked."""
    sides = [one.baseline for one in evidence]
    return all(any(value is not None for value in values) for values in zip(*sides, strict=True))


def _case(evidence: MetricEvidence, noise: Noise | None, n_max: int, *, compared: bool) -> _Case:
    rule, candidate, baseline = evidence.rule, evidence.candidate, evidence.baseline
    alone = compared and not any(value is not None for value in baseline)
    own = gap_of(rule, evidence.seeds, candidate, candidate if alone else baseline)
    if alone and own is None and (rule.compares or rule.minimum is rule.maximum is None):
        own = new_of(rule)
    own = evidence.unfit if own is None else own
    if own is not None:
        noted = msgspec.structs.replace(own, reason=" ".join([own.reason, *evidence.notes]))
        return _Case(evidence=evidence, finding=noted)
    ours, theirs = _numbers(candidate), _numbers(baseline)
    made = [] if alone else [_against_baseline(rule, ours, theirs, noise, n_max)]
    equal = made[0].equal if made else 0
    limits = [_within(rule, bound, ours, equal=equal) for bound in _bounds(rule)]
    margin = None if alone else margin_of(rule, mean_of(theirs), noise=noise, pairs=n_max)
    return _Case(
        evidence=evidence,
        differences=made[0].differences if made else (),
        margin=margin,
        noise=noise if margin is not None else None,
        series=(*made, *limits),
    )


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def _against_baseline(
    rule: MetricPolicy, ours: tuple[float, ...], theirs: tuple[float, ...], noise: Noise | None, n_max: int
) -> Series:
    sign = 1.0 if rule.goal == "maximize" else -1.0
    differences = tuple(sign * (c - b) + 0.0 for c, b in zip(ours, theirs, strict=True))  # no -0.0
    margins = [margin_of(rule, mean_of(theirs[:n]), noise=noise, pairs=n_max) for n in range(1, len(theirs) + 1)]
    return Series(
        metric=0,
        differences=differences,
        margins=tuple(None if margin is None else margin.value for margin in margins),
        family=None if not rule.compares else _family(rule),
        budget=rule.role == "budget",
        noise=noise,
        equal=_leading(differences, 0.0),
        steady=min(_leading(ours, ours[0]), _leading(theirs, theirs[0])),
        blur=(blur := resolution([*ours, *theirs])),
        fine=_constant(differences, blur) and any(map(is_fine, (*ours[:2], *theirs[:2]))),
    )


def _within(rule: MetricPolicy, bound: Bound, ours: tuple[float, ...], *, equal: int) -> Series:
    return Series(
        metric=0,
        differences=tuple(bound.sign * (value - bound.value) + 0.0 for value in ours),
        margins=(0.0,) * len(ours),
        family=_family(rule),
        budget=rule.role == "budget",
        bound=bound,
        equal=equal,
        steady=_leading(ours, ours[0]),
        blur=(blur := resolution([*ours, bound.value])),
        fine=_constant(ours, blur) and is_fine(ours[0]),
    )


def _bounds(rule: MetricPolicy) -> list[Bound]:
    low = [] if rule.minimum is None else [Bound(word="minimum", value=rule.minimum)]
    return low if rule.maximum is None else [*low, Bound(word="maximum", value=rule.maximum)]


def _family(rule: MetricPolicy) -> Family | None:
    if not rule.gates:
        return None
    return "target" if rule.role == "target" else "guardrail"


def _constant(values: Sequence[float], blur: float) -> bool:
    return len(values) > 1 and abs(values[0] - values[1]) <= blur


def _leading(values: Sequence[float], wanted: float) -> int:
    """Count the values from the first on that are the wanted one."""
    return next((at for at, value in enumerate(values) if value != wanted), len(values))


# -- from tracks to decisions --------------------------------------------------------------------


def _decided(case: _Case, tracks: Sequence[Track], rates: Rates, unlike: str | None) -> MetricDecision:
    evidence = case.evidence
    if case.finding is not None:
        return _build(case, of_slices(case.finding, evidence.slices))
    gating = [track for track in tracks if track.series.family is not None]
    finding = judged(gating, rates) if gating else reported_of(tracks[0].series)
    finding = of_slices(finding, evidence.slices)
    if unlike is not None and finding.decision == "pass":
        finding = Finding(
            decision="undecided",
            cause="unlike_hardware",
            reason=f"{finding.reason} But candidate and baseline ran on unlike hardware ({unlike}): "
            "run both on the same machine.",
        )
    return _build(case, finding, tracks=tracks, rates=rates)


def _figures(case: _Case, tracks: Sequence[Track], rates: Rates) -> dict[str, object]:
    """Return the fields that tell what was measured: differences by all pairs, tests by the series that decides."""
    evidence = case.evidence
    ours, theirs = _numbers(evidence.candidate), _numbers(evidence.baseline)
    main = next((track for track in tracks if track.series.family is not None), tracks[0])
    n, decided = len(ours), [track.decided_at for track in tracks if track.decided_at is not None]
    used = main.spent(rates, n) if main.series.family is not None else (None, None)
    found: dict[str, object] = {"candidate_mean": rounded(mean_of(ours)), "looks": tuple(main.looks)}
    if case.differences:
        found |= {
            "baseline_mean": rounded(mean_of(theirs)),
            "mean": rounded(mean_of(case.differences)),
            "correlation": correlation_of(ours, theirs),
        }
    against = tracks[0].test if tracks[0].series.bound is None else None
    if against is not None:
        half = against.half_width(INTERVAL_LEVEL)
        found |= {"lower": rounded(against.mean - half), "upper": rounded(against.mean + half)}
    if main.test is not None:
        found |= {"p_pass": main.test.p_pass, "p_fail": main.test.p_fail}
        found |= {"detectable": detectable_of(main, rates), "seeds_needed": needed_of(main, rates)}
    return {**found, "spent_pass": used[0], "spent_fail": used[1], "decided_at": max(decided, default=None)}


def _build(
    case: _Case, finding: Finding, *, tracks: Sequence[Track] = (), rates: Rates | None = None
) -> MetricDecision:
    evidence, rule = case.evidence, case.evidence.rule
    decision: Decision = finding.decision if rule.gates else "reported"
    figures = _figures(case, tracks, rates) if tracks and rates is not None else {}
    if decision not in ("pass", "fail"):
        figures.pop("decided_at", None)
    limit = case.margin.value if case.margin else rule.margin if isinstance(rule.margin, float) else None
    return MetricDecision(
        name=rule.name,
        goal=rule.goal,
        role=rule.role,
        decision=decision,
        cause=finding.cause,
        reason=finding.reason if rule.gates else f"Reported only. {finding.reason}",
        candidate=tuple(map(_value, evidence.candidate)),
        baseline=tuple(map(_value, evidence.baseline)),
        differences=tuple(map(_value, case.differences)),
        margin=None if limit is None else rounded(limit),
        margin_reason=case.margin.reason if case.margin else None,
        minimum=rule.minimum,
        maximum=rule.maximum,
        noise=case.noise,
        examples=evidence.examples,
        slices=evidence.slices,
        **figures,  # type: ignore[arg-type]  # the names and types of _figures
    )


def _value(value: float | None) -> Value:
    if value is None:
        return None
    word = metric_value(float(value))
    return word if isinstance(word, str) else float(word)
