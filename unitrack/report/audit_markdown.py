"""An audit as GitHub-flavoured Markdown. Evidence and notes are foreign: they stand escaped, names as code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.report.audit_terminal import in_short
from unitrack.report.markdown import code, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.audit import Audit

__all__ = ["render"]

_MARKS = {"satisfied": "✅ satisfied", "missing": "❌ **missing**", "not applicable": "not applicable"}


def render(audit: Audit) -> str:
    """Return the page; equal audits, equal text."""
    parts = [f"## Audit of run {code(audit.run)} of {code(audit.project)}\n\n{in_short(audit)}."]
    for phase in audit.phases:
        rows = (
            (code(item.name), _MARKS[item.state], escape(item.evidence), _code(item.remedy)) for item in phase.items
        )
        titles = ("item", "state", "evidence", "what would satisfy it")
        parts.append(f"### {phase.title}\n\n{_table(titles, rows)}")
    steps = (
        (step.title, _MARKS[step.state], _prose(step.note), _prose(step.evidence), _code(step.remedy))
        for step in audit.crisp_dm
    )
    columns = ("step", "state", "owner's note", "evidence", "what would satisfy it")
    parts += [f"### CRISP-DM\n\n{_table(columns, steps)}", f"Made by unitrack {escape(audit.unitrack)}."]
    return "\n\n".join(parts) + "\n"


def _prose(text: str | None) -> str:
    return escape(text) if text else "-"


def _code(remedy: str | None) -> str:
    return "-" if remedy is None else code(remedy, cell=True)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])
