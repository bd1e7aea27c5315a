"""The tests of one feature: how large a difference is, and how likely it is by chance. Pure and deterministic."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from unitrack.gate.statistics import rounded
from unitrack.monitor.samples import Column

__all__ = [
    "CATEGORIES", "NUMBERS", "Raw", "Test", "TestName", "jensen_shannon", "missing_test", "robust_scale", "unseen_test",
    "wasserstein_test",
]  # fmt: skip

TestName = Literal["ks", "wasserstein", "chi2", "jensen_shannon", "fisher", "good_turing"]

PERMUTATIONS: Final = 4999
"""Permutations of a Wasserstein test: no p-value is below 1 / 5000."""

_PERMUTED: Final = 2000  # rows a side; more would take seconds a feature
_EXACT: Final = 1_000_000  # pairs of rows up to which the Kolmogorov-Smirnov test is exact
_NAMED: Final = 5
_LEAST_EXPECTED: Final = 5.0  # rows; Cochran's rule for chi-square


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """What a test says of one feature, before many tests are taken together."""

    what: Literal["distribution", "missing", "unseen"]
    test: TestName
    size: float
    threshold: float
    p: float


Test = Callable[[Column, Column, float], Raw]


def missing_test(missing: tuple[int, int], rows: tuple[int, int], threshold: float) -> list[Raw]:
    """Test whether another share of rows lacks a value; reference first. No test where nothing is missing."""
    from scipy.stats import fisher_exact

    if not any(missing) or not all(rows):
        return []
    shares = [lacking / every for lacking, every in zip(missing, rows, strict=True)]
    table = [[lacking, every - lacking] for lacking, every in zip(missing, rows, strict=True)]
    p = _chance(fisher_exact(table)[1])
    return [Raw(what="missing", test="fisher", size=abs(shares[0] - shares[1]), threshold=threshold, p=p)]


# -- numbers -------------------------------------------------------------------------------------


def _ks(reference: Column, fresh: Column, threshold: float) -> Raw:
    from scipy.stats import ks_2samp

    exact = reference.present * fresh.present <= _EXACT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an exact p that can't be had becomes the asymptotic one
        found = ks_2samp(reference.numbers, fresh.numbers, method="exact" if exact else "asymp")
    return Raw(
        what="distribution", test="ks", size=float(found.statistic), threshold=threshold, p=_chance(found.pvalue)
    )


def _wasserstein(reference: Column, fresh: Column, threshold: float) -> Raw:
    size, p = wasserstein_test(reference.numbers, fresh.numbers)
    return Raw(what="distribution", test="wasserstein", size=size, threshold=threshold, p=p)


def wasserstein_test(reference: Any, fresh: Any) -> tuple[float, float]:
    """Return the distance of two samples in robust standard deviations of the first, and its permutation p-value."""
    import numpy as np
    from scipy.stats import wasserstein_distance

    most = float(max(np.abs(reference).max(), np.abs(fresh).max()))
    if most == 0:
        return 0.0, 1.0
    ours, theirs = reference / most, fresh / most  # squares and sums of large values would overflow
    scale = robust_scale(ours) or float(np.concatenate([ours, theirs]).std())
    if scale == 0:
        return 0.0, 1.0
    random = np.random.RandomState(0)  # whose draws are the same in every version of numpy
    ours_p, theirs_p = (_some(side, random) for side in (ours, theirs))
    return float(wasserstein_distance(ours, theirs)) / scale, _permuted(ours_p, theirs_p, random)


def robust_scale(values: Any) -> float:
    """Return the interquartile range as a normal distribution's standard deviation: outliers don't move it."""
    import numpy as np

    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 1.3489795003921634


def _some(values: Any, random: Any) -> Any:
    return values if len(values) <= _PERMUTED else random.choice(values, _PERMUTED, replace=False)


def _permuted(reference: Any, fresh: Any, random: Any) -> float:
    """Return the share of permutations with a distance as large, the one observed among them."""
    import numpy as np

    pooled = np.concatenate([reference, fresh])
    order = np.argsort(pooled, kind="stable")
    gaps = np.diff(pooled[order])
    signs = np.concatenate([np.full(len(reference), 1 / len(reference)), np.full(len(fresh), -1 / len(fresh))])
    observed = float(np.abs(np.cumsum(signs[order]))[:-1] @ gaps)
    reached, shuffled = 1, signs.copy()
    for _ in range(PERMUTATIONS):
        random.shuffle(shuffled)
        reached += float(np.abs(np.cumsum(shuffled))[:-1] @ gaps) >= observed * (1 - 1e-12)
    return reached / (PERMUTATIONS + 1)


# -- categories ----------------------------------------------------------------------------------


def _jensen_shannon(reference: Column, fresh: Column, threshold: float) -> Raw:
    table = _joined(reference, fresh)
    size, p = jensen_shannon(table), _chi_square(table)[1]
    return Raw(what="distribution", test="jensen_shannon", size=size, threshold=threshold, p=p)


def jensen_shannon(table: Any) -> float:
    """Return the Jensen-Shannon distance (base 2) of two rows of counts, less what chance alone adds to its square."""
    from scipy.spatial.distance import jensenshannon

    rows = table.sum(axis=1)
    raw = float(jensenshannon(*(table / rows[:, None]), base=2))
    by_chance = (table.shape[1] - 1) * float((1 / rows).sum()) / (8 * math.log(2))
    return 0.0 if math.isnan(raw) else math.sqrt(max(0.0, raw**2 - by_chance))  # NaN: a rounding error below zero


def _chi2(reference: Column, fresh: Column, threshold: float) -> Raw:
    table = _joined(reference, fresh)
    statistic, p = _chi_square(table)
    # Bergsma 2013: Cramer's V less what chance alone adds to its square.
    squared = statistic / float(table.sum()) - (table.shape[1] - 1) / (float(table.sum()) - 1)
    return Raw(what="distribution", test="chi2", size=math.sqrt(max(0.0, squared)), threshold=threshold, p=p)


def _joined(reference: Column, fresh: Column) -> Any:
    """Return the counts of both sides as two rows; categories of which few rows are expected count as one."""
    import numpy as np

    ours, theirs = reference.counts or {}, fresh.counts or {}
    names = sorted({*ours, *theirs})
    table = np.asarray([[side.get(name, 0) for name in names] for side in (ours, theirs)], dtype=float)
    expected = table.sum(axis=0) * float(table.sum(axis=1).min()) / float(table.sum())
    rare = expected < _LEAST_EXPECTED
    return np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)]) if rare.any() else table


def _chi_square(table: Any) -> tuple[float, float]:
    """Return the statistic and p of equal shares."""
    from scipy.stats import chi2_contingency

    if table.shape[1] < 2:
        return 0.0, 1.0
    found = chi2_contingency(table, correction=False)
    return float(found[0]), _chance(found[1])


def unseen_test(reference: Column, fresh: Column, threshold: float) -> tuple[Raw, float, tuple[str, ...]]:
    """Test whether more rows than expected are in categories that the reference never had.

    The share of what n rows did not show is about that of the values they showed once (Good 1953); three standard
    errors and three rows are allowed on top.
    """
    from scipy.stats import binom

    ours, theirs = reference.counts or {}, fresh.counts or {}
    new = sorted((name for name in theirs if name not in ours), key=lambda name: (-theirs[name], name))
    once, twice = (sum(count == times for count in ours.values()) for times in (1, 2))
    expected = min(1.0, (once + 3 + 3 * math.sqrt(once + 2 * twice)) / reference.present)
    rows, present = sum(theirs[name] for name in new), fresh.present
    p = _chance(binom.sf(rows - 1, present, expected)) if rows else 1.0
    excess = max(0.0, rows / present - expected)
    raw = Raw(what="unseen", test="good_turing", size=excess, threshold=threshold, p=p)
    return raw, rounded(rows / present), tuple(name[:80] for name in new[:_NAMED])


def _chance(p: Any) -> float:
    return min(1.0, max(0.0, float(p)))


NUMBERS: Final[dict[str, Test]] = {"ks": _ks, "wasserstein": _wasserstein}
CATEGORIES: Final[dict[str, Test]] = {"chi2": _chi2, "jensen_shannon": _jensen_shannon}
