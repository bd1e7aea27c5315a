"""The verdict as blocks for a terminal or a pipe; the command line prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.report._figures import figure, interval, one_line, short, signed, sparkline, values

if TYPE_CHECKING:
    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.verdict import Subject, Verdict

__all__ = ["Grid", "Line", "blocks", "style_of"]

_STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow", "reported": "dim"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of text with a style by name (`bold red`), or none."""

    text: str
    style: str | None = None


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under titles, a style for each row; `right` names the columns of numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    styles: tuple[str, ...]
    right: tuple[str, ...]


def blocks(verdict: Verdict) -> tuple[Line | Grid, ...]:
    """Return what to print, from top to bottom."""
    return (
        Line(text=f"{verdict.outcome.upper()}  {one_line(verdict.summary)}", style=style_of(verdict.outcome)),
        Line(text=f"candidate {_subject(verdict.candidate)}, baseline {_subject(verdict.baseline)}"),
        *(Line(text=f"warning: {one_line(warning)}", style="yellow") for warning in verdict.warnings),
        Line(text=""),
        _grid(verdict),
        Line(text="difference: candidate minus baseline, turned so that + is better", style="dim"),
        Line(text=""),
        *(line for one in verdict.metrics for line in _reason(one, verdict.seeds)),
        Line(text=one_line(verdict.lineage.likely_cause, 1000)),
        Line(text=f"reproduce: {one_line(verdict.reproduce, 4000)}"),
    )


def style_of(decision: str) -> str:
    """Return the style of an outcome or decision."""
    return _STYLES[decision]


def _subject(subject: Subject) -> str:
    return f"{one_line(subject.model or subject.reference)} ({short(subject.commit)})"


def _grid(verdict: Verdict) -> Grid:
    rows = tuple(
        (
            one_line(one.name),
            one.role,
            figure(one.baseline_mean),
            figure(one.candidate_mean),
            signed(one.mean),
            interval(one),
            figure(one.margin),
            sparkline(one.differences) or "-",
            one.decision,
        )
        for one in verdict.metrics
    )
    titles = ("metric", "role", "baseline", "candidate", "difference", "90% interval", "margin", "by seed", "decision")
    return Grid(
        columns=titles, rows=rows, styles=tuple(style_of(one.decision) for one in verdict.metrics), right=titles[2:7]
    )


def _reason(one: MetricDecision, seeds: tuple[int, ...]) -> list[Line]:
    lines = [Line(text=f"{one_line(one.name)}: {one_line(one.reason, 1000)}", style=style_of(one.decision))]
    if one.decision in ("fail", "undecided"):
        named = ", ".join(map(str, seeds))
        lines.append(Line(text=f"  seeds {named}: baseline {values(one.baseline)}"))
        lines.append(Line(text=f"  seeds {named}: candidate {values(one.candidate)}"))
    return lines
