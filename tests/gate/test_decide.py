from __future__ import annotations

import hashlib
import math
import random
import time

import msgspec
import pytest
from decisions import BASE, evidence, judge, part, rule, shifted, together
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import ConfigError
from unitrack.gate.decide import MetricEvidence, overall, settled
from unitrack.gate.decision import Noise

NAN = math.nan
DIGEST = "c54f8b7b6edb9cb43aa19f9b841918f7f6d47b62a2260760613e53606f4a4b92"


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


# -- looks -----------------------------------------------------------------------------------------------------


def test_each_look_is_kept_with_its_levels_and_what_was_spent() -> None:
    (found,) = together(evidence(shifted(-0.05), BASE), pairs_max=5)
    assert [look.n for look in found.looks] == [2, 3, 4, 5]
    assert found.decided_at == next(look.n for look in found.looks if look.p_fail <= look.fail_level)
    assert found.spent_pass == 0.05
    assert found.spent_fail is not None
    assert 0 < found.spent_fail <= 0.01
    assert (found.p_pass, found.p_fail) == (found.looks[-1].p_pass, found.looks[-1].p_fail)


def test_the_same_pairs_need_better_proof_when_more_are_to_come() -> None:
    early, last = (together(evidence(shifted(-0.05)[:3], BASE[:3]), pairs_max=most)[0] for most in (8, 3))
    assert early.looks[-1].fail_level < last.looks[-1].fail_level


def test_a_gate_is_settled_when_nothing_that_gates_is_open() -> None:
    calm, open_ = evidence(shifted(0.0)[:3], BASE[:3]), evidence([0.88, 0.93, 0.87], BASE[:3], name="f1")
    assert settled(together(calm, pairs_max=5))
    assert not settled(together(calm, open_, pairs_max=5))
    reported = evidence([0.88, 0.93, 0.87], BASE[:3], name="f1", role="report")
    assert settled(together(calm, reported, pairs_max=5))


def test_a_failed_metric_does_not_end_a_gate_that_a_waiver_may_save() -> None:
    lost, open_ = evidence([None] * 2, BASE[:2]), evidence([0.88, 0.93], BASE[:2], name="f1")
    decisions = together(lost, open_, pairs_max=5)
    assert overall(decisions) == "fail"
    assert not settled(decisions)


def test_a_waived_failure_lets_the_others_decide() -> None:
    lost, calm = together(evidence([None] * 5, BASE), evidence(shifted(0.0), BASE, name="f1"))
    waived = msgspec.structs.replace(lost, waived="w-1")
    assert overall([waived, calm]) == "pass"
    assert overall([waived, msgspec.structs.replace(calm, decision="undecided")]) == "undecided"


def test_known_noise_is_used_and_shown_and_decides_sooner() -> None:
    noisy = evidence([b + d for b, d in zip(BASE, (0.009, -0.016, 0.011), strict=False)], BASE[:3])  # type: ignore[operator]
    (without,) = together(noisy, pairs_max=5)
    (with_,) = together(noisy, pairs_max=5, noise={"acc": Noise(sd=0.008, df=20, gates=6)})
    assert (without.decision, with_.decision) == ("undecided", "pass")
    assert with_.noise == Noise(sd=0.008, df=20, gates=6)
    assert with_.looks[0].history
    assert with_.looks[0].df == 21


def test_many_metrics_share_the_error_rate_of_one_gate() -> None:
    alone = together(evidence(shifted(-0.05), BASE), pairs_max=5)[0]
    many = together(*(evidence(shifted(-0.03, 0.02), BASE, name=f"m{at}") for at in range(10)), pairs_max=5)
    assert many[0].looks[-1].fail_level < alone.looks[-1].fail_level / 8


def test_the_correlation_of_both_sides_over_seeds_is_measured() -> None:
    assert judge(shifted(0.0), BASE).correlation == pytest.approx(1.0, abs=0.02)
    assert judge([0.9, 0.9, 0.9], BASE[:3]).correlation is None
    assert judge(BASE[:2], BASE[:2]).correlation is None


# -- limits ----------------------------------------------------------------------------------------------------


def test_a_candidate_beyond_its_limit_fails_whatever_the_baseline_does() -> None:
    slow: list[float | None] = [70.2, 70.9, 71.3, 69.8, 70.5]
    found = judge(slow, [75.0, 75.5, 74.0, 76.0, 75.1], goal="minimize", role="budget", margin=None, maximum=60.0)
    assert (found.decision, found.cause) == ("fail", "out_of_bounds")
    assert "the mean is 70.8" in found.reason
    assert "the maximum 60" in found.reason
    assert (found.maximum, found.margin) == (60.0, None)


def test_a_noisy_candidate_near_its_limit_is_undecided_and_one_far_within_passes() -> None:
    limits = {"goal": "minimize", "role": "budget", "margin": None, "maximum": 60.0}
    near = judge([59.0, 61.5, 58.0, 61.0, 60.0], [60.0] * 5, **limits)
    far = judge([40.0, 41.5, 38.0, 41.0, 40.0], [60.0] * 5, **limits)
    assert (near.decision, near.cause, far.decision) == ("undecided", "noise", "pass")


def test_a_size_that_never_varies_is_compared_with_its_limit_alone() -> None:
    for size, expected in ((9.9, "pass"), (10.0, "pass"), (10.1, "fail")):
        found = judge([size] * 3, [9.5] * 3, goal="minimize", role="budget", margin=None, maximum=10.0)
        assert (found.decision, found.p_fail) == (expected, None)


def test_a_minimum_holds_together_with_a_margin() -> None:
    assert judge(shifted(0.0), BASE, minimum=0.8).decision == "pass"
    low = judge(shifted(0.0), BASE, minimum=0.95)
    assert (low.decision, low.cause) == ("fail", "out_of_bounds")
    lost = judge(shifted(-0.05), BASE, minimum=0.8)
    assert (lost.decision, lost.cause) == ("fail", "beyond_margin")


def test_a_limit_needs_no_baseline_of_its_own_but_nothing_passes_without_one_at_all() -> None:
    budget = evidence([40.0, 41.0, 39.5], [None] * 3, name="s", goal="minimize", margin=None, maximum=60.0)
    calm = evidence(shifted(0.0)[:3], BASE[:3])
    assert [one.decision for one in together(calm, budget)] == ["pass", "pass"]
    bare = evidence(shifted(0.0)[:3], [None] * 3)
    assert [one.cause for one in together(bare, budget)] == ["baseline_missing", "baseline_missing"]


# -- gaps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "decision", "outcome"),
    [("undecided", "undecided", "undecided"), ("report", "reported", "pass"), ("fail", "fail", "fail")],
)
def test_a_metric_that_only_the_candidate_logs_does_what_the_policy_says(new: str, decision: str, outcome: str) -> None:
    found = together(evidence(shifted(0.0), BASE), evidence(shifted(0.0), [None] * 5, name="f1", new=new))
    assert (found[1].decision, found[1].cause) == (decision, "new_metric")
    assert overall(found) == outcome


def test_what_only_new_metrics_could_decide_is_undecided() -> None:
    new = evidence(shifted(0.0), [None] * 5, name="f1", new="report")
    shown = evidence(shifted(0.0), BASE, role="report")
    assert overall(together(shown, new)) == "undecided"


def test_gaps_of_the_candidate_do_what_the_policy_says() -> None:
    assert judge([None, 0.9], [0.9, 0.9], missing="undecided").decision == "undecided"
    assert judge([NAN, 0.9], [0.9, 0.9], nan="undecided").decision == "undecided"
    assert judge([None, 0.9], [0.9, 0.9], nan="undecided").decision == "fail"


# -- automatic margins -----------------------------------------------------------------------------------------


def test_an_automatic_margin_says_what_it_is_and_why() -> None:
    (blind,) = together(evidence(BASE, BASE, margin="auto"), pairs_max=5)
    assert blind.margin == pytest.approx(0.00904)
    assert blind.margin_reason == "auto: 1% of the baseline's mean, for no noise is known yet"
    noise = Noise(sd=0.03, df=20, gates=7)
    (noisy,) = together(evidence(BASE, BASE, margin="auto"), pairs_max=5, noise={"acc": noise})
    assert noisy.margin == pytest.approx(2 * 0.03 / math.sqrt(5))
    assert "the noise of 7 earlier gates" in str(noisy.margin_reason)


# -- bytes and time --------------------------------------------------------------------------------------------


def gate_of(metrics: int, slices: int = 0) -> tuple[list[MetricEvidence], dict[str, Noise]]:
    draw = random.Random(11)

    def values(level: float) -> list[float | None]:
        return [round(level + draw.gauss(0, 0.01), 6) for _ in range(5)]

    made = [
        evidence(
            values(0.9 - 0.005 * (at % 4)), values(0.9), name=f"m{at}", role="target" if at < 2 else "guardrail",
            parts=tuple(part(0.001 * (1 + number), value=f"v{number}") for number in range(slices)),
        )
        for at in range(metrics)
    ]  # fmt: skip
    return made, {one.rule.name: Noise(sd=0.014, df=20, gates=5) for one in made[::2]}


def test_the_same_evidence_has_the_same_bytes_on_every_python_and_machine() -> None:
    """The digest is written here: change it only together with the rules, and raise `DECISIONS` of keys.py."""
    metrics, noise = gate_of(12)
    found = msgspec.json.encode(together(*metrics, pairs_max=5, noise=noise))
    assert hashlib.sha256(found).hexdigest() == DIGEST


def test_the_order_of_the_noise_and_of_the_metrics_changes_no_metric() -> None:
    metrics, noise = gate_of(12)
    first = {one.name: one for one in together(*metrics, pairs_max=5, noise=noise)}
    again = together(*metrics[::-1], pairs_max=5, noise=dict(reversed(noise.items())))
    assert {one.name: one for one in again} == first


def test_fifty_metrics_of_twenty_slices_are_decided_after_each_of_five_pairs_in_two_seconds() -> None:
    metrics, noise = gate_of(50, 20)
    began = time.process_time()
    for pairs in range(1, 6):
        part_ = [
            msgspec.structs.replace(
                one, seeds=one.seeds[:pairs], candidate=one.candidate[:pairs], baseline=one.baseline[:pairs]
            )
            for one in metrics
        ]
        together(*part_, pairs_max=5, noise=noise)
    assert time.process_time() - began < 2
