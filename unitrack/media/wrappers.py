"""What users wrap a value in to say how it should be shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

__all__ = ["Audio", "Figure", "File", "Histogram", "Html", "Image", "Table", "Text", "Video", "Wrapper"]

_MOST_BINS = 4096


# What may be given by position; subclasses add what is given by keyword only.


class _Shown(msgspec.Struct, frozen=True, eq=False):
    value: Any
    caption: str | None = None


class _Rows(msgspec.Struct, frozen=True, eq=False):
    value: Any = None
    caption: str | None = None


class _Counted(msgspec.Struct, frozen=True, eq=False):
    value: Any = None
    bins: int = 64
    caption: str | None = None


class Image(_Shown, frozen=True, eq=False):
    """A picture: a path, encoded bytes, a PIL image, or an array.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8, bool, or floats in [0, 1].
    """


class Figure(_Shown, frozen=True, eq=False):
    """A plot: a matplotlib or plotly figure, or a path."""


class Table(_Rows, frozen=True, eq=False, kw_only=True):
    """Rows under named columns: a pandas or polars frame, a list of dicts, or `columns=` and `rows=`."""

    columns: Sequence[Any] | None = None
    rows: Iterable[Sequence[Any]] | None = None


class Text(_Shown, frozen=True, eq=False):
    """Text, or a `pathlib.Path` to it."""


class Html(_Shown, frozen=True, eq=False):
    """A page: its text, or a path."""


class Audio(_Shown, frozen=True, eq=False, kw_only=True):
    """Sound: a path, encoded bytes with their `format`, or samples with their `sample_rate` in hertz.

    Samples are (frames,) or (frames, channels), int16, int32, or floats in [-1, 1].
    """

    sample_rate: int | None = None
    format: str | None = None


class Video(_Shown, frozen=True, eq=False, kw_only=True):
    """A film: a path, or encoded bytes with their `format`, such as `mp4`."""

    format: str | None = None


class File(_Shown, frozen=True, eq=False):
    """A file of any kind, by path."""


class Histogram(_Counted, frozen=True, eq=False, kw_only=True):
    """The distribution of numbers: an array, a tensor or any nested sequence, counted into `bins` of equal width."""

    edges: tuple[float, ...] | None = None
    counts: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bins, bool) or not isinstance(self.bins, int) or not 1 <= self.bins <= _MOST_BINS:
            raise ValueError(f"a histogram has 1 to {_MOST_BINS} bins, not {self.bins!r:.40}")

    @classmethod
    def from_counts(cls, edges: Iterable[float], counts: Iterable[float], *, caption: str | None = None) -> Histogram:
        """Make one from what was counted elsewhere: one edge more than counts, rising. Raises ValueError."""
        lines, amounts = [float(edge) for edge in edges], [_amount(count) for count in counts]
        if not amounts or len(lines) != len(amounts) + 1 or len(amounts) > _MOST_BINS:
            raise ValueError(
                f"a histogram of n counts has n + 1 edges, with n from 1 to {_MOST_BINS}; "
                f"given were {len(lines)} edges and {len(amounts)} counts"
            )
        rising = all(low < high for low, high in itertools.pairwise(lines))
        if not rising or not all(map(math.isfinite, (*lines, *amounts))) or min(amounts) < 0:
            raise ValueError("a histogram's edges are finite and rise, and its counts are finite and not negative")
        return cls(caption=caption, edges=tuple(lines), counts=tuple(amounts))


Wrapper = Image | Figure | Table | Text | Html | Audio | Video | Histogram | File


def _amount(count: float) -> float:
    return int(count) if float(count).is_integer() else float(count)
