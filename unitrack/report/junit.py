"""The verdict as JUnit XML: a test case for each metric and each slice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from unitrack.report._figures import failure, interval, one_line, ranked, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.decision import Decision, MetricDecision
    from unitrack.gate.verdict import Verdict

__all__ = ["render"]

# The characters XML 1.0 has no way to write, not even as references.
_ILLEGAL = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(verdict: Verdict) -> str:
    """Return the document; an undecided metric is an error if the verdict blocks, else skipped."""
    suites = [_suite("metrics", [_metric(verdict, one) for one in ranked(verdict.metrics)])]
    suites += [
        _suite(f"slices of {one.name}", [_slice(verdict, one, at) for at in range(len(one.slices))])
        for one in ranked(verdict.metrics)
        if one.slices
    ]
    requirements = [
        _case("requirements", one.name, "pass" if one.satisfied else "fail", one_line(one.evidence), verdict)
        for one in verdict.requirements
    ]
    suites += [_suite("requirements", requirements)] if requirements else []
    counts = _counts([case for _, cases in suites for case in cases])
    inner = "\n".join(
        f"<testsuite name={_quoted(name)} {_counts(cases)}>\n{_lines(cases)}\n</testsuite>" for name, cases in suites
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="unitrack gate" {counts}>\n{inner}\n</testsuites>\n'
    )


def _suite(name: str, cases: list[str]) -> tuple[str, list[str]]:
    return name, cases


def _lines(cases: Sequence[str]) -> str:
    return "\n".join(cases)


def _counts(cases: Sequence[str]) -> str:
    found = {word: sum(f"<{word} " in case for case in cases) for word in ("failure", "error", "skipped")}
    return (
        f'tests="{len(cases)}" failures="{found["failure"]}" errors="{found["error"]}" '
        f'skipped="{found["skipped"]}" time="0"'
    )


def _metric(verdict: Verdict, one: MetricDecision) -> str:
    if one.waived is not None:
        return _case(
            "metrics", one.name, "reported", f"waived by {one_line(one.waived)}: {one_line(one.reason)}", verdict
        )
    if one.decision == "reported":
        return _case("metrics", one.name, "reported", one_line(one.reason), verdict)
    return _case("metrics", one.name, one.decision, one_line(one.reason), verdict, details=failure(verdict, one))


def _slice(verdict: Verdict, metric: MetricDecision, at: int) -> str:
    one = metric.slices[at]
    details = (
        f"{one_line(one.reason)}\ndifference {signed(one.mean)} (90% interval {interval(one)}), {one.size} examples"
    )
    name = f"{metric.name} [{one.column}={one.value}]"
    return _case("slices", name, one.decision, one_line(one.reason), verdict, details=details)


def _case(group: str, name: str, decision: Decision, message: str, verdict: Verdict, *, details: str = "") -> str:
    head = f'<testcase classname={_quoted(f"unitrack.{group}")} name={_quoted(name)} time="0"'
    said = f"message={_quoted(message)}"
    if decision == "pass":
        return f"{head}/>"
    if decision == "fail":
        return f'{head}><failure {said} type="fail">{_text(details)}</failure></testcase>'
    if decision == "undecided" and verdict.blocks:
        return f'{head}><error {said} type="undecided">{_text(details)}</error></testcase>'
    return f"{head}><skipped {said}/></testcase>"


def _legal(text: str) -> str:
    return _ILLEGAL.sub(lambda found: ascii(found[0])[1:-1], text)


def _quoted(text: str) -> str:
    return quoteattr(_legal(one_line(text)))


def _text(text: str) -> str:
    return escape(_legal(text))
