"""`unitrack gate`: judge a candidate commit against the production model's."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from unitrack.cli import calibrate, installed_version
from unitrack.cli._alerts import tell
from unitrack.cli._gating import (
    Judging,
    base_ref,
    failed_before,
    flags_of,
    history_between,
    make_judging,
    parse_seeds,
    test_set_use,
    tier_between,
    waive,
    waived_anew,
)
from unitrack.cli._output import emit, json_option, note
from unitrack.cli._rules import rules_of
from unitrack.cli._training import jobs_option, limit_of, make_executor, make_rerunner, stopped_in_order, warn_of
from unitrack.cli._training_progress import TrainingProgress
from unitrack.cli._verdicts import message_of, show_history, show_verdict
from unitrack.config import Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError
from unitrack.files import write_atomic
from unitrack.gate.baseline import WINNERS_CURSE, Baseline, find_baseline, recorded_runs
from unitrack.gate.engine import Contender, Course, Plan, Surroundings, conclude, in_turns, pursue
from unitrack.gate.evaluate import Evaluator
from unitrack.gate.history import known_noise
from unitrack.gate.keys import Attempt, Attempts, question_of, series_of, verdict_key
from unitrack.gate.past import earlier_differences, place_of
from unitrack.gate.policy import in_words, policy_digest
from unitrack.gate.requirements import check
from unitrack.gate.statistics import require_scipy
from unitrack.gate.verdict import Verdict, exit_code, read_verdict, verdict_path, write_verdict
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.registry import open_registry
from unitrack.report import markdown
from unitrack.rerun.git import Repository, find_repository
from unitrack.rerun.runner import Rerunner, choose_seeds
from unitrack.rerun.scheduler import Budget

if TYPE_CHECKING:
    from unitrack.cli._gating import Waiving
    from unitrack.gate.decision import Noise
    from unitrack.reader import RunView
    from unitrack.rerun.job import Job, JobResult

__all__ = ["command"]


@click.group(name="gate", invoke_without_command=True)
@click.option("--candidate", default="HEAD", show_default=True, metavar="COMMIT", help="What asks to be let in.")
@click.option("--baseline", metavar="MODEL@ALIAS|COMMIT", help="What it must hold up to; [gate].model@production.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="How many seeds; all of [train] unless given.")
@click.option("--use-seeds", metavar="N,N,...", help="Exactly these seeds, in this order.")
@click.option("--fresh-seeds", is_flag=True, help="Seeds not used for this before; another attempt, judged harder.")
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Take [gate] from this file.")
@click.option("--policy-ref", metavar="REF", help="Take [gate] as REF has it; in CI, as the base branch has it.")
@click.option("--branch", metavar="NAME", help="The candidate's branch, for waivers; never one a stranger named.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report as Markdown here, too.")
@click.option("--output", type=click.Path(path_type=Path), help="Write verdict.json and report.md in here, too.")
@click.option("--fresh", is_flag=True, help="Train again even if an equal job succeeded before; another attempt.")
@jobs_option
@click.option("--explain", is_flag=True, help="Say the policy in words and end.")
@click.option("--history", is_flag=True, help="List the verdicts of this store and end.")
@click.option("--model", metavar="NAME", help="With --history: only this model's.")
@json_option
def command(
    *,
    candidate: str,
    baseline: str | None,
    seeds: int | None,
    use_seeds: str | None,
    fresh_seeds: bool,
    policy_file: Path | None,
    policy_ref: str | None,
    branch: str | None,
    report: Path | None,
    output: Path | None,
    fresh: bool,
    jobs: int | None,
    explain: bool,
    history: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Judge a candidate against the baseline.

    Both commits are trained with the same seeds, in turns, and each metric of [gate] is decided after each pair,
    until nothing is open. The same question gets the same verdict without training. Ends with 0 for pass, 1 fail,
    3 undecided, 4 if there is no evidence to judge.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    settings = load_settings()
    if history:
        show_history(settings.store, model=model, as_json=as_json)
        return
    ref = policy_ref or (base_ref(os.environ) if policy_file is None else None)
    judging = make_judging(settings, lambda: find_repository(settings.root), file=policy_file, ref=ref)
    if explain:
        rules = [f"A rule of a plugin judges, too: {one}." for one in rules_of(load_plugins(settings)).sources]
        words = "\n".join([*in_words(judging.policy), *rules])
        emit(judging.policy, as_json=as_json, render=lambda console: console.print(words))
        return
    require_scipy()
    repository = find_repository(settings.root)
    gate = _Gate(settings, judging, repository, fresh=fresh, jobs=jobs)
    plan = gate.plan(candidate, baseline, gate.seeds(seeds, parse_seeds(use_seeds)), fresh_seeds=fresh_seeds)
    waiving = waive(judging, repository, plan, branch=branch or _local_branch(repository, candidate), now=time.time())
    verdict = gate.known(plan)
    if verdict is not None:
        note("this was judged before: the same question gets the same verdict, nothing was trained")
        verdict = waived_anew(verdict, waiving)
    else:
        verdict = gate.judge(plan, waiving)
    _finish(verdict, settings, report=report, output=output, as_json=as_json)


def _local_branch(repository: Repository, candidate: str) -> str | None:
    return repository.branch() if candidate == "HEAD" else candidate


class _Gate:
    """One gate from its plan to its verdict."""

    def __init__(
        self, settings: Settings, judging: Judging, repository: Repository, *, fresh: bool, jobs: int | None
    ) -> None:
        if settings.train is None:
            raise ConfigError("there is no section [train]: the gate trains both commits", key="train")
        self._settings, self._judging, self._repository, self._fresh = settings, judging, repository, fresh
        self._train, self._at_a_time = settings.train, jobs
        self._rerunner: Rerunner = make_rerunner(repository, settings, fresh=fresh)
        self._rules = rules_of(load_plugins(settings))
        self._evaluator = self._make_evaluator() if judging.evaluate.command else None
        self._attempts: Attempts | None = None
        self._attempt: Attempt | None = None
        self.key = ""

    def _make_evaluator(self) -> Evaluator:
        commit = self._judging.ref or self._repository.commit("HEAD")
        return Evaluator(
            commit=commit,
            evaluate=self._judging.evaluate,
            repository=self._repository,
            settings=self._settings,
            executor=make_executor(self._settings),
            open_run=self._open,
            environ=os.environ,
            fresh=self._fresh,
        )

    def _open(self, run: str) -> RunView:
        return get_run(run, dir=self._settings.store)

    def seeds(self, count: int | None, given: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return the seeds that may be used."""
        return given or choose_seeds(self._train, count or self._judging.gate.seeds)

    def plan(self, candidate: str, baseline: str | None, seeds: tuple[int, ...], *, fresh_seeds: bool) -> Plan:
        """Settle all that can be settled before training."""
        policy = self._judging.policy
        registry = open_registry(self._settings)
        found = find_baseline(baseline, policy.model, registry=registry, repository=self._repository)
        commit = self._repository.commit(candidate)
        recorded = self._recorded(found) if policy.baseline == "recorded" and found.missing is None else {}
        plan = Plan(
            policy=policy,
            policy_source=self._judging.source,
            candidate=Contender(commit=commit, reference=candidate),
            baseline=found.contender,
            seeds=seeds,
            mode="recorded" if recorded else "rerun",
            recorded=recorded,
            missing=found.missing,
            arguments=self._judging.arguments,
        )
        self._found = found
        return self._numbered(plan, fresh_seeds=fresh_seeds)

    def _recorded(self, found: Baseline) -> dict[int, JobResult]:
        return recorded_runs(found.version, store=self._settings.store, open_run=self._open)

    def _jobs(self, plan: Plan, seed: int) -> list[Job]:
        commits = [plan.candidate.commit]
        commits += [plan.baseline.commit] if plan.mode == "rerun" and plan.missing is None else []
        return [self._rerunner.job(commit, seed) for commit in commits]

    def _numbered(self, plan: Plan, *, fresh_seeds: bool) -> Plan:
        """Find out which attempt at its question this is, and name its verdict."""
        runs = ",".join(sorted(result.run for result in plan.recorded.values()))
        agreed = self._jobs(plan, 0)
        series = series_of(
            policy_digest(plan.policy),
            agreed,
            mode=f"{plan.mode} {runs}{self._rules.identity}",
            evaluation=None if self._evaluator is None else self._evaluator.identity,
        )
        attempts = self._attempts = Attempts(self._settings.store / "gate" / "attempts", series)
        seeds = attempts.fresh_seeds(len(plan.seeds), plan.seeds) if fresh_seeds else plan.seeds
        repetition = attempts.repetition(seeds) if self._fresh else 0
        jobs = [job for seed in seeds for job in self._jobs(plan, seed)]
        question = question_of(series, jobs, seeds, repetition=repetition)
        self._attempt = Attempt(question=question, seeds=seeds, repetition=repetition, key=attempts.key_of(question))
        place = place_of({job.commit: f"{job.executor}: {job.fingerprint}" for job in agreed})
        plan = msgspec.structs.replace(
            plan,
            seeds=seeds,
            attempt=attempts.number(question),
            place=place,
            noise=self._noise(plan, place, [job.key for job in jobs if job.commit == plan.candidate.commit]),
        )
        self.key = verdict_key(question, plan.attempt, plan.noise)
        return plan

    def _noise(self, plan: Plan, place: str, own: list[str]) -> dict[str, Noise]:
        """Return what earlier gates and calibrations at this place know of the noise, this candidate's own left out."""
        earlier = earlier_differences(
            self._settings.store, plan.policy, place=place, evaluated=self._evaluator is not None, without=own
        )
        return known_noise(earlier, cap=plan.policy.history)

    def known(self, plan: Plan) -> Verdict | None:
        """Return the verdict that this question got before, if it is still there and whole."""
        if self._attempt is None or self._attempt.key is None:
            return None
        try:
            verdict = read_verdict(verdict_path(self._settings.store, self._attempt.key[:16]))
        except EvidenceError as error:
            note(f"unitrack: warning: an earlier verdict can't be used: {error}")
            return None
        same = verdict.key == self._attempt.key and verdict.candidate.commit == plan.candidate.commit
        return verdict if same and verdict.policy_sha256 == policy_digest(plan.policy) else None

    def judge(self, plan: Plan, waiving: Waiving) -> Verdict:
        """Train, decide, and put the verdict together."""
        assert self._attempts is not None
        assert self._attempt is not None  # plan() sets both
        self._attempts.remember(self._attempt)
        course, plan = self._pursued(plan)
        verdict = conclude(plan, course, self._told(plan, course, waiving))
        if course.stopped is None:  # otherwise the next start goes on
            # Only then: an answer that was not written would have to be found again.
            write_verdict(verdict_path(self._settings.store, self.key[:16]), verdict, markdown.render(verdict))
            self._attempts.remember(msgspec.structs.replace(self._attempt, key=self.key))
        return verdict

    def _pursued(self, plan: Plan) -> tuple[Course, Plan]:
        course = self._train_pairs(plan)
        last = course.pairs[-1]
        broken = last.baseline is not None and not last.baseline.ok
        if broken and plan.policy.broken_baseline == "recorded":
            plan = msgspec.structs.replace(plan, mode="recorded", recorded=self._recorded(self._found))
            again = self._train_pairs(plan)
            again.warnings[:0] = course.warnings
            course = again
        return course, plan

    def _train_pairs(self, plan: Plan) -> Course:
        limit, budget = limit_of(self._train, self._at_a_time), self._budget()
        measure = None if self._evaluator is None else self._evaluator.measure
        sides = ("candidate", "baseline") if plan.mode == "rerun" else ("candidate",)
        with stopped_in_order(), TrainingProgress(self._rerunner.log, sides, plan.seeds) as progress:
            pairs = in_turns(plan, self._rerunner, progress, limit=limit, budget=budget)
            return pursue(plan, pairs, open_run=self._open, measure=measure, judged=progress.judged)

    def _budget(self) -> Budget:
        gate = self._judging.gate
        return Budget(minutes=gate.max_minutes, cost=gate.max_cost, price=gate.price_per_hour)

    def _failed_before(self) -> bool:
        if self._attempts is None or self._attempt is None:
            return False
        return failed_before(self._attempts.made, self._attempt.question, self._settings.store)

    def _told(self, plan: Plan, course: Course, waiving: Waiving) -> Surroundings:
        jobs = [self._rerunner.job(plan.candidate.commit, seed) for seed in course.seeds]
        files = self._repository.files(plan.candidate.commit)
        trusted = self._evaluator is not None
        warned = [WINNERS_CURSE] if plan.mode == "recorded" else []
        return Surroundings(
            created=time.time(),
            version=installed_version(),
            key=self.key,
            history=history_between(
                self._repository, plan.baseline.commit, plan.candidate.commit, store=self._settings.store
            ),
            tier=tier_between(plan.policy, course, self._settings.store),
            flags=flags_of(self._judging, self._settings, self._repository, plan, trusted=trusted),
            test_set=test_set_use(course, self.key, self._settings.store),
            requirements=check(plan.policy.require, course.candidate, jobs, files, baseline=course.baseline),
            evaluated_by=None if self._evaluator is None else self._evaluator.commit,
            failed_before=self._failed_before(),
            warnings=(*self._rerunner.warnings, *warned),
            waive=lambda decisions: waiving(self._rules.judge(decisions)),
        )


def _finish(verdict: Verdict, settings: Settings, *, report: Path | None, output: Path | None, as_json: bool) -> None:
    """Write the verdict and its report, show it, and exit with its code."""
    text = markdown.render(verdict)
    path = verdict_path(settings.store, verdict.key[:16])
    beside = write_verdict(path, verdict, text)
    if output is not None:
        write_verdict(output / path.name, verdict, text)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(report, text.encode())
    emit(verdict, as_json=as_json, render=lambda console: show_verdict(console, verdict))
    if as_json:
        warn_of(verdict.warnings)
    note(f"verdict: {path}\nreport: {report or beside}")
    plugins = load_plugins(settings)
    plugins.notify("unitrack_verdict_reached", verdict=path, outcome=verdict.outcome)
    if verdict.outcome == "fail":
        tell(settings, plugins, message_of(verdict, path))
    click.get_current_context().exit(exit_code(verdict))


command.add_command(calibrate.command)
