"""Test paired differences against a margin.

Student's t on the differences of pairs, its variance pooled with what is known from before: a one-sided test
against the margin for non-inferiority, one against zero for harm; power from the noncentral t distribution.
Pure, and independent of the order of the pairs: sums are exact (`math.fsum`). Probabilities and bounds are
rounded to ten digits: the last ones differ between builds of scipy, and verdicts are compared byte by byte.
"""

from __future__ import annotations

import importlib.util
import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "POWER",
    "PairedTest",
    "agreement_of",
    "benjamini_hochberg",
    "correlation_of",
    "detectable_drop",
    "holm",
    "is_fine",
    "mean_of",
    "paired_test",
    "pooled",
    "require_scipy",
    "resolution",
    "rounded",
    "seeds_needed",
    "spread_of",
    "variance_ratio_tail",
]

POWER = 0.8
"""The chance of detection that a detectable effect and a number of seeds are stated for."""

_POWER_Z = 0.8416212335729143  # standard deviations below which a normal value is with a chance of POWER
_MOST_SEEDS = 1000


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """Two one-sided t tests on oriented differences (more is better).

    `sd` is the pooled standard deviation of one difference, `df` its degrees of freedom. `p_pass` tests
    "the loss is the margin or more", `p_fail` "no worse".
    """

    n: int
    mean: float
    sd: float
    df: int
    p_pass: float | None
    p_fail: float

    @property
    def error(self) -> float:
        """Return the standard error of the mean."""
        return self.sd / math.sqrt(self.n)

    def half_width(self, level: float) -> float:
        """Return how far a bound that errs with a chance of `level` is from the mean."""
        return -float(_special().stdtrit(self.df, level)) * self.error


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


def is_fine(value: float) -> bool:
    """Tell whether a value is no fraction of a whole number up to 100,000, as counts and rounded values are."""
    return float(Fraction(value).limit_denominator(100_000)) != value


def rounded(value: float) -> float:
    """Return ten significant digits of a number."""
    return float(f"{value:.10g}")


def pooled(sd: float, df: int, before: float, df_before: int) -> float:
    """Return the standard deviation of two estimates together, each with its degrees of freedom."""
    scale = max(sd, before)
    if scale == 0 or df + df_before == 0:
        return scale
    return scale * math.sqrt((df * (sd / scale) ** 2 + df_before * (before / scale) ** 2) / (df + df_before))


def paired_test(
    differences: Sequence[float], *, margin: float | None, sd_before: float = 0.0, df_before: int = 0
) -> PairedTest:
    """Test two or more differences, their variance pooled with an earlier one of `df_before` degrees of freedom.

    Raises ValueError for fewer differences, or when nothing varies.
    """
    n = len(differences)
    if n < 2:
        raise ValueError("a t test needs at least two differences")
    mean = mean_of(differences)
    sd, df = pooled(spread_of(differences), n - 1, sd_before, df_before), n - 1 + df_before
    if sd == 0:
        raise ValueError("a t test needs differences that vary")
    error, student = sd / math.sqrt(n), _special().stdtr
    return PairedTest(
        n=n,
        mean=mean,
        sd=sd,
        df=df,
        p_pass=None if margin is None else rounded(float(student(df, -(mean + margin) / error))),
        p_fail=rounded(float(student(df, mean / error))),
    )


def variance_ratio_tail(sd: float, df: int, before: float, df_before: int) -> float:
    """Return the chance of a variance this much larger than one before, if both are of one population (an F test)."""
    if before == 0:
        return 0.0 if sd > 0 else 1.0
    return float(_special().fdtrc(df, df_before, (sd / before) ** 2))


def agreement_of(estimates: Sequence[tuple[float, int]], *, sd: float, most: int) -> int:
    """Return how many degrees of freedom, 1 to `most`, several standard deviations are worth for the next one.

    Each comes with its own degrees of freedom, `sd` is what they are together. `most` if they may well be of one
    variance; fewer, the more variances vary beyond chance: one that varies by c times its mean is worth 2 / c^2
    (Satterthwaite, 1946). c is estimated as DerSimonian and Laird (1986) do it.
    """
    weights = [df / 2 for _, df in estimates]
    total = math.fsum(weights)
    room = total - math.fsum(w * w for w in weights) / total
    if room <= 0:
        return most
    spread = math.fsum(w * ((one / sd) ** 2 - 1) ** 2 for w, (one, _) in zip(weights, estimates, strict=True))
    excess = rounded((spread - (len(estimates) - 1)) / room)
    return most if excess <= 0 else max(1, min(most, int(2 / excess)))


def correlation_of(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None for fewer than three pairs, or where one side does not vary."""
    mean, its = mean_of(one), mean_of(other)
    deviations, theirs = [value - mean for value in one], [value - its for value in other]
    scale, its_scale = max(map(abs, deviations)), max(map(abs, theirs))
    if len(one) < 3 or scale <= resolution(one) or its_scale <= resolution(other):
        return None
    deviations, theirs = [value / scale for value in deviations], [value / its_scale for value in theirs]
    product = math.fsum(a * b for a, b in zip(deviations, theirs, strict=True))
    found = product / math.sqrt(math.fsum(a * a for a in deviations) * math.fsum(b * b for b in theirs))
    return rounded(max(-1.0, min(1.0, found)))


# -- many tests ----------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values: the chance that any of those up to a level errs is at most the level."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    found, most = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        most = max(most, min(1.0, p_values[at] * (len(order) - rank)))
        found[at] = rounded(most)
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini and Hochberg's (1995) adjusted p-values: those up to q have a false discovery rate of q."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at], reverse=True)
    found, least = [1.0] * len(p_values), 1.0
    for rank, at in zip(range(len(order), 0, -1), order, strict=True):
        least = min(least, p_values[at] * len(order) / rank)
        found[at] = rounded(least)
    return found


# -- power ---------------------------------------------------------------------------------------


def detectable_drop(sd: float, n: int, *, level: float, df: int | None = None, margin: float = 0.0) -> float:
    """Return the smallest true drop that `n` pairs show at `level`, and beyond the margin, with a chance of `POWER`.

    `df` are the degrees of freedom of `sd`, n - 1 unless given.
    """
    error = sd / math.sqrt(n)
    return max(_noncentrality(n - 1 if df is None else df, level) * error, margin + _POWER_Z * error if margin else 0)


@lru_cache(maxsize=4096)
def seeds_needed(sd: float, margin: float, *, level: float, df_before: int = 0) -> int | None:
    """Return how many pairs let an unchanged candidate pass with a chance of `POWER`; None if over 1,000."""
    if margin <= 0:
        return None
    low, high = 2, _MOST_SEEDS
    if not _passes(sd, margin, high, level, df_before):
        return None
    while low < high:
        middle = (low + high) // 2
        if _passes(sd, margin, middle, level, df_before):
            high = middle
        else:
            low = middle + 1
    return low


def _passes(sd: float, margin: float, n: int, level: float, df_before: int) -> bool:
    df, ratio = n - 1 + df_before, margin * math.sqrt(n) / sd
    return ratio > 100 or _power(df, ratio, -float(_special().stdtrit(df, level))) >= POWER


@lru_cache(maxsize=4096)
def _noncentrality(df: int, level: float) -> float:
    """Solve power(noncentrality) = POWER for a one-sided one-sample t test."""
    critical = -float(_special().stdtrit(df, level))
    low, high = 0.0, critical + 10.0
    while _power(df, high, critical) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if _power(df, middle, critical) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(df: int, noncentrality: float, critical: float) -> float:
    below = float(_special().nctdtr(df, noncentrality, critical))
    if math.isnan(below):  # some versions of scipy do not know chances below 1e-80
        return 1.0 if noncentrality > critical else 0.0
    return 1 - below


def require_scipy() -> None:
    """Raise UsageError if the tests' package is not installed: better before the training than after it."""
    if importlib.util.find_spec("scipy") is None:
        raise UsageError("the gate's tests need scipy: run `pip install 'unitrack[gate]'`")


@lru_cache(maxsize=1)
def _special() -> Any:
    require_scipy()
    import scipy.special

    return scipy.special
