from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import ConfigError
from unitrack.gate.decide import MetricEvidence, decide, overall
from unitrack.gate.decision import MetricDecision
from unitrack.gate.policy import MetricPolicy, Policy

NAN = math.nan


def rule(**changes: object) -> MetricPolicy:
    return MetricPolicy(**{"name": "acc", "goal": "maximize", "margin": 0.02, **changes})  # type: ignore[arg-type]


def judge(
    candidate: list[float | None],
    baseline: list[float | None],
    *,
    unlike: str | None = None,
    **changes: object,
) -> MetricDecision:
    metric = rule(**changes)
    evidence = MetricEvidence(
        rule=metric, seeds=tuple(range(len(candidate))), candidate=tuple(candidate), baseline=tuple(baseline)
    )
    (decision,) = decide(Policy(model=None, metrics=(metric,)), [evidence], unlike_hardware=unlike)
    return decision


BASE: list[float | None] = [0.90, 0.91, 0.89, 0.92, 0.90]


def shifted(by: float, noise: float = 0.001) -> list[float | None]:
    return [b + by + noise * (-1) ** i for i, b in enumerate(BASE) if b is not None]


def test_a_candidate_as_good_as_the_baseline_passes() -> None:
    decision = judge(shifted(0.0), BASE)
    assert (decision.decision, decision.cause) == ("pass", "within_margin")
    assert decision.lower is not None
    assert decision.lower > -0.02


def test_a_loss_beyond_the_margin_fails_with_its_figures() -> None:
    decision = judge(shifted(-0.05), BASE)
    assert (decision.decision, decision.cause) == ("fail", "beyond_margin")
    assert decision.mean == pytest.approx(-0.05, abs=1e-3)
    assert decision.p_fail is not None
    assert decision.p_fail < 0.01


def test_a_significant_loss_within_the_margin_passes_and_says_so() -> None:
    decision = judge(shifted(-0.01, noise=0.0005), BASE)
    assert decision.decision == "pass"
    assert "worse, but by less than the margin" in decision.reason


def test_noise_leaves_it_undecided_with_what_could_be_detected() -> None:
    decision = judge(shifted(-0.005, noise=0.05), BASE)
    assert (decision.decision, decision.cause) == ("undecided", "noise")
    assert decision.detectable is not None
    assert decision.detectable > 0.02
    assert f"detect a drop of {decision.detectable:.3g}" in decision.reason
    assert decision.seeds_needed is not None
    assert f"about {decision.seeds_needed} seeds" in decision.reason


def test_a_big_but_noisy_loss_is_not_failed_without_proof() -> None:
    assert judge([0.6, 0.95, 0.9], [0.9, 0.9, 0.9]).decision == "undecided"


def test_equal_results_pass_even_with_one_seed_and_no_margin_to_spare() -> None:
    assert judge([0.9], [0.9], margin=0.0).cause == "equal"
    assert judge(BASE, BASE).decision == "pass"


def test_one_seed_that_differs_is_undecided_however_large_the_gain_or_loss() -> None:
    for value in (0.1, 0.899, 0.99):
        decision = judge([value], [0.9])
        assert (decision.decision, decision.cause) == ("undecided", "one_seed")


@pytest.mark.parametrize(("drop", "expected"), [(0.01, "pass"), (0.02, "pass"), (0.021, "fail"), (-0.5, "pass")])
def test_training_without_noise_is_judged_by_the_margin_without_a_p_value(drop: float, expected: str) -> None:
    decision = judge([0.9 - drop, 0.8 - drop, 0.7 - drop], [0.9, 0.8, 0.7])
    assert decision.decision == expected
    assert decision.p_pass is decision.p_fail is decision.lower is None


def test_for_a_loss_less_is_better() -> None:
    worse = [1.2, 1.21, 1.19, 1.2, 1.2]
    base: list[float | None] = [1.0, 1.01, 0.99, 1.0, 1.005]
    assert judge(worse, base, goal="minimize").decision == "fail"
    assert judge(base, worse, goal="minimize").decision == "pass"


def test_a_relative_margin_is_a_fraction_of_the_baselines_mean() -> None:
    decision = judge([99.0, 98.0], [100.0, 100.0], margin=None, relative_margin=0.05)
    assert decision.margin == pytest.approx(5.0)


def test_of_two_margins_the_smaller_holds() -> None:
    assert judge(BASE, BASE, margin=0.02, relative_margin=0.5).margin == 0.02
    assert judge(BASE, BASE, margin=0.02, relative_margin=0.01).margin == pytest.approx(0.00904)


def test_what_the_candidate_did_not_log_fails() -> None:
    decision = judge([0.9, None, 0.9], [0.9, 0.9, 0.9])
    assert (decision.decision, decision.cause) == ("fail", "candidate_missing")
    assert "seed 1" in decision.reason


def test_a_metric_neither_side_logged_fails_and_asks_for_its_name() -> None:
    decision = judge([None, None], [None, None])
    assert decision.decision == "fail"
    assert "is the name right?" in decision.reason


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf, 1e200])
def test_a_candidate_that_is_not_finite_fails_even_where_that_is_the_better_end(bad: float) -> None:
    for goal in ("maximize", "minimize"):
        decision = judge([0.9, bad], [0.9, 0.9], goal=goal)
        assert (decision.decision, decision.cause) == ("fail", "candidate_not_finite")


def test_a_baseline_without_the_metric_leaves_it_undecided_with_a_remedy() -> None:
    decision = judge([0.9, 0.9], [None, None])
    assert (decision.decision, decision.cause) == ("undecided", "baseline_missing")
    assert "name a baseline that logs it" in decision.reason


def test_a_baseline_that_diverged_leaves_it_undecided() -> None:
    decision = judge([0.9, 0.9], [0.9, NAN])
    assert (decision.decision, decision.cause) == ("undecided", "baseline_not_finite")
    assert decision.baseline == (0.9, "NaN")


def test_on_unlike_hardware_nothing_passes_and_a_fail_stays_a_fail() -> None:
    decision = judge(BASE, BASE, unlike="gpu A100 against T4")
    assert (decision.decision, decision.cause) == ("undecided", "unlike_hardware")
    assert "gpu A100 against T4" in decision.reason
    assert judge(shifted(-0.05), BASE, unlike="gpu A100 against T4").decision == "fail"


@pytest.mark.parametrize("candidate", [[0.1, 0.2, 0.1], [None, None, None], [NAN, 0.1, 0.2], [0.9, 0.9, 0.9]])
def test_a_reported_metric_is_shown_and_never_decides(candidate: list[float | None]) -> None:
    reported = judge(candidate, [0.9, 0.9, 0.9], role="report", margin=None)
    assert reported.decision == "reported"
    assert overall([reported, judge(BASE, BASE)]) == "pass"
    with pytest.raises(ConfigError, match="no metric can fail"):
        overall([reported])


def test_one_fail_fails_and_one_undecided_leaves_it_open() -> None:
    good, bad, open_ = judge(BASE, BASE), judge(shifted(-0.1), BASE), judge([0.9], [0.95])
    assert overall([good, good]) == "pass"
    assert overall([good, open_]) == "undecided"
    assert overall([good, open_, bad]) == "fail"


@pytest.mark.parametrize("role", ["target", "guardrail", "budget"])
def test_targets_guardrails_and_budgets_gate(role: str) -> None:
    assert judge(shifted(-0.1), BASE, role=role).decision == "fail"


def test_evidence_without_seeds_or_with_one_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="each once"):
        MetricEvidence(rule=rule(), seeds=(), candidate=(), baseline=())
    with pytest.raises(ValueError, match="each once"):
        MetricEvidence(rule=rule(), seeds=(1, 1), candidate=(0.1, 0.1), baseline=(0.1, 0.1))
    with pytest.raises(ValueError, match="one value of each side"):
        MetricEvidence(rule=rule(), seeds=(1, 2), candidate=(0.1,), baseline=(0.1, 0.1))


finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
pairs = st.lists(st.tuples(finite, finite), min_size=1, max_size=7)
anything = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(pairs=pairs, margin=st.floats(0, 1e3))
def test_turning_the_goal_and_the_signs_around_changes_nothing(pairs: list[tuple[float, float]], margin: float) -> None:
    up = judge([c for c, _ in pairs], [b for _, b in pairs], margin=margin)
    down = judge([-c for c, _ in pairs], [-b for _, b in pairs], margin=margin, goal="minimize")
    assert (up.decision, up.cause, up.p_fail, up.lower) == (
        down.decision,
        down.cause,
        down.p_fail,
        down.lower,
    )


@given(pairs=pairs, margin=st.floats(0, 1e3), data=st.data())
def test_the_order_of_the_seeds_changes_no_final_figure(
    pairs: list[tuple[float, float]], margin: float, data: st.DataObject
) -> None:
    mixed = data.draw(st.permutations(pairs))
    first = judge([c for c, _ in pairs], [b for _, b in pairs], margin=margin)
    second = judge([c for c, _ in mixed], [b for _, b in mixed], margin=margin)
    for field in ("mean", "lower", "upper", "p_pass", "p_fail", "margin", "correlation", "detectable", "spent_pass"):
        assert getattr(first, field) == getattr(second, field)


@given(values=st.lists(st.tuples(anything, anything), min_size=1, max_size=5), margin=st.floats(0, 1e9))
def test_nothing_passes_with_a_gap_in_its_evidence(
    values: list[tuple[float | None, float | None]], margin: float
) -> None:
    decision = judge([c for c, _ in values], [b for _, b in values], margin=margin)
    if any(value is None or not math.isfinite(value) for pair in values for value in pair):
        assert decision.decision != "pass"


@given(pairs=pairs, margin=st.floats(0, 1e3))
def test_a_larger_margin_never_turns_a_pass_into_a_fail(pairs: list[tuple[float, float]], margin: float) -> None:
    candidate, baseline = [c for c, _ in pairs], [b for _, b in pairs]
    if judge(candidate, baseline, margin=margin).decision == "pass":
        assert judge(candidate, baseline, margin=2 * margin + 1).decision == "pass"


@given(pairs=pairs)
def test_no_metric_passes_when_the_mean_loss_is_beyond_the_margin(pairs: list[tuple[float, float]]) -> None:
    decision = judge([c for c, _ in pairs], [b for _, b in pairs], margin=0.5)
    if decision.mean is not None and decision.mean < -0.5001:
        assert decision.decision != "pass"


def test_a_proven_loss_whose_mean_is_within_the_margin_but_whose_bound_is_not_stays_undecided() -> None:
    decision = judge([b - 0.015 + e for b, e in zip(BASE, (-0.009, 0.009, 0.0, -0.007, 0.007), strict=True)], BASE)  # type: ignore[operator]
    assert decision.p_fail is not None
    assert decision.p_fail < 0.01
    assert decision.lower is not None
    assert decision.lower < -0.02
    assert decision.decision == "undecided"
