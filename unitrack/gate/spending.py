"""Spend an error rate over several looks at growing evidence.

Lan and DeMets (1983): a spending function says how much of the error rate may be used up by each look; nominal
levels follow by integrating the sums' distribution recursively (Armitage, McPherson and Rowe, 1969). Looks are
taken after 2, 3, ... pairs of at most `n_max`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from unitrack.gate.statistics import require_scipy, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Shape", "nominal_levels", "spent"]

Shape = Literal["obrien_fleming", "pocock"]

_FURTHEST = 9.0  # standard deviations from zero at which a sum's density is cut
_CELLS_PER_SD = 0.45
_STEPS = 60


def spent(level: float, share: float, shape: Shape) -> float:
    """Return how much of `level` may be used up when `share` (0 to 1) of the evidence is there."""
    if share <= 0:
        return 0.0
    if share >= 1:
        return level
    if shape == "pocock":
        return level * math.log1p((math.e - 1) * share)
    return min(level, 2 * _upper_tail(-NormalDist().inv_cdf(level / 2) / math.sqrt(share)))


@lru_cache(maxsize=4096)
def nominal_levels(level: float, n_max: int, shape: Shape) -> tuple[float, ...]:
    """Return the one-sided levels of the looks after 2, 3, ... `n_max` pairs; none for fewer than two.

    Tests of known variance that are made at each look at its level err with a chance of `level` over all looks.
    """
    levels: list[float] = []
    nodes, masses = None, None
    before = 0.0
    for n in range(2, n_max + 1):
        due = spent(level, n / n_max, shape)
        bound = _bound(_crossing(nodes, masses), due - before, n)
        before = due
        levels.append(rounded(_upper_tail(bound / math.sqrt(n))))
        nodes, masses = _gone_on(nodes, masses, bound, n)
    return tuple(levels)


def _upper_tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def _crossing(nodes: Any, masses: Any) -> Callable[[float], float]:
    """Return the chance that the next sum is above a bound and no earlier one was."""
    if nodes is None:  # the first look: a sum of two
        return lambda bound: _upper_tail(bound / math.sqrt(2))
    from scipy.special import ndtr

    return lambda bound: math.fsum((masses * ndtr(nodes - bound)).tolist())


def _bound(crossing: Callable[[float], float], chance: float, n: int) -> float:
    low, high = -_FURTHEST * math.sqrt(n), 38 * math.sqrt(n)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if crossing(middle) > chance:
            low = middle
        else:
            high = middle
    return high


def _gone_on(nodes: Any, masses: Any, bound: float, n: int) -> tuple[Any, Any]:
    """Return the sums of `n` that are below the bound, as nodes and the probability around each."""
    require_scipy()
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(10)
    low, high = -_FURTHEST * math.sqrt(n), min(bound, _FURTHEST * math.sqrt(n))
    cells = max(4, math.ceil((high - low) * _CELLS_PER_SD))
    width = (high - low) / cells
    made = (low + (np.arange(cells)[:, None] + (1 + places) / 2) * width).ravel()
    if nodes is None:
        density = np.exp(-(made**2) / 4) / math.sqrt(4 * math.pi)
    else:
        density = (masses * np.exp(-((made[:, None] - nodes) ** 2) / 2)).sum(axis=1) / math.sqrt(2 * math.pi)
    return made, density * np.tile(weights * width / 2, cells)
