"""Numbers, short texts and the order of what matters, as every report shows them."""

from __future__ import annotations

import datetime
import math
import re
from typing import TYPE_CHECKING

from unitrack.model import restore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.gate.decision import Decision, MetricDecision, SliceDecision, Value
    from unitrack.gate.verdict import Cost, Verdict

__all__ = [
    "ORDER",
    "blocking_of",
    "cause_of",
    "cost_of",
    "day",
    "evidence_of",
    "examples_of",
    "failure",
    "figure",
    "inert",
    "interval",
    "limits_of",
    "noise_of",
    "one_line",
    "ranked",
    "seeds_of",
    "short",
    "signed",
    "slices_that_matter",
    "sparkline",
    "spent_of",
    "tier_of",
    "values",
]

ORDER: tuple[Decision, ...] = ("fail", "undecided", "pass", "reported")
"""Decisions, most important first."""

_BARS = "▁▂▃▄▅▆▇█"
_LONGEST = 300
_COMMAND = re.compile(r"::|##(?=\w*\[)")
_TIERS = {
    "bit_equal": "training reproduces bit for bit",
    "within_1e-6": "training reproduces within 1e-6",
    "statistically_equal": "training reproduces up to its noise",
    "not_reproduced": "training does not reproduce",
}


def figure(value: Value) -> str:
    """Return a number with five digits, `-` for none."""
    number = restore(value)
    return "-" if number is None else f"{number:.5g}"


def signed(value: Value) -> str:
    """Return a difference with its sign, `-` for none."""
    number = restore(value)
    return "-" if number is None else f"{number:+.5g}"


def interval(decision: MetricDecision | SliceDecision) -> str:
    """Return the bounds of the mean difference, `-` where no test was made."""
    if decision.lower is None or decision.upper is None:
        return "-"
    return f"{decision.lower:+.4g} to {decision.upper:+.4g}"


def limits_of(one: MetricDecision) -> str:
    """Return what a metric may lose, and what it may come to: `0.02`, `≤ 60`, `-` for nothing."""
    bounds = (
        f"{sign} {figure(bound)}" for sign, bound in (("≥", one.minimum), ("≤", one.maximum)) if bound is not None
    )
    return ", ".join(([] if one.margin is None else [figure(one.margin)]) + [*bounds]) or "-"


def values(items: Sequence[Value]) -> str:
    """Return the values of the seeds in a row."""
    return ", ".join(map(figure, items)) or "-"


def sparkline(items: Sequence[Value]) -> str:
    """Draw a bar a value between the least and the greatest; `·` for a gap, a middle bar when all are equal."""
    numbers = [math.nan if item is None else float(restore(item)) for item in items]
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return "·" * len(numbers)
    low, span = min(finite), max(finite) - min(finite)
    return "".join(_bar(number, low, span) for number in numbers)


def _bar(number: float, low: float, span: float) -> str:
    if not math.isfinite(number):
        return "·"
    return _BARS[round((number - low) / span * (len(_BARS) - 1))] if span > 0 else _BARS[3]


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return foreign text as one visible line: control and direction characters are shown escaped."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def inert(text: str, longest: int = _LONGEST) -> str:
    """Return foreign text as one line that no CI system reads as a command (`::error::`, `##[error]`)."""
    return _COMMAND.sub(lambda found: rf"\x{ord(found[0][0]):x}{found[0][1:]}", one_line(text, longest))


def short(commit: str) -> str:
    """Return the first twelve characters of a commit's id."""
    return commit[:12]


def day(moment: float) -> str:
    """Return epoch seconds as a day in UTC; a time no calendar has is told as the number it is."""
    try:
        return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return f"{moment:g}"


def seeds_of(seeds: Sequence[int]) -> str:
    """Name the seeds: `seeds 0, 1, 2`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds)) or 'none'}"


def ranked(metrics: Iterable[MetricDecision]) -> list[MetricDecision]:
    """Return the metrics, most important first, otherwise in the order of the policy."""
    return sorted(metrics, key=lambda one: ORDER.index(one.decision))


def slices_that_matter(metrics: Iterable[MetricDecision]) -> list[tuple[MetricDecision, SliceDecision]]:
    """Return the slices that fail, are undecided or look worse, the worst first."""
    found = [
        (metric, one)
        for metric in metrics
        for one in metric.slices
        if one.decision in ("fail", "undecided") or (one.adjusted is not None and one.adjusted <= 0.05)
    ]
    return sorted(found, key=lambda pair: (ORDER.index(pair[1].decision), _or(pair[1].adjusted, 1.0)))


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def noise_of(one: MetricDecision) -> str | None:
    """Say what is known of a metric's noise and of what this many seeds can show."""
    parts = []
    if one.noise is not None:
        gone = f", {one.noise.discarded} older left out" if one.noise.discarded else ""
        plural = "s" if one.noise.gates != 1 else ""
        parts.append(f"standard deviation {figure(one.noise.sd)} from {one.noise.gates} gate{plural}{gone}")
    if one.correlation is not None:
        parts.append(f"seeds correlate by {one.correlation:.2f}")
    if one.detectable is not None:
        parts.append(f"drops from {figure(one.detectable)} on would show")
    if one.seeds_needed is not None and one.decision == "undecided":
        parts.append(f"about {one.seeds_needed} seeds would decide")
    return "; ".join(parts) or None


_TESTS = {"mcnemar": "McNemar's exact test", "delong": "DeLong's test", "bootstrap": "a paired bootstrap"}


def examples_of(one: MetricDecision) -> str | None:
    """Say what the test over examples tells, which decides nothing; None where there was none."""
    found = one.examples
    if found is None:
        return None
    turned = "" if found.lost is None or found.won is None else f"; {found.lost:,} lost, {found.won:,} won"
    return (
        f"{signed(found.mean)} over {found.n:,} examples, 90% interval {signed(found.lower)} to {signed(found.upper)} "
        f"({_TESTS[found.test]}, p = {found.p_fail:.2g} for no loss{turned})"
    )


def spent_of(one: MetricDecision) -> str | None:
    """Say how much of the error rates a metric's looks used up, None where no test was made."""
    if not one.spent_pass and not one.spent_fail:
        return None
    rates = (f"{100 * (rate or 0.0):.2g}%" for rate in (one.spent_pass, one.spent_fail))
    return "error rates spent: {} to pass wrongly, {} to fail wrongly".format(*rates)


def cost_of(cost: Cost) -> str:
    """Say what the evidence cost."""
    minutes = f"{cost.seconds:.0f} s" if cost.seconds < 120 else f"{cost.seconds / 60:.1f} min"
    return f"{minutes} of training: {cost.trained} trained, {cost.cached} from the cache"


def tier_of(verdict: Verdict) -> str | None:
    """Say how well training reproduces, where that was measured."""
    return None if verdict.tier is None else _TIERS[verdict.tier]


def blocking_of(verdict: Verdict) -> str:
    """Say whether an outcome other than a pass keeps the candidate out, where that is not plain."""
    if verdict.outcome == "pass":
        return ""
    if not verdict.blocks:
        return " It does not block."
    return " It blocks." if verdict.outcome == "undecided" else ""


def cause_of(verdict: Verdict) -> str:
    """Return the heading of the likely cause: where nothing is wrong it is but what differs."""
    return "What differs." if verdict.outcome == "pass" else "Likely cause."


def evidence_of(verdict: Verdict, one: MetricDecision) -> str:
    """Say what a decision rests on, as a sentence of numbers: the values themselves where there is no difference."""
    if one.cause == "rule":  # which has said all it knows
        return f"{seeds_of(verdict.seeds).capitalize()}."
    if one.mean is None:
        sides = f"Baseline {values(one.baseline)}; candidate {values(one.candidate)}"
        return f"{sides}; margin {limits_of(one)}, {seeds_of(verdict.seeds)}."
    return (
        f"Difference {signed(one.mean)}, 90% interval {interval(one)}, margin {limits_of(one)}, "
        f"{seeds_of(verdict.seeds)}."
    )


def failure(verdict: Verdict, one: MetricDecision) -> str:
    """Say all that a reader of a failed metric needs, as plain lines."""
    sides = (
        ()
        if one.mean is None or one.cause == "rule"
        else (f"baseline {values(one.baseline)}", f"candidate {values(one.candidate)}")
    )
    return "\n".join(
        (
            f"{one_line(one.name)}: {one_line(one.reason, 1000)}",
            evidence_of(verdict, one),
            *((f"by examples: {told}",) if (told := examples_of(one)) else ()),
            *sides,
            f"{cause_of(verdict)[:-1].lower()}: {one_line(verdict.lineage.likely_cause, 1000)}",
            f"reproduce: {one_line(verdict.reproduce, 4000)}",
        )
    )
