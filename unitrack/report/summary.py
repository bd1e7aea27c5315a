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
_MOST_NAMES = 10
_UNEVEN = 0.5  # of the distance between two points: as much as rounding to whole steps may shift one


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
    head = "### Charts\n\nThe first line of a chart, grey, is the baseline; the second, blue, the candidate.\n\n"
    return [Section(name="Charts", rank=4, head=head, items=drawn, plural="charts", between="\n\n")]


def _seeds(verdict: Verdict, one: MetricDecision) -> str | None:
    baseline, candidate = _numbers(one.baseline), _numbers(one.candidate)
    names = [str(seed) for seed in verdict.seeds]
    return chart(f"{one.name} by seed", x="seed", at=names, y=one.name, lines=[baseline, candidate])


def _numbers(values: Sequence[Value]) -> list[float]:
    return [float("nan") if value is None else float(restore(value)) for value in values]


def _curves(verdict: Verdict, one: MetricDecision) -> str | None:
    """Draw each side's mean over the seeds at the steps that all its curves have."""
    own = [each for each in verdict.curves if each.metric == one.name]
    sides = [_at_steps([each for each in own if each.side == side]) for side in ("baseline", "candidate")]
    steps, at = _spread(sorted(set(sides[0]) & set(sides[1])))
    if len(steps) < 2:
        return None
    lines = [[side[step] for step in steps] for side in sides]
    return chart(f"{one.name}, mean of the seeds", x="step", at=at, y=one.name, lines=lines)


def _spread(steps: Sequence[float]) -> tuple[Sequence[float], tuple[float, float] | list[str]]:
    """Return which steps to draw, and where: Mermaid puts points at equal distances, so others are few and named."""
    even = _thinned(steps, _MOST_POINTS)
    width = (even[-1] - even[0]) / (len(even) - 1) if len(even) > 1 else 0.0
    if width and all(abs(step - even[0] - n * width) <= _UNEVEN * width for n, step in enumerate(even)):
        return even, (even[0], even[-1])
    few = _thinned(steps, _MOST_NAMES)
    return few, [f"{step:g}" for step in few]


def _thinned(steps: Sequence[float], most: int) -> Sequence[float]:
    if len(steps) <= most:
        return steps
    return [steps[round(n * (len(steps) - 1) / (most - 1))] for n in range(most)]


def _at_steps(curves: Sequence[Curve]) -> dict[float, float]:
    found: dict[float, list[float]] = {}
    for curve in curves:
        for step, value in zip(curve.steps, _numbers(curve.values), strict=False):
            found.setdefault(step, []).append(value)
    return {step: sum(values) / len(values) for step, values in found.items() if len(values) == len(curves)}
