from __future__ import annotations

import math
import random

import pytest

from unitrack.gate.decision import Noise
from unitrack.gate.history import PastNoise, is_rounding, known_noise, noise_of, pool


def gates(sd: float, count: int, *, seed: int = 1, pairs: int = 5) -> list[PastNoise]:
    draw = random.Random(seed)
    found = [noise_of([draw.gauss(0, sd) for _ in range(pairs)]) for _ in range(count)]
    return [one for one in found if one is not None]


def test_the_noise_of_a_gate_is_the_spread_of_its_differences() -> None:
    assert noise_of([1.0, 2.0, 3.0]) == PastNoise(sd=1.0, df=2)


def test_pairs_of_one_commit_have_no_difference_to_estimate() -> None:
    found = noise_of([1.0, -1.0], same_commit=True)
    assert found == PastNoise(sd=1.0, df=2)


@pytest.mark.parametrize("differences", [[], [0.1], [0.0, 0.0, 0.0], [-0.02, -0.02]])
def test_equal_differences_are_not_noise_of_zero(differences: list[float]) -> None:
    assert noise_of(differences) is None


def test_sums_in_another_order_are_not_noise() -> None:
    assert is_rounding((1e-16, -2e-16), (0.9, 0.8))
    assert not is_rounding((1e-6, -2e-6), (0.9, 0.8))
    assert not is_rounding((1e-16, -2e-16), (1e-16, 3e-16))


def test_gates_of_one_noise_are_pooled_by_their_degrees_of_freedom() -> None:
    found = pool([PastNoise(sd=1.0, df=4), PastNoise(sd=1.4, df=2)], cap=20)
    assert found == Noise(sd=pytest.approx(math.sqrt((4 + 2 * 1.96) / 6)), df=6, gates=2)


def test_no_more_degrees_of_freedom_count_than_the_cap() -> None:
    found = pool(gates(1.0, 20), cap=20)
    assert found is not None
    assert (found.df, found.gates, found.discarded) == (20, 20, 0)
    assert found.sd == pytest.approx(1.0, rel=0.2)
    assert pool(gates(1.0, 20), cap=0) is None
    assert pool([], cap=20) is None


@pytest.mark.parametrize(("now", "before"), [(3.0, 1.0), (0.3, 1.0)])
def test_what_was_before_a_change_of_the_noise_is_dropped(now: float, before: float) -> None:
    found = pool([*gates(now, 6, seed=2), *gates(before, 10, seed=3)], cap=40)
    assert found is not None
    assert found.sd == pytest.approx(now, rel=0.4)
    assert found.gates in range(5, 8)
    assert found.gates + found.discarded == 16


def test_of_two_changes_the_newest_counts() -> None:
    found = pool([*gates(1.0, 6, seed=2), *gates(9.0, 6, seed=3), *gates(1.0, 6, seed=4)], cap=40)
    assert found is not None
    assert found.gates == 6


def test_one_quiet_gate_does_not_replace_a_good_estimate() -> None:
    """Else the next gate would fail what is only noise."""
    found = pool([PastNoise(sd=0.02, df=4), *gates(1.0, 8)], cap=20)
    assert found is not None
    assert found.discarded == 0
    assert found.sd == pytest.approx(0.95, rel=0.2)


def test_gates_of_unlike_noise_count_for_less() -> None:
    """Some changes leave equal seeds tied and some do not: what both come to together fits neither."""
    mixed = [one for pair in zip(gates(1.0, 12, seed=5), gates(0.5, 12, seed=6), strict=True) for one in pair]
    found, like = pool(mixed, cap=20), pool(gates(1.0, 24, seed=5), cap=20)
    assert found is not None
    assert like is not None
    assert found.discarded == 0
    assert found.df <= 6
    assert found.sd == pytest.approx(0.8, rel=0.1)
    assert like.df == 20


def test_gates_of_one_noise_seldom_count_for_much_less() -> None:
    degrees = sorted(pool(gates(1.0, 10, seed=seed), cap=20).df for seed in range(400))  # type: ignore[union-attr]
    assert degrees[40] >= 7
    assert degrees[100] >= 15


def test_one_gate_counts_for_what_it_measured() -> None:
    assert pool([PastNoise(sd=0.5, df=4)], cap=20) == Noise(sd=0.5, df=4, gates=1)


def test_noise_that_did_not_change_is_seldom_called_changed() -> None:
    cut = sum(pool(gates(1.0, 8, seed=seed), cap=40).discarded > 0 for seed in range(1000))  # type: ignore[union-attr]
    assert cut <= 20


def test_each_metric_has_its_own_noise_and_some_have_none() -> None:
    earlier = {"acc": [(0.1, -0.1, 0.2), (0.0, 0.0)], "loss": [(0.5, 0.5)], "f1": []}
    found = known_noise(earlier, cap=20)
    assert list(found) == ["acc"]
    assert found["acc"].gates == 1
