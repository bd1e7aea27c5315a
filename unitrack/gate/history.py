"""What earlier gates know about a metric's noise. Pure: others read the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.decision import Noise
from unitrack.gate.statistics import mean_of, pooled, resolution, rounded, spread_of, variance_ratio_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CHANGE_LEVEL", "PastNoise", "known_noise", "noise_of", "pool"]

CHANGE_LEVEL = 0.01
"""How unlikely a difference of variances must be for the noise to count as changed, on either side."""


class PastNoise(msgspec.Struct, frozen=True, kw_only=True):
    """The noise one gate measured for a metric: standard deviation of a difference, and its degrees of freedom."""

    sd: float
    df: int


def noise_of(differences: Sequence[float], *, same_commit: bool = False) -> PastNoise | None:
    """Return the noise of a gate's differences, None if they say nothing about it.

    Pairs of one commit have a true difference of zero, which spares a degree of freedom. Differences that are
    all the same are not noise of zero: the two programs did the same, or training has no noise to know.
    """
    if not differences or max(differences) - min(differences) <= resolution(differences):
        return None
    if same_commit:
        scale = max(map(abs, differences))
        return PastNoise(sd=scale * mean_of([(d / scale) ** 2 for d in differences]) ** 0.5, df=len(differences))
    return PastNoise(sd=spread_of(differences), df=len(differences) - 1)


def pool(past: Sequence[PastNoise], *, cap: int) -> Noise | None:
    """Pool what gates measured, newest first, back to where the noise changed; `cap` limits the degrees of freedom.

    Gates beyond those that the cap needs still make the estimate better. None without anything to pool.
    """
    sd, df, gates = 0.0, 0, 0
    for one in past:
        if gates and _changed(sd, df, one):
            break
        sd, df, gates = pooled(sd, df, one.sd, one.df), df + one.df, gates + 1
    if not gates or cap < 1:
        return None
    return Noise(sd=rounded(sd), df=min(df, cap), gates=gates, discarded=len(past) - gates)


def known_noise(earlier: Mapping[str, Sequence[Sequence[float]]], *, cap: int) -> dict[str, Noise]:
    """Return what is known for each metric from the differences of earlier gates, oldest first."""
    measured = {name: [noise_of(one) for one in reversed(gates)] for name, gates in earlier.items()}
    found = {name: pool([one for one in past if one is not None], cap=cap) for name, past in measured.items()}
    return {name: noise for name, noise in found.items() if noise is not None}


def _changed(sd: float, df: int, older: PastNoise) -> bool:
    larger = variance_ratio_tail(sd, df, older.sd, older.df)
    smaller = variance_ratio_tail(older.sd, older.df, sd, df)
    return min(larger, smaller) < CHANGE_LEVEL
