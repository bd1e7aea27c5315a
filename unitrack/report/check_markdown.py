"""A check of the production model as GitHub-flavoured Markdown. What is foreign stands escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.report.check_terminal import blocks, in_short, said
from unitrack.report.markdown import code, escape
from unitrack.report.terminal import Grid

if TYPE_CHECKING:
    from unitrack.monitor import Check

__all__ = ["render"]

_MARKS = {"pass": "✅", "fail": "❌", "undecided": "❔"}


def render(check: Check) -> str:
    """Return the page; equal checks, equal text."""
    made = list(blocks(check))[2:]
    parts = [
        f"## {_MARKS[check.outcome]} Check of {code(check.model)}: {said(check).lower()}\n\n{escape(check.summary)}",
        escape(in_short(check)),
    ]
    for block in made:
        if isinstance(block, Grid):
            parts.append(_table(block))
        elif block.text:
            parts.append(f"- {escape(block.text)}")
    return "\n\n".join([*parts, f"Made by unitrack {escape(check.unitrack)}."]) + "\n"


def _table(grid: Grid) -> str:
    marks = ("---:" if name in grid.right else "---" for name in grid.columns)
    rows = (f"| {' | '.join(map(escape, row))} |" for row in grid.rows)
    return "\n".join([f"| {' | '.join(grid.columns)} |", f"| {' | '.join(marks)} |", *rows])
