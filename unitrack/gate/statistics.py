"""Test paired differences against a margin.

Student's t on the differences of pairs: a one-sided test against the margin for non-inferiority, one against
zero for harm; power from the noncentral t distribution. Pure, and independent of the order of the pairs:
sums are exact (`math.fsum`).
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "POWER",
    "PairedTest",
    "detectable_drop",
    "mean_of",
    "paired_test",
    "require_scipy",
    "resolution",
    "seeds_needed",
    "spread_of",
]

POWER = 0.8
"""The chance of detection that a detectable effect and a number of seeds are stated for."""

_MOST_SEEDS = 1000


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """Two one-sided t tests on oriented differences (more is better).

    `lower` and `upper` each leave out the pass level, so together they are a two-sided interval of
    1 - 2 x level. `p_pass` tests "the loss is the margin or more", `p_fail` "no worse".
    """

    n: int
    mean: float
    sd: float
    lower: float
    upper: float
    p_pass: float | None
    p_fail: float


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, the same for any order of the values."""
    return math.fsum(values) / len(values)


def spread_of(values: Sequence[float]) -> float:
    """Return the sample standard deviation; 0 for one value or equal ones."""
    mean = mean_of(values)
    deviations = [value - mean for value in values]
    scale = max(map(abs, deviations))  # squares of tiny values would underflow
    if scale == 0 or len(values) < 2:
        return 0.0
    return scale * math.sqrt(math.fsum((d / scale) ** 2 for d in deviations) / (len(values) - 1))


def resolution(values: Sequence[float]) -> float:
    """Return how far apart differences of such values may be by floating-point rounding alone."""
    return 8 * math.ulp(max(map(abs, values), default=0.0))


def paired_test(differences: Sequence[float], *, margin: float | None, level: float) -> PairedTest:
    """Test two or more differences that are not all equal. Raises ValueError for fewer or equal ones."""
    n, mean, sd = len(differences), mean_of(differences), spread_of(differences)
    if n < 2 or sd == 0:
        raise ValueError("a t test needs at least two differences that vary")
    t = _scipy_stats().t
    error, df = sd / math.sqrt(n), n - 1
    half = float(t.ppf(1 - level, df)) * error
    return PairedTest(
        n=n,
        mean=mean,
        sd=sd,
        lower=mean - half,
        upper=mean + half,
        p_pass=None if margin is None else float(t.sf((mean + margin) / error, df)),
        p_fail=float(t.cdf(mean / error, df)),
    )


def detectable_drop(sd: float, n: int, *, level: float) -> float:
    """Return the smallest true drop that `n` pairs show to be worse at `level` with a chance of `POWER`."""
    return _noncentrality(n, level) * sd / math.sqrt(n)


def seeds_needed(sd: float, margin: float, *, level: float) -> int | None:
    """Return how many pairs let an unchanged candidate pass with a chance of `POWER`; None if over 1,000."""
    if margin <= 0:
        return None
    low, high = 2, _MOST_SEEDS
    if detectable_drop(sd, high, level=level) > margin:
        return None
    while low < high:
        middle = (low + high) // 2
        if detectable_drop(sd, middle, level=level) > margin:
            low = middle + 1
        else:
            high = middle
    return low


def _noncentrality(n: int, level: float) -> float:
    """Solve power(noncentrality) = POWER for a one-sided one-sample t test."""
    stats, df = _scipy_stats(), n - 1
    critical = float(stats.t.ppf(1 - level, df))
    low, high = 0.0, critical + 10.0
    while float(stats.nct.sf(critical, df, high)) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if float(stats.nct.sf(critical, df, middle)) < POWER:
            low = middle
        else:
            high = middle
    return high


def require_scipy() -> None:
    """Raise UsageError if the tests' package is not installed: better before the training than after it."""
    if importlib.util.find_spec("scipy") is None:
        raise UsageError("the gate's tests need scipy: run `pip install 'unitrack[gate]'`")


def _scipy_stats() -> Any:
    require_scipy()
    import scipy.stats

    return scipy.stats
