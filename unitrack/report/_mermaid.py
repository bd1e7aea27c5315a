"""Write charts that GitHub draws itself: Mermaid's `xychart-beta`, with foreign text made harmless."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from unitrack.report._figures import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["chart", "label"]

_KEPT = re.compile(r"[^\w .,/@+()=-]")  # quotes, braces, %%, ; and backticks all mean something to Mermaid
# Mermaid's own first colour is next to white. These stand out from a light page and a dark one.
_COLOURS = """---
config:
  themeVariables:
    xyChart:
      plotColorPalette: "#8b949e, #1f7ae0"
---"""
_LEAST = 1e-30  # below it numbers are drawn as zero


def label(text: str, longest: int = 60) -> str:
    """Return foreign text as a quoted string of Mermaid; what could end or change it becomes `_`.

    Its grammar has no empty string.
    """
    kept = _KEPT.sub("_", one_line(text, longest).replace("…", "..."))
    # The first word could be one of Mermaid's own or a mention; a gap after @ takes its life.
    return '"' + (kept.replace("@", "@\u200b").strip() or "_") + '"'


def chart(
    title: str, *, x: str, at: Sequence[str] | tuple[float, float], y: str, lines: Sequence[Sequence[float]]
) -> str | None:
    """Return a fenced chart, or None where there is no finite number to draw or the lengths differ.

    `x` and `y` name the axes. `at` names each point of the lines, or says where the first and the last of evenly
    spaced ones are.
    """
    numbers, lengths = [value for each in lines for value in each], {len(each) for each in lines}
    if not numbers or len(lengths) != 1 or not all(map(math.isfinite, numbers)):
        return None
    places = _places(at, *lengths)
    if places is None:
        return None
    low, high = min(numbers), max(numbers)
    pad = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    made = [
        "```mermaid",
        _COLOURS,
        "xychart-beta",
        f"    title {label(title)}",
        f"    x-axis {label(x)} {places}",
        f"    y-axis {label(y)} {_plain(low - pad)} --> {_plain(high + pad)}",
        *(f"    line [{', '.join(map(_plain, each))}]" for each in lines),
        "```",
    ]
    return "\n".join(made)


def _places(at: Sequence[str] | tuple[float, float], points: int) -> str | None:
    """Return the places on the axis; names that are equal would be one place, so such points are counted instead."""
    if isinstance(at[0], float):
        return " --> ".join(_plain(float(end)) for end in at)
    if len(at) != points:
        return None
    names = [label(str(each), 12) for each in at]
    return f"[{', '.join(names if len(set(names)) == points else (label(str(n)) for n in range(1, points + 1)))}]"


def _plain(value: float) -> str:
    """Return a number of six digits without an exponent, which Mermaid's grammar has no room for."""
    return "0" if abs(value) < _LEAST else format(Decimal(f"{value:.6g}"), "f")
