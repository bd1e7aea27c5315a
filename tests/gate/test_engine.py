"""The engine on a runner that trains nothing: which jobs it asks for, in which order, and when it stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import unitrack
from unitrack.errors import EvidenceError
from unitrack.gate.curves import curves_of
from unitrack.gate.engine import Contender, Pair, Plan, Surroundings, conclude, in_turns, pursue
from unitrack.gate.keys import Attempt, Attempts, question_of, series_of, spent, verdict_key
from unitrack.gate.past import earlier_differences, place_of
from unitrack.gate.policy import MetricPolicy, Policy
from unitrack.gate.verdict import Cost, Verdict, decode, encode, verdict_path
from unitrack.reader import RunView
from unitrack.rerun.executors import never
from unitrack.rerun.job import Job, JobResult

POLICY = Policy(model="m", metrics=(MetricPolicy(name="acc", goal="maximize", margin=0.02),))
PLAN = Plan(
    policy=POLICY,
    policy_source="unitrack.toml",
    candidate=Contender(commit="c" * 40, reference="HEAD"),
    baseline=Contender(commit="b" * 40, reference="m@production"),
    seeds=(0, 1, 2, 3),
    place="process: here",
)
NOISE = (0.001, -0.002, 0.0015, 0.0005)


class Trained:
    """A runner whose jobs log one number at once, and who notes what it was asked for."""

    def __init__(self, **level: float) -> None:
        self.level, self.asked = level, list[str]()
        self.told: dict[str, dict[str, str | None]] = {}  # what the executor told of each side

    def job(self, commit: str, seed: int) -> Job:
        return Job(
            commit=commit, tree=commit, folder=".", command=("train", "{seed}"), seed=seed, inputs=(), environment=(),
            executor="process", fingerprint="here", timeout=1.0, project="p",
        )  # fmt: skip

    def run(self, job: Job, *, cancelled: Callable[[], bool] = never) -> JobResult:
        side = job.commit[0]
        name = f"{side}{job.seed}"
        self.asked.append(name)
        with unitrack.init(id=name, dir="store", mode="offline") as run:
            for step in range(200):
                run.log({"acc": self.level[side] + NOISE[job.seed] * (side == "c")}, step=step)
        result = JobResult(key=job.key, commit=job.commit, seed=job.seed, ok=True, run=name, seconds=1.5, log="log")
        return msgspec.structs.replace(result, **self.told.get(side, {}))


class Silent:
    def started(self, side: str, seed: int) -> None: ...

    def ended(self, side: str, seed: int, result: JobResult) -> None: ...

    def dropped(self, side: str, seed: int) -> None: ...


def opened(run: str) -> RunView:
    return unitrack.get_run(run, dir="store")


@pytest.fixture(autouse=True)
def uncaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITRACK_CAPTURE", "[]")


def judged(runner: Trained, plan: Plan = PLAN) -> Verdict:
    course = pursue(plan, in_turns(plan, runner, Silent()), open_run=opened)
    return conclude(plan, course, Surroundings(created=1.7e9, version="0.1.0", key="k" * 64))


def test_the_sides_are_trained_in_turns_and_no_longer_than_something_is_open() -> None:
    runner = Trained(c=0.95, b=0.9)
    verdict = judged(runner)
    assert verdict.outcome == "pass"
    assert runner.asked[:4] == ["c0", "b0", "c1", "b1"]
    assert len(runner.asked) == 2 * len(verdict.seeds) < 2 * len(PLAN.seeds)
    assert verdict.cost == Cost(seconds=1.5 * len(runner.asked), trained=len(runner.asked), cached=0)


def test_what_makes_pairs_ahead_is_told_that_no_more_are_wanted() -> None:
    ended = []

    def pairs() -> Iterator[Pair]:
        try:
            yield from in_turns(PLAN, Trained(c=0.95, b=0.9), Silent())
        finally:
            ended.append(True)

    pursue(PLAN, pairs(), open_run=opened)
    assert ended == [True]


def test_without_a_baseline_one_training_says_that_there_is_nothing_to_compare() -> None:
    runner = Trained(c=0.9)
    nobody = Contender(commit="", reference="m@production")
    verdict = judged(runner, msgspec.structs.replace(PLAN, baseline=nobody, missing="there is none"))
    assert runner.asked == ["c0"]
    assert (verdict.outcome, verdict.metrics[0].cause) == ("undecided", "baseline_missing")


def test_jobs_on_unlike_machines_pass_nothing_though_their_runs_captured_no_hardware() -> None:
    runner = Trained(c=0.95, b=0.9)
    runner.told = {"c": {"hardware": "x86_64, Xeon"}, "b": {"hardware": "x86_64, EPYC"}}
    verdict = judged(runner)
    assert (verdict.outcome, verdict.metrics[0].cause) == ("undecided", "unlike_hardware")
    assert "x86_64, Xeon against x86_64, EPYC" in verdict.metrics[0].reason
    assert ("hardware", "class") in [(change.kind, change.name) for change in verdict.lineage.changes]


@pytest.mark.parametrize("image", [f"sha256:{'a' * 64}", None])
def test_recorded_runs_of_another_image_or_of_none_pass_nothing(image: str | None) -> None:
    runner = Trained(c=0.95, b=0.9)
    here = {"hardware": "x86_64, EPYC"}
    runner.told = {"b": {"image": image, **here}, "c": {"image": f"sha256:{'c' * 64}", **here}}
    recorded = {seed: runner.run(runner.job(PLAN.baseline.commit, seed)) for seed in PLAN.seeds}
    verdict = judged(runner, msgspec.structs.replace(PLAN, mode="recorded", recorded=recorded))
    assert (verdict.outcome, verdict.metrics[0].cause) == ("undecided", "unlike_hardware")
    (change,) = [change for change in verdict.lineage.changes if change.kind == "image"]
    assert (change.baseline, change.candidate) == (image or "none", f"sha256:{'c' * 64}")


def test_no_pairs_are_no_evidence() -> None:
    with pytest.raises(EvidenceError, match="no pair was trained"):
        pursue(PLAN, [], open_run=opened)


def test_a_fail_names_metric_difference_margin_seeds_cause_and_command() -> None:
    verdict = judged(Trained(c=0.7, b=0.9))
    (acc,) = verdict.metrics
    assert verdict.outcome == "fail"
    assert "acc" in verdict.summary
    assert acc.mean == pytest.approx(-0.2, abs=0.01)
    assert acc.lower is not None
    assert acc.margin == 0.02
    assert verdict.seeds == tuple(run.seed for run in verdict.candidate.runs)
    assert verdict.lineage.likely_cause
    assert verdict.reproduce == f"unitrack gate --candidate {'c' * 40} --baseline {'b' * 40} --use-seeds 0,1,2,3"


def test_the_verdict_comes_back_as_it_was() -> None:
    verdict = judged(Trained(c=0.7, b=0.9))
    assert decode(encode(verdict)) == verdict


def test_curves_are_thinned_and_bounded() -> None:
    verdict = judged(Trained(c=0.7, b=0.9))
    assert {len(curve.steps) for curve in verdict.curves} == {60}
    assert {(curve.steps[0], curve.steps[-1]) for curve in verdict.curves} == {(0.0, 199.0)}
    many = Policy(model="m", metrics=tuple(MetricPolicy(name="acc", goal="maximize") for _ in range(500)))
    views = {seed: opened("c0") for seed in range(5)}
    points = sum(len(curve.steps) for curve in curves_of(many, views, views))
    assert points <= 40_000


# -- keys -----------------------------------------------------------------------------------------------------


def test_a_key_changes_with_everything_a_verdict_depends_on() -> None:
    runner = Trained()
    jobs = [runner.job("c", 0), runner.job("b", 0)]
    other = msgspec.structs.replace(jobs[0], fingerprint="there")
    series = {
        series_of("p", jobs, mode="rerun", evaluation=None),
        series_of("q", jobs, mode="rerun", evaluation=None),
        series_of("p", jobs, mode="recorded", evaluation=None),
        series_of("p", jobs, mode="rerun", evaluation="e"),
        series_of("p", [other, jobs[1]], mode="rerun", evaluation=None),
    }
    assert len(series) == 5
    questions = {
        question_of("s", jobs, (0,)),
        question_of("s", jobs, (0, 1)),
        question_of("s", jobs, (0,), repetition=1),
    }
    assert len(questions) == 3
    keys = {verdict_key("q", 1, {}), verdict_key("q", 2, {}), verdict_key("r", 1, {})}
    assert len(keys) == 3


def test_attempts_together_spend_at_most_twice_the_level() -> None:
    levels = [spent(POLICY, attempt).pass_level for attempt in range(1, 20)]
    assert levels[0] == POLICY.pass_level
    assert sum(levels) <= 2 * POLICY.pass_level


def test_attempts_are_remembered_in_order(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, "s" * 64)
    assert (attempts.number("a"), attempts.fresh_seeds(2, (0, 1))) == (1, (2, 3))
    attempts.remember(Attempt(question="a", seeds=(0, 1), key="k"))
    attempts.remember(Attempt(question="b", seeds=(2, 3), key="l"))
    again = Attempts(tmp_path, "s" * 64)
    assert (again.number("a"), again.number("b"), again.number("c")) == (1, 2, 3)
    assert (again.key_of("a"), again.key_of("c")) == ("k", None)
    assert again.fresh_seeds(2, (0, 1)) == (4, 5)


# -- earlier noise --------------------------------------------------------------------------------------------


def kept(key: str, **changed: object) -> None:
    """Put the verdict of a gate into the store, changed where told."""
    tree = json.loads(encode(judged(Trained(c=0.7, b=0.9))))
    for metric in tree["metrics"]:
        metric["decision"] = "undecided"
    path = verdict_path(Path("store"), key)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**tree, **changed}))


def earlier(*, place: str = "process: here", without: tuple[str, ...] = ()) -> int:
    found = earlier_differences(Path("store"), POLICY, place=place, evaluated=False, without=without)
    return len(found["acc"])


def test_the_differences_of_earlier_gates_of_like_place_and_model_are_found() -> None:
    kept("one")
    assert earlier() == 1
    assert earlier(place="process: elsewhere") == 0
    assert earlier(place="") == 0


def rewrite(key: str, **fields: Any) -> None:
    path = verdict_path(Path("store"), key)
    tree = json.loads(path.read_text())
    for metric in tree["metrics"]:
        metric.update(fields)
    path.write_text(json.dumps(tree))


def test_differences_that_are_but_rounding_are_no_history() -> None:
    kept("one")
    rewrite("one", differences=[0.0, 1e-16, 2e-16])
    assert earlier() == 0


def test_what_failed_is_no_history() -> None:
    """Otherwise the noise of a broken training would forgive it the second time."""
    kept("one")
    rewrite("one", decision="fail")
    assert earlier() == 0


def test_a_gates_own_jobs_are_no_history() -> None:
    kept("one")
    assert earlier(without=(Trained().job("c" * 40, 0).key,)) == 0


@pytest.mark.parametrize(
    "changed", [{"mode": "recorded"}, {"place": "x"}, {"evaluated_by": "d"}, {"metrics": "none"}, {"created": None}]
)
def test_gates_that_measured_otherwise_or_cannot_be_read_tell_nothing(changed: dict[str, object]) -> None:
    kept("one", **changed)
    assert earlier() == 0


def test_two_places_are_none() -> None:
    assert place_of({"a": "x", "b": "x"}) == "x"
    assert place_of({"a": "x", "b": "y"}) == ""
