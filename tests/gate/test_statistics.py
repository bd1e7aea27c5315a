from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from unitrack.gate.statistics import (
    POWER,
    detectable_drop,
    mean_of,
    paired_test,
    resolution,
    seeds_needed,
    spread_of,
)

PAIRS = [
    [0.01, -0.02, 0.005, 0.0, -0.01],
    [-0.2, -0.21, -0.19],
    [3.0, 4.5],
    [1e-9, 2e-9, -1e-9, 4e-9],
]


@pytest.mark.parametrize("differences", PAIRS)
def test_the_test_for_harm_agrees_with_scipys_one_sample_test(differences: list[float]) -> None:
    ours = paired_test(differences, margin=0.01, level=0.05)
    assert ours.p_fail == pytest.approx(stats.ttest_1samp(differences, 0, alternative="less").pvalue)


@pytest.mark.parametrize("differences", PAIRS)
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.3])
def test_the_test_for_non_inferiority_agrees_with_scipys_shifted_test(differences: list[float], margin: float) -> None:
    ours = paired_test(differences, margin=margin, level=0.05)
    theirs = stats.ttest_1samp(differences, -margin, alternative="greater")
    assert ours.p_pass == pytest.approx(theirs.pvalue)
    assert (ours.p_pass < 0.05) == (ours.lower > -margin)


def test_it_agrees_with_scipys_test_of_related_samples() -> None:
    candidate, baseline = [0.91, 0.93, 0.9, 0.95], [0.92, 0.92, 0.93, 0.96]
    differences = [c - b for c, b in zip(candidate, baseline, strict=True)]
    theirs = stats.ttest_rel(candidate, baseline, alternative="less").pvalue
    assert paired_test(differences, margin=None, level=0.05).p_fail == pytest.approx(theirs)


@pytest.mark.parametrize("differences", PAIRS)
def test_the_bounds_are_scipys_90_percent_interval(differences: list[float]) -> None:
    ours = paired_test(differences, margin=None, level=0.05)
    theirs = stats.ttest_1samp(differences, 0).confidence_interval(0.90)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))


def test_the_order_of_the_pairs_changes_no_bit() -> None:
    draw = random.Random(7)
    shuffled = [draw.gauss(0, 1) for _ in range(9)]
    first = paired_test(shuffled, margin=0.3, level=0.05)
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert paired_test(shuffled, margin=0.3, level=0.05) == first


def test_tiny_and_huge_differences_neither_underflow_nor_overflow() -> None:
    tiny, plain, huge = (
        paired_test([scale * d for d in (1.0, 2.0, 4.0)], margin=None, level=0.05) for scale in (1e-200, 1.0, 1e90)
    )
    assert tiny.p_fail == pytest.approx(plain.p_fail)
    assert huge.p_fail == pytest.approx(plain.p_fail)


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, 0.1]])
def test_equal_or_too_few_differences_have_no_test(differences: list[float]) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        paired_test(differences, margin=0.1, level=0.05)


@pytest.mark.parametrize(
    ("n", "level", "published"), [(3, 0.05, 2.30), (5, 0.05, 1.36), (10, 0.05, 0.85), (5, 0.01, 2.18)]
)
def test_detectable_drops_are_those_of_the_power_tables(n: int, level: float, published: float) -> None:
    assert detectable_drop(1.0, n, level=level) == pytest.approx(published, abs=0.006)


def test_a_drop_of_the_detectable_size_is_found_as_often_as_promised() -> None:
    draw, n, sd = random.Random(1), 5, 2.0
    drop = detectable_drop(sd, n, level=0.05)
    samples = [[draw.gauss(-drop, sd) for _ in range(n)] for _ in range(1000)]
    critical = stats.t.ppf(0.05, n - 1)
    found = sum(mean_of(s) / (spread_of(s) / math.sqrt(n)) <= critical for s in samples)
    assert found / 1000 == pytest.approx(POWER, abs=0.04)


def test_the_seeds_needed_are_the_fewest_that_suffice() -> None:
    needed = seeds_needed(1.0, 0.9, level=0.05)
    assert needed is not None
    assert detectable_drop(1.0, needed, level=0.05) <= 0.9 < detectable_drop(1.0, needed - 1, level=0.05)


def test_a_margin_no_thousand_seeds_resolve_needs_no_number() -> None:
    assert seeds_needed(1.0, 0.001, level=0.05) is None
    assert seeds_needed(1.0, 0.0, level=0.05) is None


def test_rounding_alone_stays_below_the_resolution() -> None:
    values = [0.9, 0.88, 0.8, 0.78]
    assert abs((0.9 - 0.88) - (0.8 - 0.78)) <= resolution(values) < 1e-14
