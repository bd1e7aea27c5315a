"""Count numbers into bins of equal width, with numpy if the numbers came with it."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from unitrack.media.foreign import as_numpy, is_array
from unitrack.model import number

__all__ = ["count"]

_LARGEST = sys.float_info.max


def count(values: Any, bins: int) -> dict[str, Any]:
    """Return `{"edges", "counts", "nan", "inf"}` of the numbers in `values`, however nested.

    Bins are half-open but for the last. Numbers that aren't finite are counted apart. Without
    any finite number there is one empty bin from 0 to 1. Raises TypeError for what is no number.
    """
    if is_array(values) and "numpy" in sys.modules:
        return _count_array(as_numpy(values, what="the histogram"), bins)
    numbers = list(_numbers(values))
    finite = [value for value in numbers if math.isfinite(value)]
    if not finite:
        edges, counts = [0.0, 1.0], [0]
    else:
        edges = _edges(min(finite), max(finite), bins)
        counts = [0] * bins
        for value in finite:
            counts[min(bisect_right(edges, value) - 1, bins - 1)] += 1
    nan = sum(map(math.isnan, numbers))
    return {"edges": edges, "counts": counts, "nan": nan, "inf": len(numbers) - len(finite) - nan}


def _count_array(array: Any, bins: int) -> dict[str, Any]:
    numpy: Any = sys.modules["numpy"]
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a histogram counts real numbers, not {array.dtype}")
    # Half precision can't tell neighbouring edges apart; larger types are counted without a copy.
    flat = array.reshape(-1).astype("float32") if array.dtype.itemsize < 4 else array.reshape(-1)
    finite = numpy.isfinite(flat)
    kept = flat if finite.all() else flat[finite]
    nan = int(numpy.isnan(flat).sum()) if len(kept) < len(flat) else 0
    rest = {"nan": nan, "inf": int(len(flat) - len(kept)) - nan}
    if not len(kept):
        return {"edges": [0.0, 1.0], "counts": [0], **rest}
    edges = _edges(float(kept.min()), float(kept.max()), bins)
    counts, _ = numpy.histogram(kept, bins=numpy.asarray(edges))
    return {"edges": edges, "counts": counts.tolist(), **rest}


def _numbers(values: Any) -> Iterator[float]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        yield float(number(values, what="a histogram's value"))
        return
    for value in values:
        yield from _numbers(value)


def _edges(low: float, high: float, bins: int) -> list[float]:
    width = high / bins - low / bins  # so that the whole range of floats doesn't overflow
    if not (low < low + width and high - width < high):
        pad = max(0.5, max(abs(low), abs(high)) * 1e-9)
        low, high = max(low - pad, -_LARGEST), min(high + pad, _LARGEST)
        width = high / bins - low / bins
    return [low, *(low + width * index for index in range(1, bins)), high]
