"""What of a verdict goes onto a card. Pure; texts of a verdict are foreign and become dead."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unitrack.gate.verdict import Verdict

__all__ = ["verdict_parts"]

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_HEADERS = ["metric", "role", "baseline", "candidate", "difference", "decision"]


def verdict_parts(verdict: Verdict) -> tuple[str, list[str], list[list[str]], list[str]]:
    """Return a title, a table's headers, its rows, and the reasons; title, reasons and first cells are Markdown."""
    title = f"## Gate: {verdict.outcome}\n\n{_dead(verdict.candidate.reference)} against {_baseline(verdict)}"
    rows = [
        [
            _dead(one.name),
            one.role,
            _figure(one.baseline_mean),
            _figure(one.candidate_mean),
            _figure(one.mean, signed=True),
            one.decision,
        ]
        for one in verdict.metrics
    ]
    return title, list(_HEADERS), rows, [f"{_dead(one.name)}: {_dead(one.reason)}" for one in verdict.metrics]


def _baseline(verdict: Verdict) -> str:
    return _dead(verdict.baseline.reference or "nothing")


def _figure(value: float | None, *, signed: bool = False) -> str:
    return "-" if value is None else f"{value:+.4g}" if signed else f"{value:.4g}"


def _dead(text: str) -> str:
    return _MARKS.sub(r"\\\1", html.escape(text))
