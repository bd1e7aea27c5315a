"""The verdict as GitHub-flavoured Markdown, for comments and job summaries.

Every text from the verdict is foreign: names, commits' subjects, paths, even the verdict itself may
come from a stranger's branch. Names stand in code spans, where a mention or a link is dead; sentences are
escaped character by character.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unitrack.report._figures import figure, interval, one_line, short, signed, sparkline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.verdict import Subject, Verdict

__all__ = ["code", "escape", "render"]

_TITLES = {"pass": "✅ Gate passed", "fail": "❌ Gate failed", "undecided": "❔ Gate undecided"}
_MARKS = {"pass": "✅ pass", "fail": "❌ **fail**", "undecided": "❔ undecided", "reported": "reported"}
_MARKUP = re.compile(r"[\\`*_\[\]|~$]")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_GAP = "\u200b"  # a zero-width space: takes the life out of @mentions, #references and links
_LIVE = re.compile(r"(@|#|:(?=//)|www(?=\.))", re.IGNORECASE)
_BACKSLASH = "\u29f5"  # looks like one and escapes nothing
_LONGEST_COMMAND = 4000


def render(verdict: Verdict) -> str:
    """Return the report; equal verdicts, equal text."""
    parts = [
        _head(verdict),
        _warnings(verdict),
        _metrics_table(verdict.metrics),
        _reasons(verdict),
        _changes(verdict),
        _seeds_table(verdict),
        _reproduce(verdict),
        _foot(verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Return foreign text for the middle of a line of Markdown, shown as it is and doing nothing."""
    line = _MARKUP.sub(r"\\\g<0>", one_line(text, 2000).translate(_ENTITIES))
    # A reference such as &#123; cannot be made here: its & is encoded, its # is followed by a gap.
    return _LIVE.sub(rf"\1{_GAP}", line)


def code(text: str, *, cell: bool = False) -> str:
    """Return foreign text as a code span; with `cell`, safe in a table, where even code is split at pipes."""
    line = one_line(text) or " "
    if cell:  # some parsers read \\| as an escaped backslash and a border: no backslash may stand before a pipe
        line = re.sub(r"\\+(?=\|)", lambda found: _BACKSLASH * len(found[0]), line).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _head(verdict: Verdict) -> str:
    model = f": {code(verdict.policy.model)}" if verdict.policy.model else ""
    seeds = f"seed{'s' if len(verdict.seeds) > 1 else ''} {', '.join(map(str, verdict.seeds))}"
    return (
        f"## {_TITLES[verdict.outcome]}{model}\n\n{escape(verdict.summary)}\n\n"
        f"Candidate {_subject(verdict.candidate)} against baseline {_subject(verdict.baseline)}, {seeds}."
    )


def _subject(subject: Subject) -> str:
    reference = subject.model or subject.reference
    commit = code(short(subject.commit))
    return commit if reference.startswith(subject.commit[:7]) else f"{code(reference)} ({commit})"


def _warnings(verdict: Verdict) -> str:
    return "\n".join(f"- ⚠️ {escape(warning)}" for warning in verdict.warnings)


def _metrics_table(decisions: Sequence[MetricDecision]) -> str:
    titles = ("metric", "role", "baseline", "candidate", "difference", "90% interval", "margin", "by seed", "decision")
    rows = (
        (
            f"{code(one.name, cell=True)} {'↑' if one.goal == 'maximize' else '↓'}",
            one.role,
            figure(one.baseline_mean),
            figure(one.candidate_mean),
            signed(one.mean),
            interval(one),
            figure(one.margin),
            sparkline(one.differences) or "-",
            _MARKS[one.decision],
        )
        for one in decisions
    )
    note = "Differences are candidate minus baseline, turned so that + is better; bars are seeds."
    return f"{_table(titles, '---', rows, right=range(2, 7))}\n\n<sub>{note}</sub>"


def _table(titles: Sequence[str], rule: str, rows: Iterable[Sequence[str]], *, right: Iterable[int]) -> str:
    rules = [f"{rule}:" if at in set(right) else rule for at in range(len(titles))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *rows))


def _reasons(verdict: Verdict) -> str:
    order = ("fail", "undecided", "pass", "reported")
    ranked = sorted(verdict.metrics, key=lambda one: order.index(one.decision))
    lines = [f"- {_MARKS[one.decision]} {code(one.name)}: {escape(one.reason)}" for one in ranked]
    return "### Why\n\n" + "\n".join(lines)


def _changes(verdict: Verdict) -> str:
    lineage = verdict.lineage
    lines = [f"**Likely cause.** {escape(lineage.likely_cause)}"]
    for kind in ("data", "packages", "hardware", "params"):
        changed = [change for change in lineage.changes if change.kind == kind]
        items = (f"{code(each.name)}: {_value(each.baseline)} → {_value(each.candidate)}" for each in changed)
        lines += _fold(kind.capitalize(), list(items))
    lines += _fold("Commits", [code(commit) for commit in lineage.commits])
    lines += _fold("Files", [code(file) for file in lineage.files])
    if lineage.omitted:
        lines.append(f"{lineage.omitted} more are left out.")
    return "### What changed\n\n" + "\n\n".join(lines)


def _value(value: str | None) -> str:
    return "none" if value is None else code(value)


def _fold(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    listed = "\n".join(f"- {item}" for item in items)
    return [f"<details><summary>{title} ({len(items)})</summary>\n\n{listed}\n\n</details>"]


def _seeds_table(verdict: Verdict) -> str:
    """Show each seed's values: a verdict's numbers, to be checked by hand."""
    rows = (
        (code(one.name, cell=True), side, *map(show, numbers))
        for one in verdict.metrics
        for side, numbers, show in (
            ("baseline", one.baseline, figure),
            ("candidate", one.candidate, figure),
            ("difference", one.differences, signed),
        )
        if numbers
    )
    titles = ("metric", "", *(f"seed {seed}" for seed in verdict.seeds))
    made = _table(titles, "---", rows, right=range(2, len(titles)))
    return f"<details><summary>Values by seed</summary>\n\n{made}\n\n</details>"


def _reproduce(verdict: Verdict) -> str:
    command = one_line(verdict.reproduce, _LONGEST_COMMAND)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"### Reproduce\n\n{fence}sh\n{command}\n{fence}"


def _foot(verdict: Verdict) -> str:
    source = escape(verdict.policy_source)
    return f"<sub>Policy {code(verdict.policy_sha256[:12])} from {source}; unitrack {escape(verdict.unitrack)}.</sub>"
