"""What earlier gates know about a metric's noise. Pure: others read the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.decision import Noise
from unitrack.gate.statistics import agreement_of, mean_of, pooled, resolution, rounded, spread_of, variance_ratio_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CHANGE_LEVEL", "PastNoise", "is_rounding", "known_noise", "noise_of", "pool"]

CHANGE_LEVEL = 0.01
"""How often noise that did not change may count as changed, over all moments at which it could have."""

_SURE_OF_LESS = 8  # degrees of freedom: noise that became less is believed only with so many


class PastNoise(msgspec.Struct, frozen=True, kw_only=True):
    """The noise one gate measured for a metric: standard deviation of a difference, and its degrees of freedom."""

    sd: float
    df: int


def is_rounding(differences: Sequence[float], values: Sequence[float]) -> bool:
    """Tell whether both programs did the same and only added up in another order: then no noise was measured."""
    return max(differences) - min(differences) <= resolution(values)


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

    Gates beyond those that the cap needs still make the estimate better. None without anything to pool. Gates of
    unlike noise count for less: what one change leaves of the tie between equal seeds, another may not.
    """
    if not past or cap < 1:
        return None
    kept = list(past)
    while (change := _change_in(kept)) is not None:
        kept = kept[:change]
    sd, df = _together(kept)
    df = agreement_of([(one.sd, one.df) for one in kept], sd=sd, most=min(df, cap))
    return Noise(sd=rounded(sd), df=df, gates=len(kept), discarded=len(past) - len(kept))


def _together(past: Sequence[PastNoise]) -> tuple[float, int]:
    sd, df = 0.0, 0
    for one in past:
        sd, df = pooled(sd, df, one.sd, one.df), df + one.df
    return sd, df


def _change_in(past: Sequence[PastNoise]) -> int | None:
    """Return how many of the newest gates are of other noise than those before them, None if all are of one."""
    splits = [(_unlikeness(past[:at], past[at:]), at) for at in range(1, len(past))]
    found = [(chance * 2 * len(splits), at) for chance, at in splits]
    return min(found)[1] if found and min(found)[0] < CHANGE_LEVEL else None


def _unlikeness(newer: Sequence[PastNoise], older: Sequence[PastNoise]) -> float:
    """Return how unlikely two variances so different are, if they are one; the smaller tail.

    A variance from few pairs that happens to be small must not replace a good estimate: gates that believe it would
    fail what is only noise.
    """
    (sd, df), (before, df_before) = _together(newer), _together(older)
    larger = variance_ratio_tail(sd, df, before, df_before)
    smaller = variance_ratio_tail(before, df_before, sd, df) if df >= _SURE_OF_LESS else 1.0
    return min(larger, smaller)


def known_noise(earlier: Mapping[str, Sequence[Sequence[float]]], *, cap: int) -> dict[str, Noise]:
    """Return what is known for each metric from the differences of earlier gates, oldest first."""
    measured = {name: [noise_of(one) for one in reversed(gates)] for name, gates in earlier.items()}
    found = {name: pool([one for one in past if one is not None], cap=cap) for name, past in measured.items()}
    return {name: noise for name, noise in found.items() if noise is not None}
