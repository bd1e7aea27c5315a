"""Hostile evidence: whatever is forged, cut, swapped or left out, no gate ends in a pass."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest

import unitrack
from unitrack.errors import EvidenceError
from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.decision import MetricDecision
from unitrack.gate.engine import Contender, Course, Pair, Plan, Surroundings, conclude, pursue
from unitrack.gate.lineage import Lineage
from unitrack.gate.policy import MetricPolicy, Policy, policy_digest
from unitrack.gate.verdict import (
    Requirement,
    SeedRun,
    Subject,
    Verdict,
    Waiver,
    decode,
    encode,
    exit_code,
    outcome_of,
)
from unitrack.rerun.job import JobResult

SEEDS = (0, 1, 2, 3, 4)
BASELINE = (0.900, 0.904, 0.897, 0.902, 0.899)
WORSE = (0.801, 0.806, 0.795, 0.803, 0.800)
LIKE = (0.901, 0.903, 0.899, 0.902, 0.900)
NOW = 1.7e9
Tree = dict[str, Any]


def verdict(candidate: tuple[float, ...] = WORSE, **fields: Any) -> Verdict:
    """A whole verdict, as a gate would write it."""
    rules = (
        MetricPolicy(name="acc", goal="maximize", margin=0.01),
        MetricPolicy(name="f1", goal="maximize", margin=0.5),
    )
    policy = fields.pop("policy", Policy(model="m", metrics=rules))
    evidence = [
        MetricEvidence(rule=rule, seeds=SEEDS, candidate=candidate, baseline=BASELINE) for rule in policy.metrics
    ]
    decisions = decide(policy, evidence, pairs_max=len(SEEDS))
    requirements = fields.get("requirements", ())
    outcome = outcome_of(decisions, requirements)
    whole: Tree = {
        "outcome": outcome,
        "summary": "Judged.",
        "key": "a" * 64,
        "blocks": outcome == "fail",
        "seeds_planned": 5,
        "created": NOW,
        "unitrack": "0.1.0",
        "policy": policy,
        "policy_sha256": policy_digest(policy),
        "policy_source": "unitrack.toml",
        "candidate": Subject(commit="c" * 40, reference="HEAD", runs=runs("c")),
        "baseline": Subject(commit="b" * 40, reference="m@production", runs=runs("b")),
        "seeds": SEEDS,
        "metrics": decisions,
        "lineage": Lineage(likely_cause="Nothing."),
        "reproduce": "unitrack gate",
    }
    return Verdict(**{**whole, **fields})


def runs(side: str) -> tuple[SeedRun, ...]:
    return tuple(SeedRun(seed=seed, run=f"{side}{seed}", job=side * 8) for seed in SEEDS)


def at(tree: Tree, path: str) -> tuple[Any, Any]:
    """Return the holder and the last key of a dotted path."""
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parts:
        tree = tree[part]  # type: ignore[index]
    return tree, last


def put(values: Mapping[str, Any], *, sign: bool = False) -> Callable[[Tree], None]:
    """Set values by dotted path; `sign` writes the policy's new digest, too."""

    def change(tree: Tree) -> None:
        for path, value in values.items():
            holder, last = at(tree, path)
            holder[last] = value
        if sign:
            tree["policy_sha256"] = policy_digest(msgspec.convert(tree["policy"], Policy))

    return change


def drop(*paths: str, sign: bool = False) -> Callable[[Tree], None]:
    """Take values out by dotted path."""

    def change(tree: Tree) -> None:
        for path in paths:
            holder, last = at(tree, path)
            del holder[last]
        if sign:
            tree["policy_sha256"] = policy_digest(msgspec.convert(tree["policy"], Policy))

    return change


PASS = {"outcome": "pass", "blocks": False, "metrics.0.decision": "pass", "metrics.0.cause": "within_margin"}
GOOD = {
    "id": "w-1",
    "metric": "acc",
    "scope": "main",
    "reason": "r",
    "who": "w",
    "created": NOW - 9,
    "expires": NOW + 9,
}
WAIVED = {"outcome": "pass", "blocks": False, "metrics.0.waived": "w-1"}

FORGED: dict[str, Callable[[Tree], None]] = {
    "outcome_says_pass": put({"outcome": "pass"}),
    "outcome_says_undecided": put({"outcome": "undecided"}),
    "a_fail_that_does_not_block": put({"blocks": False}),
    "decision_and_outcome_say_pass": put({"outcome": "pass", "metrics.0.decision": "pass"}),
    "decision_cause_and_reason_say_pass": put({**PASS, "metrics.0.reason": "Fine."}),
    "decision_says_reported": put({"outcome": "pass", "metrics.0.decision": "reported"}),
    "margin_widened_in_the_metric": put({**PASS, "metrics.0.margin": 0.5}),
    "margin_widened_in_the_policy": put({**PASS, "policy.metrics.0.margin": 0.5}),
    "margin_widened_and_signed_without_its_numbers": put({"policy.metrics.0.margin": 0.5}, sign=True),
    "levels_widened_in_the_policy": put({"policy.fail_level": 0.0}),
    "goal_turned_in_the_metric": put({**PASS, "metrics.0.goal": "minimize"}),
    "goal_turned_and_signed": put({"policy.metrics.0.goal": "minimize", "metrics.0.goal": "minimize"}, sign=True),
    "role_made_report_in_the_metric": put({**PASS, "metrics.0.role": "report"}),
    "role_made_report_and_signed": put({"outcome": "pass", "policy.metrics.0.role": "report"}, sign=True),
    "all_roles_made_report_and_signed": put(
        {
            "outcome": "pass",
            "policy.metrics.0.role": "report",
            "metrics.0.role": "report",
            "policy.metrics.1.role": "report",
            "metrics.1.role": "report",
        },
        sign=True,
    ),
    "candidate_values_made_good": put({**PASS, "metrics.0.candidate": list(LIKE)}),
    "baseline_values_made_bad": put({**PASS, "metrics.0.baseline": list(WORSE)}),
    "differences_made_zero": put({**PASS, "metrics.0.differences": [0.0] * 5}),
    "mean_made_zero": put({**PASS, "metrics.0.mean": 0.0}),
    "interval_made_narrow": put({**PASS, "metrics.0.lower": -0.001, "metrics.0.upper": 0.001}),
    "lower_bound_of_the_fail_moved": put({"metrics.0.lower": -0.001}),
    "p_of_the_fail_moved": put({"metrics.0.p_fail": 0.5}),
    "cause_of_the_fail_changed": put({"metrics.0.cause": "noise"}),
    "failed_metric_deleted": drop("metrics.0"),
    "failed_metric_deleted_with_its_rule": drop("metrics.0", "policy.metrics.0"),
    "every_metric_deleted_and_signed": put({"outcome": "pass", "metrics": [], "policy.metrics": []}, sign=True),
    "metric_named_twice": lambda tree: tree["metrics"].append(tree["metrics"][1]),
    "metrics_swapped": lambda tree: tree["metrics"].reverse(),
    "metric_renamed": put({"metrics.0.name": "acc "}),
    "one_seed_deleted_from_the_list": put({"seeds": [0, 1, 2, 3]}),
    "one_value_deleted": drop("metrics.0.candidate.4"),
    "a_seed_twice": put({"seeds": [0, 1, 2, 3, 3]}),
    "seeds_swapped": put({"seeds": [1, 0, 2, 3, 4]}),
    "seeds_of_a_side_swapped": put({"candidate.runs.0.seed": 1, "candidate.runs.1.seed": 0}),
    "no_seeds": put({"seeds": []}),
    "seeds_that_are_texts": put({"seeds": ["0", "1", "2", "3", "4"]}),
    "a_seed_beyond_64_bits": put({"seeds": [0, 1, 2, 3, 2**70]}),
    "more_seeds_than_planned": put({"seeds_planned": 3}),
    "one_run_for_two_seeds": put({"candidate.runs.1.run": "c0"}),
    "the_baselines_runs_as_the_candidates": put({f"candidate.runs.{seed}.run": f"b{seed}" for seed in SEEDS}),
    "a_run_of_the_candidate_missing": drop("candidate.runs.4"),
    "no_runs_of_the_baseline": put({"baseline.runs": []}),
    "no_commit_of_the_candidate": put({"candidate.commit": ""}),
    "no_commit_of_a_baseline_that_has_runs": put({"baseline.commit": ""}),
    "waived_by_nothing": put(WAIVED),
    "waived_by_a_waiver_of_another_metric": put({**WAIVED, "waivers": [{**GOOD, "metric": "f1"}]}),
    "waived_by_an_expired_waiver": put({**WAIVED, "waivers": [{**GOOD, "expires": NOW - 1}]}),
    "waived_by_a_waiver_to_come": put({**WAIVED, "waivers": [{**GOOD, "created": NOW + 4000, "expires": NOW + 5000}]}),
    "a_waiver_that_waives_nothing": put({"waivers": [GOOD]}),
    "values_that_are_not_a_number": put({**PASS, "metrics.0.candidate": ["NaN"] * 5}),
    "values_that_are_infinite": put({**PASS, "metrics.0.candidate": ["Infinity"] * 5}),
    "values_that_are_missing": put({**PASS, "metrics.0.candidate": [None] * 5}),
    "values_that_overflow": put({**PASS, "metrics.0.candidate": [1e308] * 5}),
    "values_that_are_words": put({"metrics.0.candidate": ["good"] * 5}),
    "made_before_time": put({"created": -1.0}),
    "made_yesterday_in_words": put({"created": "yesterday"}),
    "of_an_older_schema": put({"schema": 1}),
    "of_a_later_schema": put({"schema": 3}),
    "attempt_zero": put({"attempt": 0}),
    "recorded_where_the_policy_reruns": put({"mode": "recorded"}),
    "evaluated_by_nobody_known": put({"evaluated_by": "d" * 40}),
    "measured_by_a_run_it_does_not_own_up_to": put({"candidate.runs.0.evaluation": "x"}),
    "a_requirement_the_policy_does_not_make": put({"requirements": [{"name": "x", "satisfied": True, "evidence": ""}]}),
    "a_requirement_not_answered": put({"policy.require": ["seeds"]}, sign=True),
    "an_outcome_nobody_knows": put({"outcome": "maybe"}),
    "metrics_that_are_no_list": put({"metrics": {}}),
    "no_policy": drop("policy"),
    "no_lineage": drop("lineage"),
    "no_metrics": drop("metrics"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_verdict_is_refused(name: str) -> None:
    tree = json.loads(encode(verdict()))
    FORGED[name](tree)
    with pytest.raises(EvidenceError) as caught:
        decode(json.dumps(tree).encode())
    assert caught.value.exit_code == 4


def test_the_corpus_forges_a_verdict_that_is_accepted_as_it_is() -> None:
    for whole in (verdict(), verdict(LIKE)):
        assert decode(encode(whole)) == whole
    assert (verdict().outcome, verdict(LIKE).outcome) == ("fail", "pass")


WHOLE = encode(verdict(LIKE))

BYTES: dict[str, bytes] = {
    "empty": b"",
    "cut_in_the_middle": WHOLE[: len(WHOLE) // 2],
    "cut_before_the_last_brace": WHOLE.rstrip()[:-1],
    "followed_by_more": WHOLE + WHOLE,
    "compressed": gzip.compress(WHOLE, mtime=0),
    "in_utf_16": WHOLE.decode().encode("utf-16"),
    "with_a_byte_that_is_no_text": WHOLE.replace(b"Judged", b"Jud\xffed"),
    "with_a_bare_nan": WHOLE.replace(b'"created": 1700000000.0', b'"created": NaN'),
    "with_a_number_beyond_all_floats": WHOLE.replace(b'"created": 1700000000.0', b'"created": 1e999'),
    "with_a_second_outcome": WHOLE.rstrip()[:-1] + b', "outcome": "fail"}',
    "nested_deeper_than_any_reader": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "larger_than_any_verdict": b" " * ((16 << 20) + 1),
    "a_list": b"[" + WHOLE + b"]",
    "nothing_but_a_word": b'"pass"',
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_verdict_are_refused(name: str) -> None:
    with pytest.raises(EvidenceError):
        decode(BYTES[name])


PASSING: dict[str, Callable[[Tree], None]] = {
    "on_unlike_hardware": put(
        {"lineage.changes": [{"kind": "hardware", "name": "cpu", "baseline": "EPYC", "candidate": "Xeon"}]}
    ),
    "without_a_baseline": put({"baseline": {"commit": "", "reference": "m@production", "runs": []}}),
    "with_a_seed_of_the_baseline_missing": drop("baseline.runs.4"),
    "with_a_harder_attempt_s_numbers": put({"attempt": 21}),
    "with_an_unmet_requirement": put(
        {"policy.require": ["seeds"], "requirements": [{"name": "seeds", "satisfied": False, "evidence": ""}]},
        sign=True,
    ),
    "with_a_margin_of_zero_signed": put({"policy.metrics.0.margin": 0.0}, sign=True),
    "with_a_waiver_it_does_not_need": put({"metrics.0.waived": "w-1", "waivers": [GOOD]}),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_verdict_does_not_survive(name: str) -> None:
    tree = json.loads(encode(verdict(LIKE)))
    PASSING[name](tree)
    with pytest.raises(EvidenceError):
        decode(json.dumps(tree).encode())


# -- runs -----------------------------------------------------------------------------------------------------

POLICY = Policy(model="m", metrics=(MetricPolicy(name="acc", goal="maximize", margin=0.02),))
PLAN = Plan(
    policy=POLICY,
    policy_source="unitrack.toml",
    candidate=Contender(commit="c" * 40, reference="HEAD"),
    baseline=Contender(commit="b" * 40, reference="m@production"),
    seeds=(0, 1, 2),
)
GOOD_RUN = [{"acc": 0.8}, {"acc": 0.9}]


def log(name: str, lines: Iterable[Mapping[str, Any]], *, summary: Mapping[str, Any] = {}) -> None:
    with unitrack.init(id=name, dir="store", mode="offline", config={}) as run:
        for step, line in enumerate(lines):
            run.log(dict(line), step=step)
        for key, value in summary.items():
            run.summary[key] = value


def result(run: str, seed: int, **fields: Any) -> JobResult:
    whole = {"key": run, "commit": run[0] * 40, "seed": seed, "ok": True, "run": run, "seconds": 1.0, "log": "log"}
    return JobResult(**{**whole, **fields})


def pairs(**changed: JobResult | None) -> list[Pair]:
    """Three pairs of the plan; `changed` replaces a side's result by name, such as c1."""
    made = []
    for seed in PLAN.seeds:
        sides = [changed.get(f"{side}{seed}", result(f"{side}{seed}", seed)) for side in "cb"]
        made.append(Pair(seed=seed, candidate=sides[0], baseline=sides[1]))  # type: ignore[arg-type]
    return made


def judged(plan: Plan, given: Iterable[Pair]) -> Verdict:
    course: Course = pursue(plan, given, open_run=lambda run: unitrack.get_run(run, dir="store"))
    made = conclude(plan, course, Surroundings(created=NOW, version="0.1.0", key="k" * 64))
    return decode(encode(made))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITRACK_CAPTURE", "[]")
    for seed in PLAN.seeds:
        log(f"b{seed}", GOOD_RUN)


LOGGED: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "the_metric_deleted": ([{"loss": 0.1}], {}),
    "the_metric_renamed_with_a_space": ([{"acc ": 0.99}], {}),
    "the_metric_renamed_with_a_look_alike": ([{"\u0430cc": 0.99}], {}),
    "the_metric_in_other_case": ([{"ACC": 0.99}], {}),
    "the_metric_under_a_folder": ([{"val/acc": 0.99}], {}),
    "the_last_value_not_a_number": ([{"acc": 0.9}, {"acc": math.nan}], {}),
    "the_last_value_infinite": ([{"acc": 0.9}, {"acc": math.inf}], {}),
    "the_last_value_overflowing": ([{"acc": 0.9}, {"acc": 1e300}], {}),
    "a_kinder_summary_by_hand": ([{"acc": 0.9}, {"acc": 0.5}], {"acc": 0.99}),
    "a_word_for_a_number": ([{"loss": 0.1}], {"acc": "0.99"}),
    "a_table_for_a_number": ([{"loss": 0.1}], {"acc": {"value": 0.99}}),
    "nothing_at_all": ([], {}),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", LOGGED)
def test_a_candidate_that_logged(name: str) -> None:
    lines, summary = LOGGED[name]
    for seed in PLAN.seeds:
        log(f"c{seed}", lines, summary=summary)
    verdict = judged(PLAN, pairs())
    assert verdict.outcome == "fail"
    assert exit_code(verdict) == 1


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["one_seed_s_metric_deleted", "the_baseline_s_metric_deleted"])
def test_gaps_in_one_place_end_closed(name: str) -> None:
    for seed in PLAN.seeds:
        log(f"c{seed}", [{"acc": 0.7 + seed / 100}])
    log("gap", [{"loss": 1.0}])
    side = "c1" if name.startswith("one_seed") else "b0"
    assert judged(PLAN, pairs(**{side: result("gap", int(side[1]))})).outcome in ("fail", "undecided")


PAIRS: dict[str, Callable[[], list[Pair]]] = {
    "no_pairs": list,
    "seeds_swapped": lambda: [pairs()[1], pairs()[0]],
    "a_seed_left_out": lambda: pairs()[1:],
    "a_seed_repeated": lambda: [pairs()[0], pairs()[0]],
    "one_run_for_two_seeds": lambda: pairs(c1=result("c0", 1)),
    "the_baselines_run_of_another_seed": lambda: pairs(b1=result("b0", 1)),
    "a_training_that_failed": lambda: pairs(c0=result("c0", 0, ok=False, reason="it ended with exit code 1")),
    "a_run_that_is_not_there": lambda: pairs(c0=result("gone", 0)),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_were_tampered_with_are_no_evidence(name: str) -> None:
    for seed, value in zip(PLAN.seeds, (0.91, 0.93, 0.85), strict=True):
        log(f"c{seed}", [{"acc": value}])
    with pytest.raises(unitrack.errors.UnitrackError) as caught:
        judged(PLAN, PAIRS[name]())
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("store")
def test_a_baseline_that_no_longer_trains_never_passes() -> None:
    log("c0", GOOD_RUN)
    verdict = judged(PLAN, pairs(b0=result("b0", 0, ok=False, reason="gone")))
    assert (verdict.outcome, verdict.blocks, exit_code(verdict)) == ("undecided", True, 4)


@pytest.mark.usefixtures("store")
def test_names_that_are_markup_or_commands_stay_names() -> None:
    name = "acc`|</td><script>\n::error::@all \u202e"
    policy = Policy(model="m", metrics=(MetricPolicy(name=name, goal="maximize", margin=0.02),))
    plan = msgspec.structs.replace(PLAN, policy=policy)
    for seed in PLAN.seeds:
        log(f"c{seed}", [{name: 0.5}])
        log(f"d{seed}", [{name: 0.9}])
    verdict = judged(plan, pairs(**{f"b{seed}": result(f"d{seed}", seed) for seed in PLAN.seeds}))
    assert verdict.outcome == "fail"
    assert verdict.metrics[0].name == name


def test_requirements_outweigh_good_numbers() -> None:
    decisions: tuple[MetricDecision, ...] = verdict(LIKE).metrics
    lacking = Requirement(name="seeds", satisfied=False, evidence="")
    assert outcome_of(decisions, [lacking]) == "fail"


def test_a_waiver_that_holds_is_shown_and_lets_only_its_metric_through() -> None:
    whole = verdict()
    waived = [msgspec.structs.replace(whole.metrics[0], waived="w-1"), *whole.metrics[1:]]
    shown = msgspec.structs.replace(
        whole, metrics=tuple(waived), waivers=(msgspec.convert(GOOD, Waiver),), outcome="pass", blocks=False
    )
    assert decode(encode(shown)).waivers[0].reason == "r"


def test_the_corpus_is_large_enough() -> None:
    assert len(FORGED) + len(BYTES) + len(PASSING) + len(LOGGED) + len(PAIRS) >= 100
