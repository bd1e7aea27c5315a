"""The verdict as a job's summary: the Markdown report with charts that need no image host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.model import restore
from unitrack.report import markdown
from unitrack.report._figures import ranked
from unitrack.report._fitting import Section, fit
from unitrack.report._mermaid import chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.decision import MetricDecision, Value
    from unitrack.gate.verdict import Curve, Verdict

__all__ = ["LARGEST", "render"]

LARGEST = 900 * 1024  # bytes; GitHub takes 1 MiB a step, which may write more than this report
_MOST_CHARTS = 8
_MOST_POINTS = 40


def render(verdict: Verdict, *, limit: int = LARGEST) -> str:
    """Return the report with charts, in at most `limit` bytes of UTF-8."""
    made = markdown.sections(verdict)
    at = next(index for index, section in enumerate(made) if section.name == "Reasons") + 1
    charts = _charts(verdict)
    return fit([*made[:at], *charts, *made[at:]], limit=limit, whole=markdown.WHOLE, measure=_bytes)


def _bytes(text: str) -> int:
    return len(text.encode())


def _charts(verdict: Verdict) -> list[Section]:
    shown = [one for one in ranked(verdict.metrics) if one.decision != "reported"][:_MOST_CHARTS]
    drawn = [text for one in shown for text in (_seeds(verdict, one), _curves(verdict, one)) if text]
    if not drawn:
        return []
    head = "### Charts\n\nThe first line of a chart is the baseline, the second the candidate.\n\n"
    return [Section(name="Charts", rank=4, head=head, items=drawn, plural="charts", between="\n\n")]


def _seeds(verdict: Verdict, one: MetricDecision) -> str | None:
    baseline, candidate = _numbers(one.baseline), _numbers(one.candidate)
    names = [str(seed) for seed in verdict.seeds]
    return chart(f"{one.name} by seed", x=names, y=one.name, lines=[baseline, candidate])


def _numbers(values: Sequence[Value]) -> list[float]:
    return [float("nan") if value is None else float(restore(value)) for value in values]


def _curves(verdict: Verdict, one: MetricDecision) -> str | None:
    """Draw each side's mean over the seeds at the steps that all its curves have."""
    own = [each for each in verdict.curves if each.metric == one.name]
    sides = [_at_steps([each for each in own if each.side == side]) for side in ("baseline", "candidate")]
    steps = sorted(set(sides[0]) & set(sides[1]))
    steps = steps[:: 1 + len(steps) // _MOST_POINTS]
    lines = [[side[step] for step in steps] for side in sides]
    names = [f"{step:g}" if at % (1 + len(steps) // 10) == 0 else " " for at, step in enumerate(steps)]
    return chart(f"{one.name}, mean of the seeds by step", x=names, y=one.name, lines=lines) if len(steps) > 1 else None


def _at_steps(curves: Sequence[Curve]) -> dict[float, float]:
    found: dict[float, list[float]] = {}
    for curve in curves:
        for step, value in zip(curve.steps, _numbers(curve.values), strict=False):
            found.setdefault(step, []).append(value)
    return {step: sum(values) / len(values) for step, values in found.items() if len(values) == len(curves)}
