from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from unitrack.gate.spending import Shape, nominal_levels, spent

SHAPES: tuple[Shape, ...] = ("pocock", "obrien_fleming")


def crossed(levels: tuple[float, ...]) -> float:
    """The chance that any look of known variance errs, from the joint normal distribution of the sums."""
    looks = range(2, 2 + len(levels))
    covariance = np.array([[min(one, other) for other in looks] for one in looks], float)
    bounds = [norm.isf(level) * math.sqrt(n) for level, n in zip(levels, looks, strict=True)]
    whole = multivariate_normal(cov=covariance, abseps=1e-8, releps=1e-6, maxpts=10**6)
    return float(1 - whole.cdf(np.array(bounds)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", [0.05, 0.01, 0.0005])
@pytest.mark.parametrize("n_max", [2, 3, 4])
def test_all_looks_together_err_as_often_as_the_level_says(shape: Shape, level: float, n_max: int) -> None:
    assert crossed(nominal_levels(level, n_max, shape)) == pytest.approx(level, rel=5e-3, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_look_spends_what_the_function_says(shape: Shape) -> None:
    levels = nominal_levels(0.05, 5, shape)
    for looks in (1, 2, 3):
        assert crossed(levels[:looks]) == pytest.approx(spent(0.05, (looks + 1) / 5, shape), rel=2e-3, abs=1e-6)


def test_levels_of_five_pairs_are_the_published_ones() -> None:
    assert nominal_levels(0.01, 5, "obrien_fleming") == pytest.approx((0.00005, 0.0009, 0.0037, 0.0087), abs=5e-5)
    assert nominal_levels(0.05, 5, "pocock") == pytest.approx((0.026, 0.0194, 0.0194, 0.0199), abs=5e-4)


def test_a_single_look_spends_all() -> None:
    assert nominal_levels(0.01, 2, "obrien_fleming") == pytest.approx((0.01,), rel=1e-9)
    assert nominal_levels(0.01, 1, "pocock") == ()


@pytest.mark.parametrize("shape", SHAPES)
@given(level=st.floats(1e-6, 0.2), shares=st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_spending_never_goes_back_and_ends_at_the_level(shape: Shape, level: float, shares: list[float]) -> None:
    used = [spent(level, share, shape) for share in sorted(shares)]
    assert used == sorted(used)
    assert spent(level, 0, shape) == 0
    assert spent(level, 1, shape) == level
    assert all(0 <= one <= level for one in used)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_larger_level_has_larger_levels_at_every_look(shape: Shape) -> None:
    """Holm gives on what failed metrics leave: no test may become stricter by that."""
    small, large = nominal_levels(0.002, 6, shape), nominal_levels(0.01, 6, shape)
    assert all(one < other for one, other in zip(small, large, strict=True))


def test_many_looks_are_computed_too() -> None:
    levels = nominal_levels(0.01, 30, "obrien_fleming")
    assert len(levels) == 29
    assert list(levels) == sorted(levels)
