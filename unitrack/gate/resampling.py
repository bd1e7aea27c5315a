"""Resample examples: draws that are the same everywhere, and the BCa interval and p-value of what they give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["REPLICATES", "bca_interval", "bca_p", "leaving_out", "samples"]

REPLICATES: Final = 2000
"""Samples of the bootstrap."""

_BLOCKS = 200  # groups of examples left out in turn where leaving out each would take long
_CHUNK = 1_000_000  # cells of weights at a time: 8 MB


def samples(seed: bytes, count: int, replicates: int) -> Iterator[Any]:
    """Yield how often each example is drawn in samples with replacement, (b, examples) at a time.

    The bits of PCG64 are the same in every version of numpy; what its other methods make of them is not.
    """
    import numpy as np

    bits = np.random.PCG64(int.from_bytes(seed, "big"))
    rows = max(1, min(replicates, _CHUNK // count))
    for start in range(0, replicates, rows):
        weights = np.empty((min(rows, replicates - start), count))
        for row in weights:
            halves = bits.random_raw((count + 1) // 2).view(np.uint32)[:count]
            row[:] = np.bincount((halves.astype(np.uint64) * count) >> 32, minlength=count)
        yield weights


def leaving_out(count: int) -> Iterator[Any]:
    """Yield weights that leave out each example, or each of some blocks of them, in turn."""
    import numpy as np

    blocks = min(count, _BLOCKS)
    rows = max(1, min(blocks, _CHUNK // count))
    which: Any = np.arange(count) % blocks
    for start in range(0, blocks, rows):
        yield (which != np.arange(start, min(start + rows, blocks))[:, None]).astype(float)


def bca_interval(drawn: Any, observed: float, left_out: Any, *, level: float) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval that leaves out `level` at each end.

    Efron 1987, "Better bootstrap confidence intervals"; `left_out` are the values of the jackknife.
    """
    import numpy as np
    from scipy.stats import norm

    bias, bend = _bias(drawn, observed), _acceleration(left_out)
    ends = []
    for z in (norm.ppf(level), norm.ppf(1 - level)):
        under = 1 - bend * (bias + z)
        place = norm.cdf(bias + (bias + z) / under) if under > 0 else float(z > 0)
        ends.append(float(np.percentile(drawn, 100 * place)))
    return ends[0], ends[1]


def bca_p(drawn: Any, observed: float, left_out: Any) -> float:
    """Return the level at which the upper end of the one-sided BCa interval reaches zero: the p of "no worse"."""
    from scipy.stats import norm

    bias, bend = _bias(drawn, observed), _acceleration(left_out)
    shift = float(norm.ppf(_share_below(drawn, 0.0))) - bias
    under = 1 + bend * shift
    return float(norm.sf(shift / under - bias)) if under > 0 else float(shift < 0)


def _bias(drawn: Any, observed: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(_share_below(drawn, observed)))


def _share_below(drawn: Any, value: float) -> float:
    """Return the share of samples below a value, equal ones by half, never none or all."""
    n = len(drawn)
    share = (int((drawn < value).sum()) + int((drawn <= value).sum())) / (2 * n)
    return min(max(share, 1 / (n + 1)), n / (n + 1))


def _acceleration(left_out: Any) -> float:
    spread = left_out.mean() - left_out
    under = float((spread**2).sum()) ** 1.5
    return float((spread**3).sum()) / (6 * under) if under > 0 else 0.0
