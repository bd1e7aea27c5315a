"""Draw the interval of each metric against its margin, as SVG that needs no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from unitrack.report._figures import figure, interval, one_line, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.decision import MetricDecision

__all__ = ["forest"]

_MOST = 30
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 900, 250, 24, 28, 30
_SPAN = 4.0  # margins either side of zero, at most


def forest(metrics: Sequence[MetricDecision]) -> str:
    """Return a figure of the first metrics that have an interval and a margin; in units of the margin."""
    able = [one for one in metrics if one.margin and None not in (one.lower, one.upper, one.mean)]
    shown = able[:_MOST]
    if not shown:
        return ""
    ends = [abs(value) / (one.margin or 1.0) for one in shown for value in (one.lower, one.upper) if value is not None]
    span = min(_SPAN, max(1.6, *ends) * 1.08)
    height = _TOP + _ROW * len(shown) + 30
    left, limit, zero = _x(-span, span), _x(-1, span), _x(0, span)
    bottom = height - 30
    parts = [
        f'<rect class="beyond" x="{left}" y="{_TOP - 8}" width="{limit - left:.1f}" height="{bottom - _TOP + 8}"/>',
        f'<line class="limit" x1="{limit}" x2="{limit}" y1="{_TOP - 8}" y2="{bottom}"/>',
        f'<line class="zero" x1="{zero}" x2="{zero}" y1="{_TOP - 8}" y2="{bottom}"/>',
        f'<text x="{limit}" y="14" text-anchor="middle">margin</text>',
        f'<text x="{zero}" y="14" text-anchor="middle">no difference</text>',
        *(_row(one, at, span) for at, one in enumerate(shown)),
        f'<text x="{left}" y="{height - 8}">← worse</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{height - 8}" text-anchor="end">better →</text>',
    ]
    more = f" The first {_MOST} of {len(able)} metrics." if len(able) > _MOST else ""
    return (
        '<figure><h3>Difference against the margin</h3><div class="scroll wide" tabindex="0" role="region" '
        f'aria-label="Difference against the margin"><svg viewBox="0 0 {_WIDTH} {height}" role="group" '
        f'aria-label="Mean differences with 90% intervals, in units of the margin">{"".join(parts)}</svg></div>'
        f"<figcaption>Mean difference and 90% interval, each in units of its own margin.{more}</figcaption></figure>"
    )


def _row(one: MetricDecision, at: int, span: float) -> str:
    margin, y = one.margin or 1.0, _TOP + _ROW * at + 10
    low, mean, high = (_x((value or 0.0) / margin, span) for value in (one.lower, one.mean, one.upper))
    tip = f"{one_line(one.name)}\n{signed(one.mean)} ({interval(one)}), margin {figure(one.margin)}: {one.decision}"
    said = escape(tip).replace("\n", "&#10;")
    return (
        f'<text class="name" x="{_LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(one_line(one.name, 32))}</text>'
        f'<line class="bar {one.decision}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        f'<circle class="mark {one.decision}" cx="{mean}" cy="{y}" r="5.5" tabindex="0" role="img" '
        f'aria-label="{said}" data-tip="{said}"/>'
    )


def _x(margins: float, span: float) -> float:
    held = max(-span, min(span, margins))
    return round(_LEFT + (held + span) / (2 * span) * (_WIDTH - _LEFT - _RIGHT), 1)
