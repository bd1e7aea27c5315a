"""Drift of features: every figure against scipy's own, and how often unchanged data are called changed."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from statsmodels.stats.multitest import multipletests

from unitrack.config import CheckSettings, DriftRule
from unitrack.monitor import Column, Sample, find_drift, schema_changes
from unitrack.monitor.feature_tests import PERMUTATIONS, wasserstein_test


def numbers(name, values, missing=0):
    values = np.asarray(values, dtype=float)
    return Column(name=name, type="double", kind="number", numbers=values, missing=missing)


def words(name, values, missing=0):
    return Column(name=name, type="string", kind="category", counts=dict(Counter(map(str, values))), missing=missing)


def sample(*columns):
    rows = columns[0].present + columns[0].missing
    return Sample(source="data.csv", columns=columns, rows=rows, total=rows)


def drift(reference, fresh, **rule):
    """Return what is found of one feature."""
    name = reference.name
    check = CheckSettings(drift=(DriftRule(feature=name, **rule),) if rule else ())
    (found,) = find_drift(sample(reference), sample(fresh), check)
    return found


def draw(seed=0):
    return np.random.RandomState(seed)


# -- against scipy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(80, 60), (5000, 3000)])
def test_the_kolmogorov_smirnov_test_is_scipys(rows):
    one, two = draw(1).normal(size=rows[0]), draw(2).normal(0.2, 1.1, size=rows[1])
    found, own = drift(numbers("x", one), numbers("x", two)).distribution, stats.ks_2samp(one, two)
    assert (found.size, found.p) == (pytest.approx(own.statistic), pytest.approx(own.pvalue, rel=0.05))


def test_the_wasserstein_distance_is_scipys_in_robust_standard_deviations():
    one, two = draw(1).normal(10, 3, size=900), draw(2).normal(11, 3, size=700)
    found = drift(numbers("x", one), numbers("x", two), test="wasserstein").distribution
    assert found.size == pytest.approx(stats.wasserstein_distance(one, two) / (stats.iqr(one) / 1.3489795), rel=1e-6)


def test_a_permutation_p_value_is_that_of_scipys_permutation_test():
    one, two = draw(3).normal(size=150), draw(4).normal(0.25, 1, size=120)
    own = stats.permutation_test(
        (one, two), stats.wasserstein_distance, n_resamples=2000, alternative="greater", random_state=draw(5)
    ).pvalue  # fmt: skip
    assert wasserstein_test(one, two)[1] == pytest.approx(own, abs=4 * math.sqrt(own * (1 - own) / 2000) + 1e-3)
    assert wasserstein_test(one, one + 9)[1] == 1 / (PERMUTATIONS + 1)


def test_categories_are_tested_by_scipys_chi_square():
    one, two = draw(1).choice(list("abc"), 500, p=[0.5, 0.3, 0.2]), draw(2).choice(list("abc"), 400, p=[0.4, 0.3, 0.3])
    table = np.array([[(side == letter).sum() for letter in "abc"] for side in (one, two)])
    own = stats.chi2_contingency(table, correction=False)
    for test in ("jensen_shannon", "chi2"):
        assert drift(words("x", one), words("x", two), test=test).distribution.p == pytest.approx(own[1])


def test_the_jensen_shannon_distance_of_many_rows_is_scipys():
    one, two = Counter(a=500_000, b=500_000), Counter(a=600_000, b=400_000)
    found = drift(words("x", []), words("x", []))
    assert found.state == "untested"
    sides = [Column(name="x", type="string", kind="category", counts=dict(side)) for side in (one, two)]
    assert drift(*sides).distribution.size == pytest.approx(jensenshannon([5, 5], [6, 4], base=2), rel=1e-3)


def test_cramers_v_of_many_rows_is_scipys():
    sides = [{"a": 500_000, "b": 500_000}, {"a": 600_000, "b": 400_000}]
    columns = [Column(name="x", type="string", kind="category", counts=side) for side in sides]
    table = np.array([[5, 5], [6, 4]]) * 100_000
    own = stats.contingency.association(table, method="cramer")
    assert drift(*columns, test="chi2").distribution.size == pytest.approx(own, rel=1e-3)


def test_a_share_of_missing_values_is_tested_by_scipys_fisher_test():
    one, two = numbers("x", draw(1).normal(size=480), missing=20), numbers("x", draw(2).normal(size=420), missing=80)
    (found,) = (a for a in drift(one, two).aspects if a.what == "missing")
    assert found.size == pytest.approx(80 / 500 - 20 / 500)
    assert found.p == pytest.approx(stats.fisher_exact([[20, 480], [80, 420]])[1])
    assert found.state == "drift"


def test_p_values_of_all_features_are_adjusted_together_as_statsmodels_does():
    columns = [numbers(f"x{at}", draw(at).normal(size=300)) for at in range(6)]
    fresh = [numbers(f"x{at}", draw(50 + at).normal(at / 10, 1, size=300)) for at in range(6)]
    found = [one.distribution for one in find_drift(sample(*columns), sample(*fresh), CheckSettings())]
    own = multipletests([one.p for one in found], method="fdr_bh")[1]
    assert [one.adjusted for one in found] == pytest.approx(list(own))


# -- what is drift and what isn't ----------------------------------------------------------------


def test_a_small_difference_that_a_million_rows_show_is_no_drift():
    found = drift(numbers("x", draw(1).normal(size=300_000)), numbers("x", draw(2).normal(0.05, 1, size=300_000)))
    assert found.distribution.adjusted < 1e-9
    assert found.state == "stable"


def test_a_large_difference_that_few_rows_cannot_show_is_unclear_and_says_so():
    found = drift(numbers("x", draw(1).normal(size=1000)), numbers("x", draw(2).normal(0.5, 1, size=12)))
    assert found.state == "unclear"
    assert "too few rows" in found.reason


def test_a_shift_of_half_a_standard_deviation_is_drift_by_each_test():
    one, two = numbers("x", draw(1).normal(size=1000)), numbers("x", draw(2).normal(0.5, 1, size=1000))
    assert {drift(one, two, test=test).state for test in ("ks", "wasserstein")} == {"drift"}


def test_the_wasserstein_test_sees_far_tails_that_the_kolmogorov_smirnov_test_does_not():
    one, two = draw(1).normal(size=2000), draw(2).normal(size=2000)
    two[:40] *= 100
    states = {test: drift(numbers("x", one), numbers("x", two), test=test).state for test in ("ks", "wasserstein")}
    assert states == {"ks": "stable", "wasserstein": "drift"}


def test_numbers_that_stand_for_categories_are_compared_as_such():
    one, two = draw(1).choice([1, 2, 3], 900, p=[0.4, 0.2, 0.4]), draw(2).choice([1, 2, 3], 900, p=[0.3, 0.4, 0.3])
    found = drift(numbers("x", one), numbers("x", two), test="jensen_shannon")
    assert (found.state, found.distribution.test) == ("drift", "jensen_shannon")


def test_a_new_category_is_drift_and_named():
    one = draw(1).choice(["red", "green"], 1000)
    two = np.concatenate([draw(2).choice(["red", "green"], 950), np.full(50, "violet")])
    found = drift(words("x", one), words("x", two), threshold=1.0)
    assert (found.state, found.new, found.unseen) == ("drift", ("violet",), 0.05)


def test_rare_words_that_the_reference_happened_not_to_hold_are_no_new_categories():
    ours, theirs = draw(1).zipf(1.7, 4000), draw(2).zipf(1.7, 4000)
    found = drift(words("x", ours), words("x", theirs))
    assert found.unseen > 0.02
    assert found.state == "stable"


def test_a_column_of_ids_is_not_tested():
    found = drift(words("x", range(1000)), words("x", range(500, 1500)))
    assert (found.state, found.aspects) == ("untested", ())
    assert "ids" in found.reason


def test_a_feature_that_is_only_reported_says_so_and_ignored_ones_are_left_out():
    one, two = [
        (numbers("x", draw(at).normal(at, 1, size=500)), numbers("y", draw(at).normal(at, 1, 500))) for at in (0, 1)
    ]
    check = CheckSettings(ignore=("y",), drift=(DriftRule(feature="x", role="report"),))
    (found,) = find_drift(sample(*one), sample(*two), check)
    assert (found.feature, found.state, found.gates) == ("x", "drift", False)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([5.0] * 100, [5.0] * 50),
        ([0.0] * 100, [0.0] * 50),
        ([1e308, -1e308] * 50, [1e308, -1e308] * 50),
        ([5e-324] * 100, [0.0] * 50 + [5e-324] * 50),
        ([1e308] * 100, [-1e308] * 100),
        ([3.0], [4.0]),
    ],
)
@pytest.mark.parametrize("test", ["ks", "wasserstein", "chi2", "jensen_shannon"])
def test_odd_numbers_give_finite_figures(one, two, test):
    found = drift(numbers("x", one), numbers("x", two), test=test)
    assert all(map(math.isfinite, (found.distribution.size, found.distribution.p)))
    assert one != two or found.state == "stable"


def test_a_column_without_values_is_drift_if_it_had_some():
    empty = Column(name="x", type="double", kind="empty", missing=300)
    found = drift(numbers("x", draw(1).normal(size=300)), empty)
    assert found.state == "drift"
    assert "missing" in found.reason
    assert drift(empty, empty).state == "untested"


# -- false alarms --------------------------------------------------------------------------------


def unchanged(seed, rows):
    """Two samples of one population: normal, skewed, discrete numbers and words with a long tail."""
    random = draw(seed)

    def side(rows):
        return sample(
            *(numbers(f"n{at}", random.normal(size=rows)) for at in range(6)),
            *(numbers(f"e{at}", random.exponential(size=rows)) for at in range(2)),
            *(numbers(f"p{at}", random.poisson(2, size=rows)) for at in range(2)),
            *(words(f"w{at}", random.choice(list("abcde"), size=rows)) for at in range(3)),
            *(words(f"z{at}", random.zipf(2.0, size=rows)) for at in range(3)),
        )  # fmt: skip

    return side(rows[0]), side(rows[1])


@pytest.mark.parametrize("rows", [(600, 600), (2000, 300)])
def test_unchanged_data_are_called_drift_no_more_often_than_the_level(rows):
    simulated, level = 200, 0.1
    # A threshold of nothing leaves the p-values alone to decide: the size can then save none of them.
    bare = CheckSettings(level=level, threshold=1e-12, missing=1e-12, unseen=1e-12)
    alarms = sum(
        any(one.state == "drift" for one in find_drift(*unchanged(seed, rows), bare)) for seed in range(simulated)
    )
    assert alarms / simulated <= level + 3 * math.sqrt(level * (1 - level) / simulated)


def test_with_the_thresholds_there_is_hardly_a_false_alarm_and_seldom_a_doubt():
    found = [find_drift(*unchanged(seed, (1000, 1000)), CheckSettings()) for seed in range(100)]
    states = Counter(one.state for each in found for one in each)
    assert states["drift"] <= 1
    assert states["unclear"] <= 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=60), st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=60))
def test_the_order_of_rows_and_the_unit_change_nothing(one, two):
    first = drift(numbers("x", one), numbers("x", two)).distribution
    turned = drift(numbers("x", one[::-1]), numbers("x", sorted(two))).distribution
    doubled = drift(numbers("x", np.array(one) * 4), numbers("x", np.array(two) * 4)).distribution
    assert first == turned == doubled


# -- columns -------------------------------------------------------------------------------------


def test_columns_that_are_gone_new_or_of_another_kind_are_told():
    before = [["a", "int64"], ["b", "double"], ["c", "string"], ["gone", "int64"]]
    after = [["a", "double"], ["b", "string"], ["c", "string"], ["new", "int64"]]
    found = schema_changes(before, after)
    assert [(one.what, one.column, one.gates) for one in found] == [
        ("removed", "gone", True), ("retyped", "b", True), ("added", "new", False),
    ]  # fmt: skip


def test_another_order_of_columns_is_told_once():
    before, after = [[name, "double"] for name in "abcd"], [[name, "double"] for name in "bacd"]
    (found,) = schema_changes(before, after)
    assert (found.what, found.gates) == ("reordered", True)
    assert "a, b" in found.reason
    assert schema_changes(before, [*after[1:2], *after[:1], *after[2:], ["label", "int"]], ignore=["label"]) == ()


def test_a_type_that_nobody_knows_is_no_change():
    assert schema_changes([["a", ""], ["b", "string"]], [["a", "double"], ["b", ""]]) == ()
