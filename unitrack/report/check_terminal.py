"""A check of the production model as blocks for a terminal or a pipe; the command line prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.report._figures import figure, inert, signed
from unitrack.report.terminal import Grid, Line, plain_text, style_of

if TYPE_CHECKING:
    from unitrack.monitor import Check, DataSide, FeatureDrift, MetricCheck

__all__ = ["MOST_FEATURES", "blocks", "in_short", "ranked_features", "render", "said"]

MOST_FEATURES = 200
"""Features in a table; the JSON has all."""

_STATES = {"drift": "bold red", "unclear": "yellow", "stable": "green", "untested": "dim"}
_ORDER = ("drift", "unclear", "untested", "stable")


def blocks(check: Check) -> tuple[Line | Grid, ...]:
    """Return what to print, from top to bottom."""
    return (
        Line(text=f"{said(check)}  {inert(check.summary, 1000)}", style=style_of(check.outcome)),
        Line(text=in_short(check)),
        *(Line(text=f"warning: {inert(text)}", style="yellow") for text in check.warnings),
        *_metrics(check),
        *_changes(check),
        *_features(check),
        *_reasons(check),
    )


def render(check: Check) -> str:
    """Return the same as plain text, columns aligned: what a pipe shows."""
    return plain_text(blocks(check))


def said(check: Check) -> str:
    """Return the outcome in a word or two."""
    if check.outcome != "fail":
        return "FINE" if check.outcome == "pass" else "UNDECIDED"
    return " AND ".join(word for word, found in (("WORSE", check.worse), ("DRIFT", check.drifted)) if found)


def in_short(check: Check) -> str:
    """Say what was compared with what."""
    words = [f"{inert(check.model)}, trained by run {inert(check.trained_by)}, monitoring run {inert(check.run)}"]
    if check.metrics:
        words.append(f"metrics at promotion: {inert(check.promotion)}")
    if check.reference is not None and check.fresh is not None:
        words.append(f"reference {_side(check.reference)}; fresh {_side(check.fresh)}")
    return "; ".join(words)


def _side(side: DataSide) -> str:
    of = f" of {side.total:,}" if side.total != side.rows else ""
    return f"{inert(side.source)} ({side.rows:,}{of} rows)"


def _metrics(check: Check) -> tuple[Line | Grid, ...]:
    if not check.metrics:
        return ()
    columns = ("metric", "fresh", "promotion", "difference", "90 % interval", "margin", "known by", "decision")
    grid = Grid(
        columns=columns,
        rows=tuple(map(_metric, check.metrics)),
        styles=tuple(style_of(one.decision) for one in check.metrics),
        right=columns[1:6],
    )
    return (Line(text=""), grid)


def _metric(one: MetricCheck) -> tuple[str, ...]:
    between = "-" if one.lower is None or one.upper is None else f"{one.lower:+.4g} to {one.upper:+.4g}"
    return (
        inert(one.name), figure(one.fresh), figure(one.reference), signed(one.difference), between, figure(one.margin),
        one.basis, one.decision,
    )  # fmt: skip


def _changes(check: Check) -> tuple[Line | Grid, ...]:
    if not check.changes:
        return ()
    rows = tuple((inert(one.column), one.what, inert(one.reason)) for one in check.changes)
    styles = tuple("bold red" if one.gates else "dim" for one in check.changes)
    return (Line(text=""), Grid(columns=("column", "change", "what"), rows=rows, styles=styles, right=()))


def ranked_features(check: Check) -> list[FeatureDrift]:
    """Return the features, those that drift first, then by size."""

    def key(one: FeatureDrift) -> tuple[int, float]:
        found = one.distribution
        return _ORDER.index(one.state), 0.0 if found is None else -found.size / found.threshold

    return sorted(check.features, key=key)


def _features(check: Check) -> tuple[Line | Grid, ...]:
    found = ranked_features(check)
    if not found:
        return ()
    columns = ("feature", "test", "size", "threshold", "adjusted p", "missing", "was", "unseen", "state")
    grid = Grid(
        columns=columns,
        rows=tuple(map(_feature, found[:MOST_FEATURES])),
        styles=tuple(_STATES[one.state] for one in found[:MOST_FEATURES]),
        right=columns[2:8],
    )
    more = len(found) - MOST_FEATURES
    left = [Line(text=f"and {more:,} more features: --format json has all", style="dim")] if more > 0 else []
    return (Line(text=""), grid, *left)


def _feature(one: FeatureDrift) -> tuple[str, ...]:
    test = one.distribution
    figures = (
        ("-",) * 4 if test is None else (test.test, figure(test.size), figure(test.threshold), figure(test.adjusted))
    )
    unseen = "-" if one.unseen is None else f"{one.unseen:.1%}"
    state = one.state if one.gates else f"{one.state} (reported)"
    return inert(one.feature), *figures, f"{one.missing_fresh:.1%}", f"{one.missing_reference:.1%}", unseen, state


def _reasons(check: Check) -> tuple[Line, ...]:
    told = [(one.name, one.reason) for one in check.metrics if one.decision != "pass"]
    told += [
        (one.feature, one.reason + (f" New: {', '.join(one.new)}." if one.new else ""))
        for one in ranked_features(check)[:MOST_FEATURES]
        if one.state != "stable"
    ]
    return (*([Line(text="")] if told else []), *(Line(text=f"{inert(name)}: {inert(why, 600)}") for name, why in told))
