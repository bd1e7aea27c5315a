"""Run a gate: train both sides with the same seeds, in turns, and put the verdict together."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from unitrack.errors import EvidenceError
from unitrack.gate.decide import decide, overall
from unitrack.gate.decision import MetricDecision, Outcome
from unitrack.gate.evidence import gather
from unitrack.gate.lineage import Facts, Lineage, Side, compare, facts_of, hardware_difference
from unitrack.gate.policy import Policy, policy_digest
from unitrack.gate.statistics import require_scipy
from unitrack.gate.verdict import SeedRun, Subject, Verdict
from unitrack.rerun.job import Job, JobResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from unitrack.reader import RunView

__all__ = [
    "Contender",
    "Plan",
    "Progress",
    "Runner",
    "SideName",
    "gate_key",
    "interleave",
    "judge",
    "reproduce",
    "train",
]

SideName = Literal["candidate", "baseline"]


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a gate: a commit, how the user named it, and its model version if it is one."""

    commit: str
    reference: str
    model: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is settled before the first training. `arguments` are further ones of the reproducing command."""

    policy: Policy
    policy_source: str
    candidate: Contender
    baseline: Contender
    seeds: tuple[int, ...]
    arguments: tuple[str, ...] = ()


class Runner(Protocol):
    """What trains: `unitrack.rerun.runner.Rerunner` and its like."""

    def job(self, commit: str, seed: int) -> Job:
        """Return the job of a commit and a seed."""
        ...

    def run(self, job: Job) -> JobResult:
        """Run it, or return its earlier result."""
        ...


class Progress(Protocol):
    """Told of every job as it starts and ends."""

    def started(self, side: SideName, seed: int) -> None: ...

    def ended(self, side: SideName, seed: int, result: JobResult) -> None: ...


Results = dict[SideName, dict[int, JobResult]]


def interleave(plan: Plan) -> Iterator[tuple[SideName, str, int]]:
    """Yield side, commit and seed in turns, so that what drifts over time strikes both sides alike."""
    for seed in plan.seeds:
        yield "candidate", plan.candidate.commit, seed
        yield "baseline", plan.baseline.commit, seed


def train(plan: Plan, runner: Runner, progress: Progress) -> Results:
    """Run all jobs of a plan. Raises EvidenceError at the first that gives no evidence."""
    require_scipy()
    results: Results = {"candidate": {}, "baseline": {}}
    for side, commit, seed in interleave(plan):
        progress.started(side, seed)
        result = runner.run(runner.job(commit, seed))
        progress.ended(side, seed, result)
        if not result.ok:
            raise EvidenceError(
                f"nothing was judged: training the {side} ({commit[:12]}) with seed {seed} gave no evidence: "
                f"{result.reason}; its output is {result.log} in the store"
            )
        results[side][seed] = result
    return results


def judge(
    plan: Plan,
    results: Results,
    *,
    open_run: Callable[[str], RunView],
    history: Callable[[str, str], tuple[Sequence[str], Sequence[str]]],
    warnings: Sequence[str],
    created: float,
    version: str,
) -> Verdict:
    """Decide from runs alone. `history` returns the commits and files between two commits."""
    views: Mapping[SideName, Mapping[int, RunView]] = {
        side: {seed: open_run(result.run) for seed, result in by_seed.items()} for side, by_seed in results.items()
    }
    candidate = _side(plan.candidate, views["candidate"], plan.seeds)
    baseline = _side(plan.baseline, views["baseline"], plan.seeds)
    evidence = gather(plan.policy, plan.seeds, views["candidate"], views["baseline"])
    decisions = decide(plan.policy, evidence, unlike_hardware=hardware_difference(candidate, baseline))
    commits, files = history(plan.baseline.commit, plan.candidate.commit)
    lineage = compare(candidate, baseline, commits=commits, files=files)
    outcome = overall(decisions)
    return Verdict(
        outcome=outcome,
        summary=_summary(outcome, decisions),
        created=created,
        unitrack=version,
        policy=plan.policy,
        policy_sha256=policy_digest(plan.policy),
        policy_source=plan.policy_source,
        candidate=_subject(plan.candidate, results["candidate"]),
        baseline=_subject(plan.baseline, results["baseline"]),
        seeds=plan.seeds,
        metrics=decisions,
        lineage=lineage,
        warnings=(*warnings, *_doubts(plan, lineage)),
        reproduce=reproduce(plan),
    )


def gate_key(verdict: Verdict) -> str:
    """Return the name of the verdict's folder: equal policy, jobs and seeds, equal key."""
    jobs = [run.job for side in (verdict.candidate, verdict.baseline) for run in side.runs]
    return hashlib.sha256("\n".join([verdict.policy_sha256, *jobs]).encode()).hexdigest()[:16]


def reproduce(plan: Plan) -> str:
    """Return the command that comes to the same verdict on a like machine: commits instead of moving names."""
    parts = ["unitrack", "gate", "--candidate", plan.candidate.commit, "--baseline", plan.baseline.commit]
    return shlex.join([*parts, "--seeds", str(len(plan.seeds)), *plan.arguments])


def _side(contender: Contender, views: Mapping[int, RunView], seeds: Sequence[int]) -> Side:
    facts: list[Facts] = [facts_of(views[seed]) for seed in seeds]
    return Side(commit=contender.commit, facts=facts)


def _subject(contender: Contender, results: Mapping[int, JobResult]) -> Subject:
    runs = tuple(SeedRun(seed=seed, run=result.run, job=result.key) for seed, result in results.items())
    return Subject(commit=contender.commit, reference=contender.reference, model=contender.model, runs=runs)


def _summary(outcome: Outcome, decisions: Sequence[MetricDecision]) -> str:
    gating = [one for one in decisions if one.role != "report"]
    if outcome == "pass":
        return f"No metric of {len(gating)} lost more than its margin allows."
    deciding = [one for one in gating if one.decision == outcome]
    names = ", ".join(one.name for one in deciding)
    if outcome == "fail":
        return f"{len(deciding)} of {len(gating)} metrics failed: {names}."
    return f"{len(deciding)} of {len(gating)} metrics are undecided: {names}."


def _doubts(plan: Plan, lineage: Lineage) -> list[str]:
    """Say what a reader should doubt although nothing failed."""
    doubts = []
    if plan.candidate.commit == plan.baseline.commit:
        doubts.append("candidate and baseline are the same commit: equal results show nothing new")
    if any(change.kind == "data" for change in lineage.changes):
        doubts.append("candidate and baseline read different data: the difference is not the model's alone")
    return doubts
