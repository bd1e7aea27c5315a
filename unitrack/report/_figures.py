"""Numbers and short texts as every report shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unitrack.model import restore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.decision import MetricDecision, Value

__all__ = ["figure", "interval", "one_line", "short", "signed", "sparkline", "values"]

_BARS = "▁▂▃▄▅▆▇█"
_LONGEST = 300


def figure(value: Value) -> str:
    """Return a number with five digits, `-` for none."""
    number = restore(value)
    return "-" if number is None else f"{number:.5g}"


def signed(value: Value) -> str:
    """Return a difference with its sign, `-` for none."""
    number = restore(value)
    return "-" if number is None else f"{number:+.5g}"


def interval(decision: MetricDecision) -> str:
    """Return the bounds of the mean difference, `-` where no test was made."""
    if decision.lower is None or decision.upper is None:
        return "-"
    return f"{decision.lower:+.4g} to {decision.upper:+.4g}"


def values(items: Sequence[Value]) -> str:
    """Return the values of the seeds in a row."""
    return ", ".join(map(figure, items)) or "-"


def sparkline(items: Sequence[Value]) -> str:
    """Draw a bar a value between the least and the greatest; `·` for a gap, a middle bar when all are equal."""
    numbers = [math.nan if item is None else float(restore(item)) for item in items]
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return "·" * len(numbers)
    low, span = min(finite), max(finite) - min(finite)
    return "".join(_bar(number, low, span) for number in numbers)


def _bar(number: float, low: float, span: float) -> str:
    if not math.isfinite(number):
        return "·"
    return _BARS[round((number - low) / span * (len(_BARS) - 1))] if span > 0 else _BARS[3]


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return foreign text as one visible line: control and direction characters are shown escaped."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def short(commit: str) -> str:
    """Return the first twelve characters of a commit's id."""
    return commit[:12]
