"""The verdict as SARIF 2.1.0: failed metrics and slices, flags and missing facts as code-scanning results."""

from __future__ import annotations

import hashlib
import posixpath
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from unitrack.report._figures import failure, inert, interval, one_line, ranked, signed

if TYPE_CHECKING:
    from unitrack.gate.decision import MetricDecision, SliceDecision
    from unitrack.gate.verdict import Verdict

__all__ = ["render"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = {
    "metric-failed": "A metric lost more than its margin.",
    "metric-undecided": "A metric could not be decided.",
    "slice-failed": "A metric lost on a part of the examples.",
    "judge-changed": "The candidate changes what judges it.",
    "requirement-missing": "A fact that the policy demands was not recorded.",
}
_MOST = 1000  # results; GitHub shows no more than 5,000 of a run
_MOST_FILES = 10
_POLICY_FILE = "unitrack.toml"


def render(verdict: Verdict) -> str:
    """Return the log as JSON text; waived metrics are suppressed results."""
    results = _results(verdict)[:_MOST]
    help_ = {"text": f"Reproduce: {inert(verdict.reproduce, 4000)}"}
    rules = [{"id": name, "shortDescription": {"text": text}, "help": help_} for name, text in _RULES.items()]
    driver = {"name": "unitrack", "version": one_line(verdict.unitrack), "rules": rules}
    tree = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode() + "\n"


def _results(verdict: Verdict) -> list[dict[str, Any]]:
    return [
        *(_result(verdict, "judge-changed", "warning", flag.text, flag.kind) for flag in verdict.flags),
        *(
            _result(verdict, "requirement-missing", "error", f"{need.name}: {need.evidence}", need.name)
            for need in verdict.requirements
            if not need.satisfied
        ),
        *(_metric(verdict, one) for one in ranked(verdict.metrics) if one.decision in ("fail", "undecided")),
        *(
            _slice(verdict, one, part)
            for one in ranked(verdict.metrics)
            for part in one.slices
            if part.decision == "fail"
        ),
    ]


def _metric(verdict: Verdict, one: MetricDecision) -> dict[str, Any]:
    if one.decision == "undecided":
        level = "error" if verdict.blocks else "note"
        return _result(verdict, "metric-undecided", level, failure(verdict, one), one.name)
    made = _result(verdict, "metric-failed", "error", failure(verdict, one), one.name)
    if one.waived is None:
        return made
    reasons = {each.id: each.reason for each in verdict.waivers}
    said = inert(reasons.get(one.waived, one.waived), 1000)
    return made | {"suppressions": [{"kind": "external", "status": "accepted", "justification": said}]}


def _slice(verdict: Verdict, metric: MetricDecision, one: SliceDecision) -> dict[str, Any]:
    name = f"{metric.name} [{one.column}={one.value}]"
    text = f"{one_line(name)}: {one_line(one.reason)} Difference {signed(one.mean)}, 90% interval {interval(one)}."
    return _result(verdict, "slice-failed", "error", text, name)


def _result(verdict: Verdict, rule: str, level: str, text: str, subject: str) -> dict[str, Any]:
    shown = "\n".join(inert(line, 4000) for line in text.split("\n"))
    mark = hashlib.sha256(f"{rule}\0{subject}".encode(errors="backslashreplace")).hexdigest()
    made: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": level,
        # Brackets in a message are links to those who show it.
        "message": {"text": re.sub(r"[\[\]]", r"\\\g<0>", shown) or "(empty)"},
        "locations": [_location(_POLICY_FILE, line=1)],
        "partialFingerprints": {"unitrack/v1": mark},
    }
    files = [
        _location(file) | {"id": at + 1, "message": {"text": "changed since the baseline"}}
        for at, file in enumerate(file for file in verdict.lineage.files if _inside(file))
    ]
    return made | {"relatedLocations": files[:_MOST_FILES]} if files else made


def _inside(file: str) -> bool:
    """A name from a forged verdict must not lead out of the repository."""
    return not file.startswith("/") and posixpath.normpath(file).split("/")[0] not in ("", ".", "..")


def _location(file: str, *, line: int | None = None) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(file, errors="replace"), "uriBaseId": "%SRCROOT%"}}
    return {"physicalLocation": place | ({"region": {"startLine": line}} if line else {})}
