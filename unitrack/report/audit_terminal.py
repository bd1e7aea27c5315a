"""An audit as blocks for a terminal or a pipe; the command line prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.report._figures import inert
from unitrack.report.terminal import Grid, Line, plain_text

if TYPE_CHECKING:
    from unitrack.audit import Audit, Phase, Step

__all__ = ["blocks", "in_short", "render"]

_STYLES = {"satisfied": "green", "missing": "bold red", "not applicable": "dim"}


def blocks(audit: Audit) -> tuple[Line | Grid, ...]:
    """Return what to print, from top to bottom."""
    return (
        Line(text=f"audit of run {inert(audit.run)} of {inert(audit.project)}"),
        Line(text=in_short(audit), style="bold red" if audit.missing else "green"),
        *(block for phase in audit.phases for block in _phase(phase)),
        *_crisp(audit.crisp_dm),
        *_remedies(audit),
    )


def in_short(audit: Audit) -> str:
    """Return how many items stand how."""
    return f"{audit.satisfied} satisfied, {audit.missing} missing, {audit.not_applicable} not applicable"


def render(audit: Audit) -> str:
    """Return the same as plain text, columns aligned: what a pipe shows."""
    return plain_text(blocks(audit))


def _phase(phase: Phase) -> tuple[Line | Grid, ...]:
    rows = tuple((item.name, item.state, inert(item.evidence)) for item in phase.items)
    styles = tuple(_STYLES[item.state] for item in phase.items)
    grid = Grid(columns=("item", "state", "evidence"), rows=rows, styles=styles, right=())
    return (Line(text=""), Line(text=phase.title), grid)


def _crisp(steps: tuple[Step, ...]) -> tuple[Line | Grid, ...]:
    rows = tuple((step.title, step.state, inert(step.note or step.evidence or "")) for step in steps)
    styles = tuple(_STYLES[step.state] for step in steps)
    grid = Grid(columns=("step", "state", "note or evidence"), rows=rows, styles=styles, right=())
    return (Line(text=""), Line(text="CRISP-DM"), grid)


def _remedies(audit: Audit) -> tuple[Line, ...]:
    wanted = [(item.name, item.remedy) for item in audit.items if item.remedy]
    wanted += [(step.title, step.remedy) for step in audit.crisp_dm if step.remedy]
    if not wanted:
        return ()
    return (
        Line(text=""),
        Line(text="What would satisfy it"),
        *(Line(text=f"{name}: {remedy}") for name, remedy in wanted),
    )
