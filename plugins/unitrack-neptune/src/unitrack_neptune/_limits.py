"""What each of Neptune's clients and its server can hold."""

from __future__ import annotations

import msgspec

__all__ = ["LEGACY", "SCALE", "Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one client; texts are counted in bytes of UTF-8, so that either way of counting holds."""

    path: int = 1024
    text: int
    """Of a single text value, bytes."""
    line: int
    """Of one point of a text series, bytes."""
    integer: int
    """The bits of an integer value, sign included."""
    digits: int | None = None
    """Decimals of a step that are kept, all of them if None."""
    steps: tuple[float, float] | None = None
    """The steps a series takes: from the first up to, not including, the second."""
    bins: int = 0
    """Edges of a histogram that a series takes; 0 if it takes none."""
    file_series: bool = False
    non_finite_values: bool = False
    """Whether a single value (not a series) may be NaN or infinite."""


SCALE = Limits(
    text=64 * 1024,
    line=1024 * 1024,
    integer=64,
    digits=6,
    steps=(0.0, 1e12),
    bins=513,
    file_series=True,
    non_finite_values=True,
)
LEGACY = Limits(text=16384, line=1000, integer=32)
