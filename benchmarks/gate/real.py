"""Gate real trainings: harmless changes that must not be blocked, and faults that should be.

Every gate goes through `unitrack.gate.engine.pursue`, pair after pair, as `unitrack gate` does; only the checkout is
left out: trainings are functions, trained once a variant and seed. Margins are those that `unitrack gate calibrate`
suggests, and each gate knows the noise of those before it.

    python benchmarks/gate/real.py [--gates 60] [--repeats 20] [--processes N] [--output docs/gate-real.md]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

from simulate import bounds
from trainings import AS_IS, HARMLESS, TRAININGS, Metrics, Training, baseline_of, train

from unitrack.config import GateSettings, MetricRule
from unitrack.gate.calibration import MetricCalibration, calibrate
from unitrack.gate.decide import overall
from unitrack.gate.decision import MetricDecision
from unitrack.gate.engine import Contender, Pair, Plan, pursue
from unitrack.gate.history import is_rounding, known_noise
from unitrack.gate.policy import Policy, make_policy
from unitrack.reader import RunView
from unitrack.rerun.job import JobResult

SEEDS = 5
CALIBRATION = range(10)
HARMLESS_FROM, FAULTS_FROM = 1_000, 100_000  # where seeds start; no gate uses another's
ERRATIC = 3  # a fault that makes pairs so many times noisier than usual is told as such
KNOWN = 5  # harmless gates that a fault's gate knows the noise of

Key = tuple[str, str, int]
Trained = Mapping[Key, Metrics]


# -- trainings -----------------------------------------------------------------------------------


def harmless_seeds(gate: int) -> range:
    """Return the seeds of a gate of a harmless change."""
    return range(HARMLESS_FROM + SEEDS * gate, HARMLESS_FROM + SEEDS * (gate + 1))


def fault_seeds(repeat: int) -> range:
    """Return the seeds of a gate of a fault: other faults of a training share its baseline."""
    return range(FAULTS_FROM + SEEDS * repeat, FAULTS_FROM + SEEDS * (repeat + 1))


def wanted(gates: int, repeats: int) -> list[Key]:
    """Return all trainings, each once."""
    found: dict[Key, None] = {}
    for name, training in TRAININGS.items():
        found |= dict.fromkeys((name, AS_IS, seed) for seed in CALIBRATION)
        for gate in range(gates * len(HARMLESS)):
            sides = (AS_IS, HARMLESS[gate % len(HARMLESS)])
            found |= dict.fromkeys((name, side, seed) for seed in harmless_seeds(gate) for side in sides)
        for fault in training.faults:
            for repeat in range(repeats):
                sides = (baseline_of(fault), fault)
                found |= dict.fromkeys((name, side, seed) for seed in fault_seeds(repeat) for side in sides)
    return list(found)


def train_all(keys: Sequence[Key], processes: int) -> Trained:
    """Train each, in as many processes; one thread each, as `unitrack rerun` has it."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return dict(zip(keys, pool.starmap(train, keys, chunksize=32), strict=True))


# -- gates ---------------------------------------------------------------------------------------


class Run:
    """One training as the gate reads it: a run that recorded its metrics and nothing else."""

    params: Mapping[str, Any] = {}
    captures: Mapping[str, Any] = {}
    metrics: Mapping[str, Any] = {}
    datasets: Sequence[Any] = ()
    artifacts: Sequence[Any] = ()

    def __init__(self, key: Key, trained: Trained) -> None:
        self.id = "/".join(map(str, key))
        self.summary = trained[key]


@dataclass
class Result:
    """How one gate ended."""

    outcome: str
    pairs: int
    decisions: tuple[MetricDecision, ...]


@dataclass
class Project:
    """One training with the policy its user would write, and what is known of its noise so far."""

    name: str
    trained: Trained
    policy: Policy = field(init=False)
    calibration: Sequence[MetricCalibration] = field(init=False)
    known: dict[str, list[tuple[float, ...]]] = field(init=False)

    def __post_init__(self) -> None:
        goals = self.training.goals.items()
        bare = [MetricRule(name=metric, goal=goal, role=role, margin="auto") for metric, (goal, role) in goals]
        runs = {seed: cast(RunView, Run((self.name, AS_IS, seed), self.trained)) for seed in CALIBRATION}
        draft = make_policy(GateSettings(metrics=tuple(bare)))
        _, self.calibration = calibrate(draft, tuple(CALIBRATION), runs, runs)
        rules = [
            MetricRule(name=rule.name, goal=rule.goal, role=rule.role, margin=one.suggested)
            for rule, one in zip(bare, self.calibration, strict=True)
        ]
        self.policy = make_policy(GateSettings(metrics=tuple(rules)))
        self.known = {one.name: [one.differences] for one in self.calibration}

    @property
    def training(self) -> Training:
        """What is trained."""
        return TRAININGS[self.name]

    def gate(self, candidate: str, baseline: str, seeds: Sequence[int]) -> Result:
        """Judge one variant against another."""
        plan = Plan(
            policy=self.policy,
            policy_source="unitrack.toml",
            candidate=Contender(commit=candidate, reference=candidate),
            baseline=Contender(commit=baseline, reference=baseline),
            seeds=tuple(seeds),
            noise=known_noise(self.known, cap=self.policy.history),
        )
        runs = {"/".join(map(str, key)): key for key in self._keys(plan)}
        course = pursue(plan, self._pairs(plan), open_run=lambda run: cast(RunView, Run(runs[run], self.trained)))
        return Result(outcome=overall(course.decisions), pairs=len(course.pairs), decisions=course.decisions)

    def remember(self, result: Result) -> None:
        """Let later gates know the noise of this one."""
        for one in result.decisions:
            differences = cast("tuple[float, ...]", one.differences)
            values = cast("tuple[float, ...]", one.candidate + one.baseline)
            if len(differences) > 1 and not is_rounding(differences, values):
                self.known[one.name].append(differences)

    def _keys(self, plan: Plan) -> list[Key]:
        return [(self.name, side.commit, seed) for side in (plan.candidate, plan.baseline) for seed in plan.seeds]

    def _pairs(self, plan: Plan) -> Iterator[Pair]:
        for seed in plan.seeds:
            sides = [self._result(side.commit, seed, at) for at, side in enumerate((plan.candidate, plan.baseline))]
            yield Pair(seed=seed, candidate=sides[0], baseline=sides[1])

    def _result(self, variant: str, seed: int, side: int) -> JobResult:
        run = "/".join(map(str, (self.name, variant, seed)))
        return JobResult(key=f"{side}/{run}", commit=variant, seed=seed, ok=True, run=run, seconds=0.0, log="")

    def losses(self, fault: str, repeats: int) -> dict[str, list[float]]:
        """Return by how much each pair of a fault's gates is worse, those that no gate needed included."""
        found: dict[str, list[float]] = {}
        for seed in (seed for repeat in range(repeats) for seed in fault_seeds(repeat)):
            new, old = (self.trained[self.name, side, seed] for side in (fault, baseline_of(fault)))
            for metric, (goal, _) in self.training.goals.items():
                lost = old[metric] - new[metric]
                found.setdefault(metric, []).append(lost if goal == "maximize" else -lost)
        return found


@dataclass
class Tally:
    """The gates of one row."""

    results: list[Result] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        """Count the gates that ended so."""
        return sum(one.outcome == outcome for one in self.results)

    @property
    def pairs(self) -> float:
        """The mean number of pairs."""
        return fmean(one.pairs for one in self.results)

    @property
    def cells(self) -> str:
        """Return gates, blocked, passed, undecided and pairs as cells."""
        counts = [len(self.results), *map(self.count, ("fail", "pass", "undecided"))]
        return f"{' | '.join(map(str, counts))} | {self.pairs:.2f}"


@dataclass
class Story:
    """All gates of one training."""

    project: Project
    twice: Tally = field(default_factory=Tally)
    harmless: dict[str, Tally] = field(default_factory=lambda: {change: Tally() for change in HARMLESS})
    faults: dict[str, Tally] = field(default_factory=dict)


def judge(project: Project, gates: int, repeats: int) -> Story:
    """Go through a training's gates in the order in which its project would: harmless changes in turns, faults."""
    story = Story(project=project)
    for gate in range(gates * len(HARMLESS)):
        if gate == KNOWN:
            story.faults = judge_faults(project, repeats)
        change = HARMLESS[gate % len(HARMLESS)]
        if gate < KNOWN:
            story.twice.results.append(project.gate(AS_IS, AS_IS, harmless_seeds(gate)))
        result = project.gate(change, AS_IS, harmless_seeds(gate))
        project.remember(result)
        story.harmless[change].results.append(result)
    return story


def judge_faults(project: Project, repeats: int) -> dict[str, Tally]:
    """Judge each fault several times with other seeds; none of these gates adds to what is known."""
    return {
        fault: Tally([project.gate(fault, baseline_of(fault), fault_seeds(repeat)) for repeat in range(repeats)])
        for fault in project.training.faults
    }


# -- the page ------------------------------------------------------------------------------------

GATES = "gates | blocked | passed | undecided | pairs"


@dataclass
class Loss:
    """A fault's true loss in the metric that shows it best, estimated from all its pairs."""

    metric: str
    margins: float
    noises: float
    erratic: float  # how much noisier a pair is than calibration found


def loss_of(project: Project, fault: str, repeats: int) -> Loss:
    """Return the loss that is the largest beside its margin."""
    margins = {rule.name: rule.margin for rule in project.policy.metrics}
    usual = {one.name: one.noise or math.inf for one in project.calibration}
    found = [
        Loss(
            metric=metric,
            margins=fmean(lost) / cast(float, margins[metric]),
            noises=fmean(lost) / (stdev(lost) or math.inf),
            erratic=stdev(lost) / usual[metric],
        )
        for metric, lost in project.losses(fault, repeats).items()
    ]
    return max(found, key=lambda one: one.margins)


def page(stories: Sequence[Story], repeats: int, minutes: float, processes: int) -> Iterator[str]:
    """Yield the lines of docs/gate-real.md."""
    yield from INTRODUCTION.strip().format(took=took(minutes, processes), versions=versions()).split("\n")
    yield from ("", *trainings_table(stories))
    yield from ("", "## Harmless changes", "", *HARMLESS_TEXT.strip().split("\n"), "", *harmless_table(stories))
    yield from ("", *harmless_words(stories))
    yield from ("", *FOUND_TEXT.strip().split("\n"))
    yield from ("", "## Faults", "", *FAULTS_TEXT.strip().format(repeats=repeats, known=KNOWN).split("\n"), "")
    yield from faults_table(stories, repeats)
    yield from ("", *faults_words(stories, repeats))


def trainings_table(stories: Sequence[Story]) -> Iterator[str]:
    """Yield what is trained, and the margins."""
    yield "| training | the seed changes | metric | mean | spread over seeds | margin |"
    yield "| --- | --- | --- | ---: | ---: | ---: |"
    for story in stories:
        rules = {rule.name: rule for rule in story.project.policy.metrics}
        for at, one in enumerate(story.project.calibration):
            about = f"{story.project.name} | {story.project.training.seeded}" if at == 0 else " | "
            spread = one.seed_spread.sd if one.seed_spread else 0.0
            role = "" if rules[one.name].role == "target" else f" ({rules[one.name].role})"
            yield f"| {about} | {one.name}{role} | {one.mean:.4g} | {spread:.2g} | {rules[one.name].margin:g} |"


def harmless_table(stories: Sequence[Story]) -> Iterator[str]:
    """Yield a row for each training and change."""
    yield f"| training | change | {GATES} |"
    yield "| --- | --- |" + " ---: |" * 5
    for story in stories:
        for change, tally in story.harmless.items():
            yield f"| {story.project.name} | {change} | {tally.cells} |"
    yield f"| all | | {together(stories).cells} |"


def together(stories: Sequence[Story]) -> Tally:
    """Return all gates of harmless changes."""
    return Tally([one for story in stories for tally in story.harmless.values() for one in tally.results])


def harmless_words(stories: Sequence[Story]) -> Iterator[str]:
    """Say what the table comes to."""
    every = together(stories)
    blocked, count = every.count("fail"), len(every.results)
    low, high = bounds(blocked, count)
    twice = Tally([one for story in stories for one in story.twice.results])
    yield (
        f"{blocked} of {count} gates blocked a harmless change: {blocked / count:.2%}, by one-sided 95 % bounds "
        f"(Clopper and Pearson) between {low:.2%} and {high:.2%}. Undecided gates do not block unless the policy "
        "says so."
    )
    yield (
        f"The same program on both sides, {len(twice.results)} gates: {twice.count('pass')} passed, after "
        f"{twice.pairs:g} pair{'' if twice.pairs == 1 else 's'}."
    )
    for story in stories:
        for change, tally in story.harmless.items():
            for result in tally.results:
                if result.outcome == "fail":
                    reasons = [f"{one.name}: {one.reason}" for one in result.decisions if one.decision == "fail"]
                    yield f"- {story.project.name}, {change}: {' '.join(reasons)}"


def faults_table(stories: Sequence[Story], repeats: int) -> Iterator[str]:
    """Yield a row for each fault."""
    yield f"| training | fault | {GATES} | shows best in | loss in margins | in noises of a pair |"
    yield "| --- | --- |" + " ---: |" * 5 + " --- |" + " ---: |" * 2
    for story in stories:
        for fault, tally in story.faults.items():
            loss = loss_of(story.project, fault, repeats)
            yield (
                f"| {story.project.name} | {fault} | {tally.cells} | {loss.metric} | {loss.margins:.2g} "
                f"| {loss.noises:.2g} |"
            )
    every = Tally([one for story in stories for tally in story.faults.values() for one in tally.results])
    yield f"| all | | {every.cells} | | | |"


def faults_words(stories: Sequence[Story], repeats: int) -> Iterator[str]:
    """Say how many were caught, and of each fault that was not always caught why."""
    tallies = [tally for story in stories for tally in story.faults.values()]
    first = sum(tally.results[0].outcome == "fail" for tally in tallies)
    always = sum(tally.count("fail") == len(tally.results) for tally in tallies)
    never = sum(tally.count("fail") == 0 for tally in tallies)
    yield (
        f"Of {len(tallies)} faults, {first} were caught by their first gate; {always} were caught by each of their "
        f"gates, {never} by none. Why the others were not always caught:"
    )
    yield ""
    for story in stories:
        for fault, tally in story.faults.items():
            if tally.count("fail") < len(tally.results):
                yield f"- {story.project.name}, {fault}: {why(story.project, fault, tally, repeats)}"


def why(project: Project, fault: str, tally: Tally, repeats: int) -> str:
    """Say why a fault was missed, from its size alone."""
    loss = loss_of(project, fault, repeats)
    size = f"the loss of {loss.metric} is {loss.margins:.2g} margins on average"
    missed = f"caught in {tally.count('fail')}, passed in {tally.count('pass')} of {len(tally.results)} gates"
    if loss.margins <= 0:
        return f"{missed}; no metric gets worse by it, so the policy has nothing to object to."
    if loss.margins < 1:
        return f"{missed}; {size}: less than the policy allows, so it should not fail, only pass or stay undecided."
    if loss.erratic > ERRATIC:
        return (
            f"{missed}; {size}, but very unequal: it makes a pair's difference {loss.erratic:.0f} times as noisy as "
            f"training usually is, and {SEEDS} pairs of such noise do not always show it."
        )
    return (
        f"{missed}; {size}, {loss.noises:.2g} standard deviations of a pair's difference: {SEEDS} pairs do not always "
        "show that."
    )


def took(minutes: float, processes: int) -> str:
    """Say how long it takes."""
    whole = max(1, round(minutes))
    return f"about {whole} minute{'' if whole == 1 else 's'} with {processes} processes"


def versions() -> str:
    """Say what it was made with."""
    packages = ("numpy", "scikit-learn", "lightgbm", "statsmodels")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


INTRODUCTION = """
# The gate on real trainings

Made by `make gate-bench-real` ({took}), which writes this page; {versions}. Other versions and processors give
other figures in the last digits and now and then another outcome.

Nothing is simulated here: five programs train on data that comes with scikit-learn and statsmodels. Each has the policy
its user would have: `unitrack gate calibrate` trained it with 10 seeds and suggested the margins (2 standard deviations
of a mean of 5 differences, 1 % of the mean at least), and the gate has its defaults: 5 seeds at most, the noise of
earlier gates pooled for up to 20 degrees of freedom. Every gate has seeds of its own and goes through the engine of
`unitrack gate`; only checkouts and containers are left out, for each training runs once and is looked up after that.
"""

HARMLESS_TEXT = """
Two kinds of changes make nothing better or worse, and make the numbers of equal seeds differ: one more random number
is drawn before anything else, so that every later choice is another one (equal seeds share nothing any more); or the
model is handed the same features in another order (where the seed splits, the split stays the same). A project does
both in turns, so the noise that its gates know is a mixture of the two. To a logistic regression the order of features
is all the same: there the sides differ by rounding.
"""

FOUND_TEXT = """
This benchmark found a fault of the gate. It used to pool the noise of earlier gates as if it were all alike; but what
one change leaves of the tie between equal seeds, another does not, and then the noise of the mixture is too small for
a change that leaves nothing. 16 of 800 gates of the first kind of change were blocked (those of this page and 500 on
other seeds). Now earlier gates count for fewer degrees of freedom the more their noise varies: 7 of the same 800 were.
"""

FAULTS_TEXT = """
Each fault is gated {repeats} times with other seeds, with the noise known from the calibration and {known} earlier
gates. Caught is what was blocked. The loss is the mean over all pairs of these gates, in the metric in which it is the
most margins; the noise is the standard deviation of one pair's difference.
"""


def main() -> int:
    """Train, judge, write the page; return 1 if harmless changes were blocked too often."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--gates", type=int, default=60, help="of each training and harmless change")
    parser.add_argument("--repeats", type=int, default=20, help="gates of each fault")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, help="where the page goes; otherwise it is printed")
    options = parser.parse_args()
    began = time.monotonic()
    trained = train_all(wanted(options.gates, options.repeats), options.processes)
    stories = [judge(Project(name=name, trained=trained), options.gates, options.repeats) for name in TRAININGS]
    minutes = (time.monotonic() - began) / 60
    text = "\n".join(page(stories, options.repeats, minutes, options.processes)) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)
    return 1 if together(stories).count("fail") > 0.01 * len(together(stories).results) else 0


if __name__ == "__main__":
    sys.exit(main())
