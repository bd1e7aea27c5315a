"""Check a verdict against itself: what can be computed again is, and has to come to the same.

A verdict may come from a stranger's pull request. That it is consistent proves nothing about its numbers; that it
is not proves that it was made up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UnitrackError
from unitrack.gate import waivers
from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.example_metrics import METRICS
from unitrack.gate.examples import mcnemar
from unitrack.gate.keys import spent
from unitrack.gate.policy import policy_digest
from unitrack.gate.reasons import Finding
from unitrack.gate.rules import is_rule
from unitrack.gate.verdict import blocks_of, outcome_of
from unitrack.model import restore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unitrack.gate.decision import MetricDecision, SliceDecision, Value
    from unitrack.gate.policy import MetricPolicy
    from unitrack.gate.verdict import Subject, Verdict

__all__ = ["contradiction_in"]

# A reason may name what a verdict does not hold; a waiver comes after the decision. What examples told is checked
# by itself: predictions are not in a verdict, so their tests can't be made again from it (promotion does, from runs).
_NOT_COMPARED = {"reason", "waived", "noise", "examples", "slices"}
_TOLERANCE = 1e-8  # other builds of scipy differ in the last digits


def contradiction_in(verdict: Verdict) -> str | None:
    """Say where a verdict's parts don't fit together, or return None."""
    try:
        return next(_contradictions(verdict), None)
    except (UnitrackError, ValueError, ArithmeticError) as error:
        return f"its evidence can't be judged: {error}"


def _contradictions(verdict: Verdict) -> Iterator[str]:
    yield from _about_policy(verdict)
    yield from _about_runs(verdict)
    yield from _about_numbers(verdict)
    yield from _about_examples(verdict)
    yield from _about_waivers(verdict)
    if [one.name for one in verdict.requirements] != list(verdict.policy.require):
        yield "its requirements are not those of its policy"
    outcome = outcome_of(verdict.metrics, verdict.requirements)
    if outcome != verdict.outcome:
        yield f"it says {verdict.outcome}, its metrics don't"
    if not verdict.blocks and blocks_of(outcome, verdict.policy, baseline=verdict.baseline, seeds=verdict.seeds):
        yield "it says that it does not block, its policy says otherwise"


def _measured(verdict: Verdict) -> list[MetricDecision]:
    """Return the decisions about the policy's metrics; those of rules can't be made again without their plugins."""
    return [one for one in verdict.metrics if not is_rule(one)]


def _about_policy(verdict: Verdict) -> Iterator[str]:
    policy = verdict.policy
    if policy_digest(policy) != verdict.policy_sha256:
        yield "its policy has another SHA-256 than it says"
    if [(one.name, one.role, one.goal) for one in _measured(verdict)] != [
        (r.name, r.role, r.goal) for r in policy.metrics
    ]:
        yield "its metrics are not those of its policy"
    if not any(rule.gates for rule in policy.metrics):
        yield "its policy has no metric that could fail"
    if verdict.mode == "recorded" and "recorded" not in (policy.baseline, policy.broken_baseline):
        yield "it used recorded runs, its policy doesn't"
    if not (math.isfinite(verdict.created) and verdict.created >= 0):
        yield "it was made at no time"


def _about_runs(verdict: Verdict) -> Iterator[str]:
    seeds, planned = verdict.seeds, verdict.seeds_planned
    if not seeds or len(set(seeds)) != len(seeds):
        yield "its seeds are not there, each once"
    if planned is not None and planned < len(seeds):
        yield "it used more seeds than were planned"
    yield from _about_side("candidate", verdict.candidate, seeds, verdict)
    yield from _about_side("baseline", verdict.baseline, seeds, verdict)
    theirs = {one.run for one in verdict.baseline.runs}
    if verdict.candidate.commit != verdict.baseline.commit and theirs & {one.run for one in verdict.candidate.runs}:
        yield "a run is on both sides"
    if any({len(one.candidate), len(one.baseline)} != {len(seeds)} for one in _measured(verdict)):
        yield "its metrics have other seeds than it says"
    compared = len(verdict.baseline.runs) == len(seeds)
    if not compared and any(one.decision == "pass" for one in verdict.metrics):
        yield "a metric passes without a baseline"


def _about_side(side: str, subject: Subject, seeds: tuple[int, ...], verdict: Verdict) -> Iterator[str]:
    found = tuple(one.seed for one in subject.runs)
    if found != seeds[: len(found)] or (side == "candidate" and found != seeds):
        yield f"the {side}'s runs have other seeds than it says"
    if len({one.run for one in subject.runs}) != len(subject.runs):
        yield f"the {side} has one run for two seeds"
    if not subject.commit and (side == "candidate" or subject.runs):
        yield f"the {side} has no commit"
    if any((one.evaluation is None) != (verdict.evaluated_by is None) for one in subject.runs):
        yield f"it does not tell who measured the {side}"


def _about_numbers(verdict: Verdict) -> Iterator[str]:
    """Decide again from the values of the seeds, and compare all that comes of it."""
    evidence = [
        MetricEvidence(
            rule=rule,
            seeds=verdict.seeds,
            candidate=_values(one.candidate),
            baseline=_values(one.baseline),
            examples=one.examples,
            slices=one.slices,
            unfit=_unfit(one),
        )
        for rule, one in zip(verdict.policy.metrics, _measured(verdict), strict=True)
    ]
    again = decide(
        spent(verdict.policy, verdict.attempt),
        evidence,
        pairs_max=verdict.seeds_planned or len(verdict.seeds),
        noise={one.name: one.noise for one in _measured(verdict) if one.noise is not None},
        unlike_hardware=_unlike(verdict),
    )
    for said, found in zip(_measured(verdict), again, strict=True):
        field = _differing(said, found)
        if field is not None:
            yield f"{said.name}: its {field} does not come of its values"
        if not _alike(_bare(said.slices), _bare(found.slices)):
            yield f"{said.name}: what it says of slices does not come of their figures"


def _values(values: tuple[Value, ...]) -> tuple[float | None, ...]:
    return tuple(None if value is None else float(restore(value)) for value in values)


def _unlike(verdict: Verdict) -> str | None:
    changes = (change for change in verdict.lineage.changes if change.kind == "hardware")
    found = next((change for change in changes if None not in (change.baseline, change.candidate)), None)
    if found is not None:
        return f"{found.name} {found.candidate} against {found.baseline}"
    said = any(one.cause == "unlike_hardware" for one in verdict.metrics)
    return "they differ" if said else None


def _differing(said: MetricDecision, found: MetricDecision) -> str | None:
    """Return the first field that differs."""
    return next(
        (
            name
            for name in said.__struct_fields__
            if name not in _NOT_COMPARED and not _alike(getattr(said, name), getattr(found, name))
        ),
        None,
    )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, msgspec.Struct) and isinstance(other, msgspec.Struct):
        one, other = msgspec.structs.astuple(one), msgspec.structs.astuple(other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-300)
    return bool(one == other)


def _unfit(said: MetricDecision) -> Finding | None:
    """Return why examples could not be compared: it can only be taken as said, and never lets anything pass."""
    if said.cause != "examples":
        return None
    failed = said.decision == "fail"
    return Finding(decision="fail" if failed else "undecided", cause="examples", reason=said.reason)


def _bare(slices: tuple[SliceDecision, ...]) -> tuple[SliceDecision, ...]:
    return tuple(msgspec.structs.replace(one, reason="") for one in slices)


def _about_examples(verdict: Verdict) -> Iterator[str]:
    """Check that a test of examples, and each slice, fits the rest: that it is there, and its sums."""
    for rule, one in zip(verdict.policy.metrics, _measured(verdict), strict=True):
        if rule.examples is None:
            if one.examples is not None or one.slices:
                yield f"{one.name}: it tells of examples, its policy asks for none"
        elif one.cause != "examples" and one.differences:
            yield from _about_predictions(rule, one)


def _about_predictions(rule: MetricPolicy, one: MetricDecision) -> Iterator[str]:
    test, sign = one.examples, 1.0 if rule.goal == "maximize" else -1.0
    if test is None:
        yield f"{one.name}: the test of its examples is not there"
        return
    if not (test.lower <= test.mean <= test.upper and 0 <= test.p_fail <= 1 and test.n > 0):
        yield f"{one.name}: the test of its examples is none"
    if one.mean is None or not _near(test.mean, one.mean, one.candidate_mean, one.baseline_mean):
        yield f"{one.name}: the test of its examples is of another difference"
    if len(one.differences) == 1 and None not in (test.lost, test.won) and test.p_fail < 1:
        p = mcnemar(test.lost or 0, test.won or 0)
        if not math.isclose(p, test.p_fail, rel_tol=_TOLERANCE):
            yield f"{one.name}: its p does not come of the examples won and lost"
    names = [(each.column, each.value) for each in one.slices]
    if len(set(names)) != len(names) or {column for column, _ in names} - set(rule.slices):
        yield f"{one.name}: its slices are not those of its policy, each once"
    if (
        rule.gates
        and rule.slices_gate
        and {each.column for each in one.slices if each.p_fail is not None} != set(rule.slices)
    ):
        yield f"{one.name}: a column that decides has no slice with figures"
    for each in one.slices:
        if not _adds_up(rule, each, sign):
            yield f"{one.name}: the figures of slice {each.column!r:.60} = {each.value!r:.60} don't fit together"


def _adds_up(rule: MetricPolicy, one: SliceDecision, sign: float) -> bool:
    figures = (one.candidate_mean, one.baseline_mean, one.mean, one.lower, one.upper, one.p_fail)
    if one.p_fail is None:
        may_lack = rule.examples is not None and METRICS[rule.examples].of == "positives"
        return not any(figure is not None for figure in figures) and (may_lack or one.size < rule.smallest_slice)
    if any(figure is None for figure in figures) or one.size < rule.smallest_slice:
        return False
    mean, lower, upper = one.mean or 0.0, one.lower or 0.0, one.upper or 0.0
    difference = sign * ((one.candidate_mean or 0.0) - (one.baseline_mean or 0.0))
    return (
        lower <= mean <= upper
        and 0 <= one.p_fail <= 1
        and _near(mean, difference, one.candidate_mean, one.baseline_mean)
    )


def _near(one: float, other: float, *sides: float | None) -> bool:
    """Compare two differences; each side was rounded to ten digits."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-8 * max(abs(side or 0.0) for side in sides))


def _about_waivers(verdict: Verdict) -> Iterator[str]:
    wrong = waivers.contradiction(verdict.metrics, verdict.waivers)
    if wrong is not None:
        yield wrong
    for waiver in verdict.waivers:
        if not waiver.created - 300 <= verdict.created < waiver.expires:  # two machines' clocks may differ
            yield f"its waiver {waiver.id} did not hold when it was made"
