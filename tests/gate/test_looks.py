from __future__ import annotations

import random
from typing import Any

import pytest

from unitrack.gate.decision import Noise
from unitrack.gate.looks import RESERVE, Rates, Series, Track, follow
from unitrack.gate.spending import nominal_levels

RATES = Rates(n_max=5)
PRIOR = Noise(sd=1.0, df=20)
FINE = 0.1234567890123


def series(*differences: float, margin: float | None = 1.0, **fields: Any) -> Series:
    made: dict[str, Any] = {"metric": 0, "noise": PRIOR, **fields}
    return Series(differences=differences, margins=(margin,) * len(differences), **made)


def one(*differences: float, rates: Rates = RATES, **fields: Any) -> Track:
    (track,) = follow([series(*differences, **fields)], rates)
    return track


def test_a_gain_passes_at_the_first_look_and_a_loss_needs_more_of_them() -> None:
    gain, loss = one(2.0, 2.5, 1.9), one(-3.1, -2.9, -3.0, -3.2)
    assert (gain.state, gain.decided_at) == ("pass", 2)
    assert (loss.state, loss.decided_at) == ("fail", 3)
    assert [look.n for look in loss.looks] == [2, 3, 4]


def test_looks_hold_the_levels_that_were_needed() -> None:
    track = one(0.1, -0.2, 0.3, 0.0, -0.1, noise=None)
    strict = nominal_levels(0.01 / RESERVE / 1.2, 5, "obrien_fleming")
    assert tuple(look.fail_level for look in track.looks) == strict
    assert tuple(look.pass_level for look in track.looks) == nominal_levels(0.05 / 1.2, 5, "pocock")
    assert not any(look.history for look in track.looks)


def test_error_rates_are_used_up_with_the_pairs() -> None:
    track = one(0.1, -0.2, 0.3)
    used = [track.spent(RATES, n) for n in (1, 2, 5)]
    assert used[0] == (0.0, 0.0)
    assert 0 < used[1][0] < used[2][0] == 0.05
    assert 0 < used[1][1] < used[2][1] == pytest.approx(0.01 / RESERVE)


def test_a_loss_within_the_margin_never_fails_however_sure() -> None:
    assert one(*[-0.5 + 0.001 * at for at in range(5)], noise=None).state == "pass"
    assert one(*[-0.999 + 0.0001 * at for at in range(5)], margin=0.9992, noise=None).state != "fail"


def test_a_later_fail_overturns_a_pass_but_no_pass_a_fail() -> None:
    assert one(2.0, 2.0, -9.0, -9.0, -9.0, noise=Noise(sd=0.5, df=40)).state != "pass"
    turned = one(-4.0, -4.1, -3.9, 9.0, 9.0)
    assert (turned.state, turned.decided_at) == ("fail", 2)


def test_a_pass_that_later_pairs_belie_is_taken_back() -> None:
    track = one(0.5, 0.4, -2.0, -2.0, -2.0, noise=Noise(sd=1.0, df=40), margin=1.0)
    assert track.looks[0].p_pass is not None
    assert (track.state, track.decided_at) == ("open", None)


# -- without noise -------------------------------------------------------------------------------


def test_one_pair_equal_in_everything_passes_everything() -> None:
    tracks = follow([series(0.0, equal=1), series(0.0, equal=1, family="guardrail")], RATES)
    assert [(track.state, track.decided_at) for track in tracks] == [("pass", 1), ("pass", 1)]


def test_one_pair_that_is_equal_in_some_metrics_decides_nothing() -> None:
    tracks = follow([series(0.0, equal=1), series(0.1)], RATES)
    assert [track.state for track in tracks] == ["open", "open"]
    assert follow([series(0.0, equal=1)], RATES, whole=False)[0].state == "open"


def test_budgets_may_differ_where_all_else_is_equal() -> None:
    tracks = follow([series(0.0, equal=1), series(0.3, budget=True, family="guardrail")], RATES)
    assert [track.state for track in tracks] == ["pass", "open"]
    assert follow([series(0.3, budget=True)], RATES)[0].state == "open"


def test_equal_no_more_is_open_again() -> None:
    assert one(0.0, -9.0, equal=1, noise=None).state == "open"


@pytest.mark.parametrize(("pairs", "fine", "state"), [(2, True, "pass"), (2, False, "open"), (3, False, "pass")])
def test_equal_pairs_of_a_coarse_metric_may_be_an_accident(pairs: int, fine: bool, state: str) -> None:
    tracks = follow([series(*[0.0] * pairs, equal=pairs, fine=fine), series(*[0.1] * pairs)], RATES)
    assert tracks[0].state == state


@pytest.mark.parametrize(("loss", "state"), [(0.5, "pass"), (1.0, "pass"), (1.01, "fail")])
def test_training_without_noise_is_judged_by_the_margin_alone(loss: float, state: str) -> None:
    track = one(-loss, -loss, noise=None, fine=True)
    assert (track.state, track.decided_at, track.looks) == (state, 2, [])
    assert one(-loss, -loss, -loss, noise=None, steady=3).state == state


def test_equal_losses_of_a_coarse_metric_wait_for_the_last_pair_unless_the_seed_changes_nothing() -> None:
    assert one(-2.0, -2.0, -2.0, noise=None).state == "open"
    assert one(-2.0, -2.0, -2.0, -2.0, -2.0, noise=None).decided_at == 5
    assert one(-2.0, -2.0, noise=None, rates=Rates(n_max=2)).state == "open"


def test_where_noise_is_known_equal_losses_are_no_certainty() -> None:
    assert one(-2.0, -2.0, fine=True).state == "open"


def test_history_that_does_not_fit_is_left_aside() -> None:
    fits, not_ = one(0.5, -0.5, 0.3), one(30.0, -30.0, 20.0)
    assert all(look.history for look in fits.looks)
    assert not any(look.history for look in not_.looks)
    assert not_.looks[-1].df == 2


# -- many ----------------------------------------------------------------------------------------


def test_the_rate_for_false_fails_is_shared_and_given_on() -> None:
    def shares(*states: float) -> list[float]:
        made = [series(*[d + 0.001 * at for at in range(5)], family="guardrail") for d in states]
        return [track.share for track in follow(made, RATES)]

    assert shares(0.0, 0.0) == [0.005, 0.005]
    assert shares(-9.0, 0.0)[1] == 0.01
    assert shares(-9.0, -9.0, 0.0, 0.0)[2:] == [0.005, 0.005]


def test_targets_and_guardrails_have_half_each_until_one_side_has_failed() -> None:
    calm = (0.0, 0.1, -0.1)
    tracks = follow([series(*calm), series(*calm, family="guardrail"), series(*calm, family="guardrail")], RATES)
    assert [track.share for track in tracks] == [0.005, 0.0025, 0.0025]
    lost = (-9.0, -9.1, -8.9)
    tracks = follow([series(*lost), series(*calm, family="guardrail"), series(*calm, family="guardrail")], RATES)
    assert [track.share for track in tracks][1:] == [0.005, 0.005]


def test_what_decides_nothing_takes_no_share() -> None:
    tracks = follow([series(0.0, 0.1), series(-9.0, -9.1, family=None, margin=None)], RATES)
    assert tracks[0].share == 0.01
    assert tracks[1].state == "open"
    assert tracks[1].test is not None


@pytest.mark.parametrize("df", [0, 4, 20])
@pytest.mark.parametrize("n_max", [3, 5, 10])
def test_with_any_history_the_looks_together_err_as_often_as_promised(df: int, n_max: int) -> None:
    """Both tests, at their worst: no margin for fails, a drop of just the margin for passes."""
    import numpy as np
    from scipy.special import stdtr

    draw, count, rates = np.random.default_rng(df + 100 * n_max), 100_000, Rates(n_max=n_max)
    values = draw.standard_normal((count, n_max))
    before = draw.chisquare(df, count) if df else np.zeros(count)
    failed = passed = np.zeros(count, bool)
    for n in range(2, n_max + 1):
        part = values[:, :n]
        mean = part.mean(axis=1)
        variance = (((part - mean[:, None]) ** 2).sum(axis=1) + before) / (n - 1 + df)
        p = stdtr(n - 1 + df, mean / np.sqrt(variance / n))
        failed = failed | (p <= rates.failing(n, 0.01, df))
        passed = passed | (1 - p <= rates.passing(n, df))
    assert failed.mean() <= 0.0105
    assert passed.mean() <= 0.053


def test_the_next_pair_changes_no_earlier_look() -> None:
    draw = random.Random(4)
    values = [draw.gauss(-0.5, 1) for _ in range(5)]
    looks = [one(*values[:n]).looks for n in range(2, 6)]
    assert all(looks[-1][: len(each)] == each for each in looks)
