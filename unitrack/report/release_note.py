"""The release note of a model version that took an alias, as Markdown. Every text of the verdict is foreign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.report._figures import day, figure, interval, one_line, short, signed
from unitrack.report.markdown import code, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unitrack.gate.attestation import Statement
    from unitrack.gate.verdict import Verdict

__all__ = ["render"]

_MOST = 50  # metrics, commits


def render(statement: Statement, verdict: Verdict, *, alias: str, previous: str | None, reason: str, who: str) -> str:
    """Return the note; equal arguments, equal text. `previous` is the version that had the alias before."""
    told = statement.predicate
    before = f"; before: {code(previous)}" if previous else "; nothing had it before"
    parts = [
        f"# {code(told.model_version)} is {code(alias)}",
        f"By {escape(who)}{before}.{f' {escape(reason)}' if reason else ''}",
        _metrics(verdict),
        _listed("Let through by waivers", list(_waivers(verdict))),
        _listed("Changes", [code(one) for one in verdict.lineage.commits]),
        _listed("Look at", [escape(one.text) for one in verdict.flags]),
        _facts(statement, verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metrics(verdict: Verdict) -> str:
    head = "| metric | before | now | difference | 90% interval | margin | decision |"
    rows = [
        f"| {code(one.name, cell=True)} {'↑' if one.goal == 'maximize' else '↓'} | {figure(one.baseline_mean)} | "
        f"{figure(one.candidate_mean)} | {signed(one.mean)} | {interval(one)} | {figure(one.margin)} | "
        f"{one.decision}{' (waived)' if one.waived else ''} |"
        for one in verdict.metrics[:_MOST]
    ]
    left = len(verdict.metrics) - len(rows)
    more = f"\n\n{left} more metrics are in the verdict." if left else ""
    return "\n".join([head, "| --- | ---: | ---: | ---: | ---: | ---: | --- |", *rows]) + more


def _waivers(verdict: Verdict) -> Iterator[str]:
    for one in verdict.waivers:
        yield f"{code(one.metric)} until {day(one.expires)}, by {escape(one.who)}: {escape(one.reason)}"


def _listed(title: str, items: list[str]) -> str:
    if not items:
        return ""
    more = [f"and {len(items) - _MOST} more"] if len(items) > _MOST else []
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in [*items[:_MOST], *more])


def _facts(statement: Statement, verdict: Verdict) -> str:
    told = statement.predicate
    digests = [f"{name}:{value}" for one in statement.subject for name, value in one.digest.items()]
    facts = [
        ("artifact", ", ".join(digests)),
        ("commit", told.candidate.commit),
        ("content", told.candidate.tree),
        ("compared with", f"{told.baseline.model or 'commit'} at {short(told.baseline.commit)}"),
        ("seeds", ", ".join(map(str, told.seeds))),
        ("image", told.image),
        ("policy", told.policy_sha256),
        ("verdict", told.verdict.key),
        *((f"data {name}", version) for name, version in told.data.items()),
        ("judge again with", one_line(verdict.reproduce, 4000)),
    ]
    return _listed("Facts", [f"{escape(name)}: {code(value)}" for name, value in facts if value])
