"""Steps and times that a series takes: the step rises with every point, the time never falls."""

from __future__ import annotations

import math

import msgspec

from unitrack_neptune._limits import Limits

__all__ = ["Series", "fit", "following", "micros"]

_MICRO = 1_000_000


class Series(msgspec.Struct, frozen=True):
    """Where a series stands: the step and the time of its last point."""

    step: float = -math.inf
    time: float = 0.0


def micros(step: float) -> int:
    """Return a step in millionths, the nearest; exact for every whole number."""
    whole = math.floor(step)
    return whole * _MICRO + round((step - whole) * _MICRO)


def fit(step: float, limits: Limits) -> float:
    """Return the step as the series would hold it: with the decimals that are kept."""
    if limits.digits is None or type(step) is int:
        return step
    whole, part = divmod(micros(step), _MICRO)
    return whole + part / _MICRO


def following(series: Series, limits: Limits) -> float:
    """Return the next whole step above the last; 0 for the first point."""
    floor = 0.0 if limits.steps is None else limits.steps[0]
    return floor if series.step < floor else math.floor(series.step) + 1
