"""Write charts that GitHub draws itself: Mermaid's `xychart-beta`, with foreign text made harmless."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from unitrack.report._figures import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["chart", "label"]

_KEPT = re.compile(r"[^\w .,/@+()=-]")  # quotes, braces, %%, ; and backticks all mean something to Mermaid
_NUMBER = "{:.6g}"


def label(text: str, longest: int = 60) -> str:
    """Return foreign text as a quoted string of Mermaid; what could end or change it becomes `_`."""
    kept = _KEPT.sub("_", one_line(text, longest).replace("…", "..."))
    # The first word could be one of Mermaid's own or a mention; a gap after @ takes its life.
    return '"' + kept.replace("@", "@\u200b").strip() + '"'


def chart(
    title: str, *, x: Sequence[str], y: str, lines: Sequence[Sequence[float]], bars: Sequence[Sequence[float]] = ()
) -> str | None:
    """Return a fenced chart, or None where there is no finite number to draw or the lengths differ."""
    series = [*lines, *bars]
    numbers = [value for each in series for value in each]
    whole = all(len(each) == len(x) for each in series) and all(map(math.isfinite, numbers))
    if not numbers or not whole:
        return None
    low, high = min(numbers), max(numbers)
    pad = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    made = [
        "```mermaid",
        "xychart-beta",
        f"    title {label(title)}",
        f"    x-axis [{', '.join(label(each, 12) for each in x)}]",
        f"    y-axis {label(y)} {_plain(low - pad)} --> {_plain(high + pad)}",
        *(f"    bar [{', '.join(map(_plain, each))}]" for each in bars),
        *(f"    line [{', '.join(map(_plain, each))}]" for each in lines),
        "```",
    ]
    return "\n".join(made)


def _plain(value: float) -> str:
    """Return a number without an exponent, which Mermaid's grammar has no room for."""
    text = _NUMBER.format(value)
    if "e" not in text:
        return text
    return f"{value:.12f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.0f}"
