from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from unitrack.gate.statistics import (
    POWER,
    agreement_of,
    benjamini_hochberg,
    correlation_of,
    detectable_drop,
    holm,
    mean_of,
    paired_test,
    pooled,
    resolution,
    seeds_needed,
    spread_of,
    variance_ratio_tail,
)

PAIRS = [
    [0.01, -0.02, 0.005, 0.0, -0.01],
    [-0.2, -0.21, -0.19],
    [3.0, 4.5],
    [1e-9, 2e-9, -1e-9, 4e-9],
]
TIGHT = {"rel": 1e-9, "abs": 1e-12}

values = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
samples = st.lists(values, min_size=2, max_size=12).filter(lambda sample: max(sample) - min(sample) > 0.01)


@pytest.mark.parametrize("differences", PAIRS)
def test_the_test_for_harm_agrees_with_scipys_one_sample_test(differences: list[float]) -> None:
    ours = paired_test(differences, margin=0.01)
    assert ours.p_fail == pytest.approx(stats.ttest_1samp(differences, 0, alternative="less").pvalue, **TIGHT)


@given(differences=samples, margin=st.floats(0, 100))
def test_both_tests_agree_with_scipy_and_statsmodels_on_any_differences(
    differences: list[float], margin: float
) -> None:
    ours = paired_test(differences, margin=margin)
    harm = stats.ttest_1samp(differences, 0, alternative="less")
    inferior = stats.ttest_1samp(differences, -margin, alternative="greater")
    assert ours.p_fail == pytest.approx(harm.pvalue, **TIGHT)
    assert ours.p_pass == pytest.approx(inferior.pvalue, **TIGHT)
    theirs = DescrStatsW(differences)
    assert ours.p_fail == pytest.approx(theirs.ttest_mean(0, "smaller")[1], **TIGHT)
    assert ours.p_pass == pytest.approx(theirs.ttest_mean(-margin, "larger")[1], **TIGHT)
    low, high = theirs.tconfint_mean(alpha=0.1)
    half = ours.half_width(0.05)
    scale = max(map(abs, differences))
    assert (ours.mean - half, ours.mean + half) == pytest.approx((low, high), rel=1e-9, abs=1e-9 * scale)


def test_non_inferiority_is_the_lower_half_of_statsmodels_equivalence_test() -> None:
    candidate, baseline = [0.91, 0.93, 0.9, 0.95], [0.92, 0.92, 0.93, 0.96]
    differences = [c - b for c, b in zip(candidate, baseline, strict=True)]
    _, (_, p_lower, _), _ = ttost_paired(_array(candidate), _array(baseline), -0.02, 0.02)
    assert paired_test(differences, margin=0.02).p_pass == pytest.approx(p_lower, **TIGHT)


def _array(numbers: list[float]) -> object:
    import numpy as np

    return np.array(numbers)


def test_it_agrees_with_scipys_test_of_related_samples() -> None:
    candidate, baseline = [0.91, 0.93, 0.9, 0.95], [0.92, 0.92, 0.93, 0.96]
    differences = [c - b for c, b in zip(candidate, baseline, strict=True)]
    theirs = stats.ttest_rel(candidate, baseline, alternative="less").pvalue
    assert paired_test(differences, margin=None).p_fail == pytest.approx(theirs, **TIGHT)


@pytest.mark.parametrize("differences", PAIRS)
def test_with_history_it_is_the_t_test_of_the_pooled_variance(differences: list[float]) -> None:
    n, before, df = len(differences), 0.4 * spread_of(differences), 20
    variance = ((n - 1) * spread_of(differences) ** 2 + df * before**2) / (n - 1 + df)
    error = math.sqrt(variance / n)
    ours = paired_test(differences, margin=0.01, sd_before=before, df_before=df)
    assert ours.df == n - 1 + df
    assert ours.p_fail == pytest.approx(stats.t.cdf(mean_of(differences) / error, n - 1 + df), **TIGHT)
    assert ours.p_pass == pytest.approx(stats.t.sf((mean_of(differences) + 0.01) / error, n - 1 + df), **TIGHT)


def test_the_order_of_the_pairs_changes_no_bit() -> None:
    draw = random.Random(7)
    shuffled = [draw.gauss(0, 1) for _ in range(9)]
    first = paired_test(shuffled, margin=0.3, sd_before=1.1, df_before=12)
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert paired_test(shuffled, margin=0.3, sd_before=1.1, df_before=12) == first


def test_tiny_and_huge_differences_neither_underflow_nor_overflow() -> None:
    tiny, plain, huge = (
        paired_test([scale * d for d in (1.0, 2.0, 4.0)], margin=None) for scale in (1e-200, 1.0, 1e90)
    )
    assert tiny.p_fail == pytest.approx(plain.p_fail)
    assert huge.p_fail == pytest.approx(plain.p_fail)
    assert pooled(1e-200, 3, 2e-200, 3) == pytest.approx(math.sqrt(2.5) * 1e-200)


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, 0.1]])
def test_equal_or_too_few_differences_have_no_test(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="a t test needs"):
        paired_test(differences, margin=0.1)


def test_the_ratio_of_variances_is_scipys_f_test() -> None:
    assert variance_ratio_tail(1.5, 4, 1.0, 20) == pytest.approx(stats.f.sf(2.25, 4, 20), **TIGHT)
    assert variance_ratio_tail(0.1, 4, 0.0, 20) == 0.0


@given(pairs=st.lists(st.tuples(values, values), min_size=3, max_size=9))
def test_correlation_is_scipys_or_none_where_a_side_does_not_vary(pairs: list[tuple[float, float]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    found = correlation_of(one, other)
    if min(max(one) - min(one), max(other) - min(other)) > 0.01:
        assert found == pytest.approx(stats.pearsonr(one, other).statistic, rel=1e-7, abs=1e-7)
    elif len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None


def test_variances_that_vary_by_c_are_worth_two_over_c_squared() -> None:
    """Many estimates of exactly known variances, half of them a quarter of the others: c^2 is 0.36."""
    exact = [(1.0 if at % 2 else 0.5, 100_000) for at in range(400)]
    sd = math.sqrt((1 + 0.25) / 2)
    assert agreement_of(exact, sd=sd, most=40) == int(2 / 0.36)
    assert agreement_of([(3 * one, df) for one, df in exact], sd=3 * sd, most=40) == int(2 / 0.36)
    assert agreement_of([(1.0, 100)] * 400, sd=1.0, most=40) == 40
    assert agreement_of([(0.2, 3)], sd=0.2, most=3) == 3


def test_two_pairs_have_no_correlation() -> None:
    assert correlation_of([1.0, 2.0], [1.0, 3.0]) is None


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), **TIGHT)
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1].tolist(), **TIGHT)


@pytest.mark.parametrize(
    ("n", "level", "published"), [(3, 0.05, 2.30), (5, 0.05, 1.36), (10, 0.05, 0.85), (5, 0.01, 2.18)]
)
def test_detectable_drops_are_those_of_the_power_tables(n: int, level: float, published: float) -> None:
    assert detectable_drop(1.0, n, level=level) == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_detectable_drops_are_statsmodels(n: int) -> None:
    theirs = TTestPower().solve_power(nobs=n, alpha=0.01, power=POWER, alternative="larger")
    assert detectable_drop(1.0, n, level=0.01) == pytest.approx(float(theirs), rel=1e-5)


def test_with_a_margin_a_detectable_drop_is_beyond_it_often_enough() -> None:
    drop = detectable_drop(1.0, 5, level=0.01, df=24, margin=5.0)
    assert stats.norm.cdf((drop - 5.0) * math.sqrt(5)) == pytest.approx(POWER)


def test_a_drop_of_the_detectable_size_is_found_as_often_as_promised() -> None:
    draw, n, sd = random.Random(1), 5, 2.0
    drop = detectable_drop(sd, n, level=0.05)
    drawn = [[draw.gauss(-drop, sd) for _ in range(n)] for _ in range(1000)]
    critical = stats.t.ppf(0.05, n - 1)
    found = sum(mean_of(s) / (spread_of(s) / math.sqrt(n)) <= critical for s in drawn)
    assert found / 1000 == pytest.approx(POWER, abs=0.04)


@pytest.mark.parametrize("before", [0, 20])
def test_the_seeds_needed_are_the_fewest_that_suffice(before: int) -> None:
    needed = seeds_needed(1.0, 0.9, level=0.05, df_before=before)
    assert needed is not None

    def drop(n: int) -> float:
        return detectable_drop(1.0, n, level=0.05, df=n - 1 + before)

    assert drop(needed) <= 0.9 < drop(needed - 1)


def test_a_power_too_near_to_one_for_scipy_is_one() -> None:
    """Some versions of scipy return NaN for the chance of what is all but impossible."""
    assert seeds_needed(0.01613311341, 0.02, level=0.016056, df_before=0) == 9
    for ratio in range(1, 99, 3):
        assert seeds_needed(1.0, ratio / math.sqrt(1000), level=0.016) is not None or ratio < 4


def test_a_margin_no_thousand_seeds_resolve_needs_no_number() -> None:
    assert seeds_needed(1.0, 0.001, level=0.05) is None
    assert seeds_needed(1.0, 0.0, level=0.05) is None
    assert seeds_needed(1e-9, 1.0, level=0.05) == 2


def test_rounding_alone_stays_below_the_resolution() -> None:
    numbers = [0.9, 0.88, 0.8, 0.78]
    assert abs((0.9 - 0.88) - (0.8 - 0.78)) <= resolution(numbers) < 1e-14
