"""The verdict as blocks for a terminal or a pipe; the command line prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.report._figures import (
    blocking_of,
    cause_of,
    cost_of,
    day,
    examples_of,
    figure,
    inert,
    interval,
    limits_of,
    noise_of,
    ranked,
    seeds_of,
    short,
    signed,
    slices_that_matter,
    sparkline,
    tier_of,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.verdict import Subject, Verdict

__all__ = ["Grid", "Line", "blocks", "plain_text", "render", "style_of"]

_MOST_SLICES = 20
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
    said = f"{verdict.outcome.upper()}  {inert(verdict.summary)}{blocking_of(verdict)}"
    return (
        Line(text=said, style=style_of(verdict.outcome)),
        Line(text=f"candidate {_subject(verdict.candidate)}, baseline {_subject(verdict.baseline)}"),
        *_notices(verdict),
        Line(text=""),
        _grid(verdict),
        Line(text="difference: candidate minus baseline, turned so that + is better", style="dim"),
        Line(text=""),
        *(line for one in ranked(verdict.metrics) for line in _reason(one, verdict.seeds)),
        *_slices(verdict),
        *_records(verdict),
        *_facts(verdict),
        Line(text=f"{cause_of(verdict)[:-1].lower()}: {inert(verdict.lineage.likely_cause, 1000)}"),
        Line(text=f"reproduce: {inert(verdict.reproduce, 4000)}"),
    )


def render(verdict: Verdict) -> str:
    """Return the same as plain text, columns aligned: what a pipe shows."""
    return plain_text(blocks(verdict))


def plain_text(made: Iterable[Line | Grid]) -> str:
    """Return blocks as text, columns aligned."""
    return "\n".join(line for block in made for line in _plain(block)) + "\n"


def _plain(block: Line | Grid) -> list[str]:
    if isinstance(block, Line):
        return [block.text]
    rows = [block.columns, *block.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [name in block.right for name in block.columns]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]


def _notices(verdict: Verdict) -> list[Line]:
    used = verdict.test_set.warning if verdict.test_set else None
    return [
        *(Line(text=f"flag: {flag.kind}: {inert(flag.text)}", style="bold yellow") for flag in verdict.flags),
        *(Line(text=f"warning: {inert(text)}", style="yellow") for text in (*verdict.warnings, used) if text),
    ]


def _slices(verdict: Verdict) -> list[Line | Grid]:
    found = slices_that_matter(verdict.metrics)
    if not found:
        return []
    rows = tuple(
        (
            inert(metric.name),
            inert(f"{one.column} = {one.value}"),
            f"{one.size:,}",
            signed(one.mean),
            interval(one),
            "-" if one.adjusted is None else f"{one.adjusted:.2g}",
            one.decision,
        )
        for metric, one in found[:_MOST_SLICES]
    )
    titles = ("metric", "slice", "examples", "difference", "90% interval", "adjusted p", "decision")
    styles = tuple(style_of(one.decision) for _, one in found[:_MOST_SLICES])
    more = len(found) - len(rows)
    rest = [Line(text=f"{more} more slices: see verdict.json", style="dim")] if more else []
    return [Line(text=""), Grid(columns=titles, rows=rows, styles=styles, right=titles[2:6]), *rest, Line(text="")]


def _records(verdict: Verdict) -> list[Line]:
    waivers = (
        f"waiver {inert(one.id)}: {inert(one.metric)} until {day(one.expires)}, for {inert(one.scope)}, "
        f"by {inert(one.who)}: {inert(one.reason)}"
        for one in verdict.waivers
    )
    requirements = (
        (
            f"requirement {inert(one.name)} {'met' if one.satisfied else 'NOT met'}: {inert(one.evidence)}",
            one.satisfied,
        )
        for one in verdict.requirements
    )
    return [
        *(Line(text=text, style="yellow") for text in waivers),
        *(Line(text=text, style=None if met else "bold red") for text, met in requirements),
    ]


def _facts(verdict: Verdict) -> list[Line]:
    noise = (f"{inert(one.name)}: {text}" for one in ranked(verdict.metrics) if (text := noise_of(one)))
    examples = (f"{inert(one.name)}: {text}" for one in ranked(verdict.metrics) if (text := examples_of(one)))
    cost = None if verdict.cost is None else cost_of(verdict.cost)
    return [Line(text=text, style="dim") for text in (*examples, *noise, tier_of(verdict), cost) if text]


def style_of(decision: str) -> str:
    """Return the style of an outcome or decision."""
    return _STYLES[decision]


def _subject(subject: Subject) -> str:
    return f"{inert(subject.model or subject.reference)} ({short(subject.commit) or 'none yet'})"


def _grid(verdict: Verdict) -> Grid:
    rows = tuple(
        (
            inert(one.name),
            one.role,
            figure(one.baseline_mean),
            figure(one.candidate_mean),
            signed(one.mean),
            interval(one),
            limits_of(one),
            sparkline(one.differences) or "-",
            f"{one.decision} (waived)" if one.waived else one.decision,
        )
        for one in ranked(verdict.metrics)
    )
    titles = ("metric", "role", "baseline", "candidate", "difference", "90% interval", "margin", "by seed", "decision")
    styles = tuple(style_of(one.decision) for one in ranked(verdict.metrics))
    return Grid(columns=titles, rows=rows, styles=styles, right=titles[2:7])


def _reason(one: MetricDecision, seeds: tuple[int, ...]) -> list[Line]:
    lines = [Line(text=f"{inert(one.name)}: {inert(one.reason, 1000)}", style=style_of(one.decision))]
    if one.decision in ("fail", "undecided"):
        named = seeds_of(seeds)
        lines.append(Line(text=f"  {named}: baseline {values(one.baseline)}"))
        lines.append(Line(text=f"  {named}: candidate {values(one.candidate)}"))
    return lines
