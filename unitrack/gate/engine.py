"""Run a gate: train pair after pair, decide after each, stop when nothing is open, and put the verdict together."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import msgspec

from unitrack.errors import EvidenceError, UsageError
from unitrack.gate.curves import curves_of
from unitrack.gate.decide import decide, settled
from unitrack.gate.decision import MetricDecision, Noise
from unitrack.gate.evidence import gather
from unitrack.gate.flags import test_data_flags
from unitrack.gate.keys import spent
from unitrack.gate.lineage import Facts, Side, compare, facts_of, hardware_difference, test_data_of
from unitrack.gate.policy import Policy, policy_digest
from unitrack.gate.predictions import Examples
from unitrack.gate.statistics import require_scipy
from unitrack.gate.verdict import (
    Cost,
    Flag,
    Requirement,
    SeedRun,
    Subject,
    TestSetUse,
    Tier,
    Verdict,
    Waiver,
    blocks_of,
    outcome_of,
    summary_of,
)
from unitrack.rerun.job import JobResult
from unitrack.rerun.scheduler import NO_LIMIT, Asked, Budget, BudgetSpentError, Runner, Watch, side_by_side

if TYPE_CHECKING:
    from unitrack.reader import RunView

__all__ = [
    "FAILED_BEFORE",
    "Contender",
    "Course",
    "Pair",
    "Plan",
    "SideName",
    "Surroundings",
    "conclude",
    "in_turns",
    "pursue",
    "reproduce",
]

FAILED_BEFORE = "an earlier attempt at the same question failed: being undecided now does not undo that, so it blocks"

SideName = Literal["candidate", "baseline"]
Measure = Callable[[str, int], "RunView"]
Views = dict[int, "RunView"]


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a gate: a commit, how the user named it, and its model version if it is one."""

    commit: str
    reference: str
    model: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is settled before the first training.

    `recorded` are the baseline's runs if it is not trained again; `missing` says why there is no baseline.
    `seeds` are those that may be used. `arguments` are further ones of the reproducing command.
    """

    policy: Policy
    policy_source: str
    candidate: Contender
    baseline: Contender
    seeds: tuple[int, ...]
    mode: Literal["rerun", "recorded"] = "rerun"
    recorded: Mapping[int, JobResult] = {}
    missing: str | None = None
    attempt: int = 1
    noise: Mapping[str, Noise] = {}
    place: str = ""
    arguments: tuple[str, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides trained with one seed; `baseline` is None where there is none, and not `ok` if it no longer trains."""

    seed: int
    candidate: JobResult
    baseline: JobResult | None = None


def in_turns(plan: Plan, runner: Runner, watch: Watch, *, limit: int = 1, budget: Budget = NO_LIMIT) -> Generator[Pair]:
    """Train and yield pair after pair, the sides in turns, so that what drifts over time strikes both alike.

    At most `limit` jobs run at a time; the pairs are the same whatever it is, and come in the order of the seeds.
    """
    both = plan.mode == "rerun" and plan.missing is None
    sides = [("candidate", plan.candidate.commit), ("baseline", plan.baseline.commit)][: 1 + both]
    asked = [Asked(side=side, commit=commit, seed=seed) for seed in plan.seeds for side, commit in sides]
    with closing(side_by_side(runner, asked, watch, limit=limit, budget=budget)) as results:
        for seed in plan.seeds:
            candidate = next(results)
            baseline = next(results) if both and candidate.ok else plan.recorded.get(seed)
            yield Pair(seed=seed, candidate=candidate, baseline=baseline)


class Course(msgspec.Struct, kw_only=True):
    """What a gate has come to: the pairs used, their runs, the decisions after the last one, what to warn of.

    `stopped` says why it ended although something is open and pairs are left.
    """

    pairs: list[Pair] = []
    candidate: dict[int, Any] = {}
    baseline: dict[int, Any] = {}
    measured: dict[SideName, dict[int, Any]] = msgspec.field(default_factory=lambda: {"candidate": {}, "baseline": {}})
    sides: tuple[Side, Side] = (Side(commit="", facts=()), Side(commit="", facts=()))
    decisions: tuple[MetricDecision, ...] = ()
    warnings: list[str] = []
    stopped: str | None = None
    examples: Examples = msgspec.field(default_factory=Examples)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were trained."""
        return tuple(pair.seed for pair in self.pairs)


def pursue(
    plan: Plan,
    pairs: Iterable[Pair],
    *,
    open_run: Callable[[str], RunView],
    measure: Measure | None = None,
    judged: Callable[[Course], None] | None = None,
) -> Course:
    """Take pairs, in the order of the plan's seeds, until nothing is open or the budget is spent.

    `measure` returns the run of a trusted evaluation of a training's run, `judged` is told after each pair. Raises
    EvidenceError where the candidate's training gave no evidence, or pairs come that were not planned.
    """
    require_scipy()
    course, reading = Course(), _Reading(open_run, measure)
    try:
        for expected, pair in zip(plan.seeds, pairs, strict=False):
            if pair.seed != expected:
                raise EvidenceError(f"nothing was judged: seed {pair.seed} came where {expected} was planned")
            whole = _take(plan, course, pair, reading)
            _decide(plan, course, measured=measure is not None)
            if judged is not None:
                judged(course)
            if not whole or settled(course.decisions):
                break
    except BudgetSpentError as spent_up:
        course.stopped = f"{spent_up} after {len(course.pairs)} of {len(plan.seeds)} pairs"
    finally:
        close = getattr(pairs, "close", None)
        if close is not None:
            close()
    if not course.pairs:
        raise EvidenceError(f"nothing was judged: {course.stopped or 'no pair was trained'}")
    if any(rule.examples is not None for rule in plan.policy.metrics):
        _decide(plan, course, measured=measure is not None, whole=True)
    return course


def _take(plan: Plan, course: Course, pair: Pair, reading: _Reading) -> bool:
    """Add a pair's runs; return False if there is no baseline in it, and so no use in going on."""
    if not pair.candidate.ok:
        raise _no_evidence("candidate", plan.candidate.commit, pair.candidate)
    earlier = {one.run for before in course.pairs for one in (before.candidate, before.baseline) if one}
    if {pair.candidate.run, pair.baseline and pair.baseline.run} & earlier:
        raise EvidenceError(f"nothing was judged: a run of seed {pair.seed} is one of another seed, too")
    course.pairs.append(pair)
    reading.add(course, "candidate", pair.candidate, pair.seed)
    if pair.baseline is not None and pair.baseline.ok:
        reading.add(course, "baseline", pair.baseline, pair.seed)
        return True
    if pair.baseline is not None:
        course.warnings.append(
            f"the baseline ({plan.baseline.commit[:12]}) no longer trains with seed {pair.seed}: "
            f"{pair.baseline.reason}; its output is {pair.baseline.log} in the store"
        )
    elif plan.missing is None:
        course.warnings.append(f"the baseline has no recorded run with seed {pair.seed}")
    return False


def _no_evidence(side: SideName, commit: str, result: JobResult) -> EvidenceError:
    return EvidenceError(
        f"nothing was judged: training the {side} ({commit[:12]}) with seed {result.seed} gave no evidence: "
        f"{result.reason}; its output is {result.log} in the store"
    )


class _Reading(msgspec.Struct, frozen=True):
    """How runs are read, and who measures them if not they themselves."""

    open_run: Callable[[str], Any]
    measure: Callable[[str, int], Any] | None

    def add(self, course: Course, side: SideName, result: JobResult, seed: int) -> None:
        views: Views = getattr(course, side)
        views[seed] = self.open_run(result.run)
        if self.measure is not None:
            course.measured[side][seed] = self.measure(result.run, seed)


def _decide(plan: Plan, course: Course, *, measured: bool, whole: bool = False) -> None:
    """Decide from all pairs so far; what is only shown of examples is worked out when the gate is `whole`."""
    course.sides = (
        Side(commit=plan.candidate.commit, facts=_facts(course, "candidate")),
        Side(commit=plan.baseline.commit, facts=_facts(course, "baseline")),
    )
    unlike = hardware_difference(*course.sides, images=plan.mode == "recorded")
    policy = spent(plan.policy, plan.attempt)
    own = _evidence(policy, course, course.candidate, course.baseline, whole=whole)
    if measured:
        theirs = _evidence(policy, course, course.measured["candidate"], course.measured["baseline"], whole=whole)
        # Time, memory and size are the training's own; everything else only others may say.
        own = [
            mine if mine.rule.role in ("budget", "report") and mine.candidate[0] is not None else its
            for mine, its in zip(own, theirs, strict=True)
        ]
    course.decisions = decide(policy, own, pairs_max=len(plan.seeds), noise=plan.noise, unlike_hardware=unlike)


def _evidence(policy: Policy, course: Course, candidate: Views, baseline: Views, *, whole: bool) -> list[Any]:
    nothing = cast("RunView", _NoRun())
    theirs = {seed: baseline.get(seed, nothing) for seed in course.seeds}
    return list(gather(policy, course.seeds, candidate, theirs, examples=course.examples, whole=whole))


class _NoRun:
    """Stands where there is no baseline: a run that logged nothing."""

    id = "none"
    metrics: Mapping[str, Any] = {}
    summary: Mapping[str, Any] = {}
    params: Mapping[str, Any] = {}
    captures: Mapping[str, Any] = {}
    artifacts: Sequence[Any] = ()
    datasets: Sequence[Any] = ()
    system: Mapping[str, Any] = {}
    started = 0.0
    ended = None

    def predictions(self, name: str = "predictions") -> Any:
        raise UsageError(f"there is no baseline, and no {name!r} of it")

    def series(self, name: str) -> Any:
        raise UsageError(f"there is no baseline, and no {name!r} of it")


def _facts(course: Course, side: SideName) -> list[Facts]:
    results = {pair.seed: getattr(pair, side) for pair in course.pairs}
    return [facts_of(view, results[seed], seed=seed) for seed, view in getattr(course, side).items()]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the verdict tells besides what was measured, found out by the caller.

    `history` holds commits, files, and those files in which only constants differ. `waive` sets `waived` on
    decisions and returns the waivers used and warnings. `failed_before` says that an earlier attempt at the same
    question failed: then an undecided one does not let the candidate in, whatever the policy says.
    """

    created: float
    version: str
    key: str
    history: tuple[Sequence[str], Sequence[str], Collection[str]] = ((), (), ())
    tier: Tier | None = None
    flags: Sequence[Flag] = ()
    requirements: Sequence[Requirement] = ()
    test_set: TestSetUse | None = None
    evaluated_by: str | None = None
    failed_before: bool = False
    warnings: Sequence[str] = ()
    waive: Callable[[Sequence[MetricDecision]], Waived] | None = None


class Waived(Protocol):
    """Decisions after waivers, the waivers used, what to warn of."""

    @property
    def decisions(self) -> tuple[MetricDecision, ...]: ...

    @property
    def used(self) -> tuple[Waiver, ...]: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


def conclude(plan: Plan, course: Course, told: Surroundings) -> Verdict:
    """Put the verdict together. Pure."""
    commits, files, constants = told.history
    lineage = compare(*course.sides, commits=commits, files=files, constants=constants)
    decisions, used, warned = course.decisions, tuple[Waiver, ...](), tuple[str, ...]()
    if told.waive is not None:
        waived = told.waive(decisions)
        decisions, used, warned = waived.decisions, waived.used, waived.warnings
    requirements = tuple(told.requirements)
    outcome = outcome_of(decisions, requirements)
    baseline = _subject(plan.baseline, course, "baseline")
    failed_before = told.failed_before and outcome == "undecided"
    again = [FAILED_BEFORE] if failed_before else []
    return Verdict(
        outcome=outcome,
        summary=summary_of(outcome, decisions, requirements, missing=plan.missing is not None, stopped=course.stopped),
        key=told.key,
        blocks=failed_before or blocks_of(outcome, plan.policy, baseline=baseline, seeds=course.seeds),
        mode=plan.mode,
        attempt=plan.attempt,
        place=plan.place,
        evaluated_by=told.evaluated_by,
        seeds_planned=len(plan.seeds),
        tier=told.tier,
        flags=(*told.flags, *_data_flags(course)),
        waivers=used,
        requirements=requirements,
        test_set=told.test_set,
        cost=_cost(course.pairs),
        curves=curves_of(plan.policy, course.candidate, course.baseline),
        created=told.created,
        unitrack=told.version,
        policy=plan.policy,
        policy_sha256=policy_digest(plan.policy),
        policy_source=plan.policy_source,
        candidate=_subject(plan.candidate, course, "candidate"),
        baseline=baseline,
        seeds=course.seeds,
        metrics=decisions,
        lineage=lineage,
        warnings=(*told.warnings, *again, *course.warnings, *warned, *_doubts(plan, lineage.changes)),
        reproduce=reproduce(plan),
    )


def _data_flags(course: Course) -> list[Flag]:
    for seed, view in course.candidate.items():
        if seed in course.baseline:
            return test_data_flags(test_data_of(view), test_data_of(course.baseline[seed]))
    return []


def _cost(pairs: Sequence[Pair]) -> Cost:
    results = [one for pair in pairs for one in (pair.candidate, pair.baseline) if one is not None]
    trained = [one for one in results if not one.cached]
    return Cost(
        seconds=round(sum(one.seconds for one in trained), 3), trained=len(trained), cached=len(results) - len(trained)
    )


def reproduce(plan: Plan) -> str:
    """Return the command that comes to the same verdict on a like machine: commits instead of moving names."""
    baseline = plan.baseline.model if plan.mode == "recorded" and plan.baseline.model else plan.baseline.commit
    parts = ["unitrack", "gate", "--candidate", plan.candidate.commit]
    parts += ["--baseline", baseline] if baseline else []
    return shlex.join([*parts, "--use-seeds", ",".join(map(str, plan.seeds)), *plan.arguments])


def _subject(contender: Contender, course: Course, side: SideName) -> Subject:
    results = [(pair.seed, getattr(pair, side)) for pair in course.pairs]
    runs = tuple(
        SeedRun(seed=seed, run=one.run, job=one.key, evaluation=_evaluation(course, side, seed))
        for seed, one in results
        if one is not None and one.ok
    )
    return Subject(commit=contender.commit, reference=contender.reference, model=contender.model, runs=runs)


def _evaluation(course: Course, side: SideName, seed: int) -> str | None:
    view = course.measured[side].get(seed)
    return None if view is None else str(view.id)


def _doubts(plan: Plan, changes: Sequence[Any]) -> list[str]:
    """Say what a reader should doubt although nothing failed."""
    doubts = []
    if plan.missing is not None:
        doubts.append(plan.missing)
    if plan.candidate.commit == plan.baseline.commit:
        doubts.append("candidate and baseline are the same commit: equal results show nothing new")
    if any(change.kind == "data" for change in changes):
        doubts.append("candidate and baseline read different data: the difference is not the model's alone")
    if plan.attempt > 1:
        left = spent(plan.policy, plan.attempt).pass_level
        doubts.append(
            f"this is attempt {plan.attempt} at the same question: to pass, a loss of the margin has to be ruled out "
            f"at {left:.3g} instead of {plan.policy.pass_level:g}"
        )
    return doubts
