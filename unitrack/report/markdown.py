"""The verdict as GitHub-flavoured Markdown, for comments.

Every text from the verdict is foreign: names, commits' subjects, paths, even the verdict itself may
come from a stranger's branch. Names stand in code spans, where a mention or a link is dead; sentences are
escaped character by character. What does not fit is left out in whole rows and items, and said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unitrack.report._figures import (
    blocking_of,
    cause_of,
    cost_of,
    day,
    evidence_of,
    examples_of,
    figure,
    inert,
    interval,
    limits_of,
    noise_of,
    one_line,
    ranked,
    seeds_of,
    short,
    signed,
    slices_that_matter,
    sparkline,
    spent_of,
    tier_of,
)
from unitrack.report._fitting import Section, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.gate.decision import MetricDecision, SliceDecision
    from unitrack.gate.verdict import Subject, Verdict, Waiver

__all__ = ["LONGEST", "WHOLE", "code", "escape", "render", "sections", "table_head"]

LONGEST = 60_000  # characters; GitHub takes 65,536, and a comment may have lines of others around it
WHOLE = "The whole is in `verdict.json`; `unitrack report verdict.json --format html` shows it."

_TITLES = {"pass": "✅ Gate passed", "fail": "❌ Gate failed", "undecided": "❔ Gate undecided"}
_MARKS = {"pass": "✅ pass", "fail": "❌ **fail**", "undecided": "❔ undecided", "reported": "reported"}
_MARKUP = re.compile(r"[\\`*_\[\]|~$]")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_GAP = "\u200b"  # a zero-width space: takes the life out of @mentions, #references, links and ::commands::
_LIVE = re.compile(r"(@|#|:(?=//|:)|www(?=\.))", re.IGNORECASE)
_START = re.compile(r"^(\d*)([-+=.)])")  # of a list or an underline, at the start of a line
_BACKSLASH = "\u29f5"  # looks like one and escapes nothing
_LONGEST_COMMAND = 4000
_DASH = "-"


def render(verdict: Verdict, *, limit: int = LONGEST) -> str:
    """Return the report in at most `limit` characters; equal verdicts, equal text."""
    return fit(sections(verdict), limit=limit, whole=WHOLE)


def sections(verdict: Verdict) -> list[Section]:
    """Return the parts of the report in the order of the page."""
    made = [
        Section(name="Outcome", rank=0, head=_head(verdict), fixed=True),
        _notices(verdict),
        _metrics_table(verdict.metrics),
        _reasons(verdict),
        _slices(verdict),
        _waivers(verdict),
        _requirements(verdict),
        Section(name="Likely cause", rank=0, head=_cause(verdict), fixed=True),
        *_changes(verdict),
        _examples(verdict),
        _noise(verdict),
        _seeds_table(verdict),
        Section(name="Reproduce", rank=0, head=_reproduce(verdict), fixed=True),
        Section(name="Foot", rank=0, head=_foot(verdict), fixed=True),
    ]
    return [section for section in made if section is not None]


def escape(text: str) -> str:
    """Return foreign text for the middle of a line of Markdown, shown as it is and doing nothing."""
    line = _MARKUP.sub(r"\\\g<0>", one_line(text, 2000).strip().translate(_ENTITIES))
    # A reference such as &#123; cannot be made here: its & is encoded, its # is followed by a gap.
    return _LIVE.sub(rf"\1{_GAP}", _START.sub(r"\1\\\2", line)) or "(empty)"


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
    recorded = " Recorded runs of the baseline were used." if verdict.mode == "recorded" else ""
    return (
        f"## {_TITLES[verdict.outcome]}{model}\n\n{escape(verdict.summary)}{blocking_of(verdict)}\n\n"
        f"Candidate {_subject(verdict.candidate)} against baseline {_subject(verdict.baseline)}, "
        f"{seeds_of(verdict.seeds)}.{recorded}"
    )


def _subject(subject: Subject) -> str:
    reference = subject.model or subject.reference
    if not subject.commit:
        return f"{code(reference)} (none yet)"
    commit = code(short(subject.commit))
    return commit if reference.startswith(subject.commit[:7]) else f"{code(reference)} ({commit})"


def _notices(verdict: Verdict) -> Section | None:
    used = verdict.test_set.warning if verdict.test_set else None
    items = [
        *(f"- 🚩 **{flag.kind.replace('_', ' ')}** {escape(flag.text)}" for flag in verdict.flags),
        *(f"- ⚠️ {escape(warning)}" for warning in (*verdict.warnings, *([used] if used else []))),
    ]
    return Section(name="Flags and warnings", rank=1, head="", items=items, plural="lines") if items else None


def _metrics_table(decisions: Sequence[MetricDecision]) -> Section:
    titles = ("metric", "role", "baseline", "candidate", "difference", "90% interval", "margin", "by seed", "decision")
    rows = (
        (
            f"{code(one.name, cell=True)} {'↑' if one.goal == 'maximize' else '↓'}",
            one.role,
            figure(one.baseline_mean),
            figure(one.candidate_mean),
            signed(one.mean),
            interval(one),
            limits_of(one),
            sparkline(one.differences) or "-",
            _MARKS[one.decision] + (" (waived)" if one.waived else ""),
        )
        for one in ranked(decisions)
    )
    note = "Differences are candidate minus baseline, turned so that + is better; bars are seeds."
    return Section(
        name="Metrics",
        rank=4,
        head=table_head(titles, right=range(2, 7)),
        items=_rows(rows),
        foot=f"\n\n<sub>{note}</sub>",
    )


def table_head(titles: Sequence[str], *, right: Iterable[int]) -> str:
    """Return the first two lines of a table; `right` are the columns of numbers."""
    rules = ["---:" if at in set(right) else "---" for at in range(len(titles))]
    return "".join(f"{line}\n" for line in _rows((titles, rules)))


def _rows(rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def _reasons(verdict: Verdict) -> Section:
    lines = [_reason(verdict, one) for one in ranked(verdict.metrics)]
    return Section(name="Reasons", rank=3, head="### Why\n\n", items=lines)


def _reason(verdict: Verdict, one: MetricDecision) -> str:
    line = f"- {_MARKS[one.decision]} {code(one.name)}: {escape(one.reason)}"
    if one.decision != "fail":
        return line
    return f"{line} {evidence_of(verdict, one)}"


def _slices(verdict: Verdict) -> Section | None:
    found = slices_that_matter(verdict.metrics)
    if not found:
        return None
    titles = ("metric", "slice", "examples", "difference", "90% interval", "adjusted p", "decision")
    return Section(
        name="Slices that matter",
        rank=5,
        head="### Slices that matter\n\n" + table_head(titles, right=range(2, 6)),
        items=_rows(_slice_row(metric, one) for metric, one in found),
    )


def _slice_row(metric: MetricDecision, one: SliceDecision) -> tuple[str, ...]:
    return (
        code(metric.name, cell=True),
        code(f"{one.column} = {one.value}", cell=True),
        f"{one.size:,}",
        signed(one.mean),
        interval(one),
        _DASH if one.adjusted is None else f"{one.adjusted:.2g}",
        _MARKS[one.decision],
    )


def _waivers(verdict: Verdict) -> Section | None:
    items = [_waiver(one) for one in verdict.waivers]
    return Section(name="Waivers", rank=2, head="### Waivers\n\n", items=items, plural="waivers") if items else None


def _waiver(one: Waiver) -> str:
    return (
        f"- {code(one.metric)} until {day(one.expires)}, for {code(one.scope)}, by {escape(one.who)}: "
        f"{escape(one.reason)} ({code(one.id)})"
    )


def _requirements(verdict: Verdict) -> Section | None:
    items = [
        f"- {'✅' if one.satisfied else '❌ **missing**'} {code(one.name)}: {escape(one.evidence)}"
        for one in sorted(verdict.requirements, key=lambda one: one.satisfied)
    ]
    return Section(name="Requirements", rank=6, head="### Requirements\n\n", items=items) if items else None


def _cause(verdict: Verdict) -> str:
    return f"### What changed\n\n**{cause_of(verdict)}** {escape(verdict.lineage.likely_cause)}"


def _changes(verdict: Verdict) -> list[Section]:
    lineage = verdict.lineage
    made = []
    for kind in ("data", "packages", "image", "hardware", "params", "seeds"):
        changed = [change for change in lineage.changes if change.kind == kind]
        items = [f"{code(each.name)}: {_value(each.baseline)} → {_value(each.candidate)}" for each in changed]
        made += _fold(kind.capitalize(), items)
    made += _fold("Commits", [code(commit) for commit in lineage.commits])
    made += _fold("Files", [code(file) for file in lineage.files])
    if lineage.omitted:
        made.append(Section(name="More changes", rank=7, head=f"{lineage.omitted} more are left out."))
    return made


def _value(value: str | None) -> str:
    return "none" if value is None else code(value)


def _fold(title: str, items: list[str], *, rank: int = 7) -> list[Section]:
    if not items:
        return []
    head = f"<details><summary>{title} ({len(items)})</summary>\n\n"
    listed = [f"- {item}" for item in items]
    return [Section(name=title, rank=rank, head=head, items=listed, foot="\n\n</details>", plural="lines")]


def _examples(verdict: Verdict) -> Section | None:
    items = [f"{code(one.name)}: {text}" for one in ranked(verdict.metrics) if (text := examples_of(one))]
    return next(iter(_fold("Tests over examples", items, rank=8)), None)


def _noise(verdict: Verdict) -> Section | None:
    found = ((one, noise_of(one)) for one in ranked(verdict.metrics))
    items = [f"{code(one.name)}: {text}" for one, text in found if text is not None]
    items += [
        f"{code(one.name)}: margin {figure(one.margin)}, {escape(one.margin_reason)}"
        for one in ranked(verdict.metrics)
        if one.margin_reason
    ]
    items += [f"{code(one.name)}: {text}" for one in ranked(verdict.metrics) if (text := spent_of(one))]
    return next(iter(_fold("Noise, margins, error rates", items, rank=8)), None)


def _seeds_table(verdict: Verdict) -> Section:
    """Show each seed's values: a verdict's numbers, to be checked by hand."""
    rows = (
        (code(one.name, cell=True), side, *map(show, numbers))
        for one in ranked(verdict.metrics)
        for side, numbers, show in (
            ("baseline", one.baseline, figure),
            ("candidate", one.candidate, figure),
            ("difference", one.differences, signed),
        )
        if numbers
    )
    titles = ("metric", "", *(f"seed {seed}" for seed in verdict.seeds))
    return Section(
        name="Values by seed",
        rank=9,
        head="<details><summary>Values by seed</summary>\n\n" + table_head(titles, right=range(2, len(titles))),
        items=_rows(rows),
        foot="\n\n</details>",
    )


def _reproduce(verdict: Verdict) -> str:
    command = inert(verdict.reproduce, _LONGEST_COMMAND)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"### Reproduce\n\n{fence}sh\n{command}\n{fence}"


def _foot(verdict: Verdict) -> str:
    facts = [
        f"Policy {code(verdict.policy_sha256[:12])} from {escape(verdict.policy_source)}",
        *([f"{tier}"] if (tier := tier_of(verdict)) else []),
        *([cost_of(verdict.cost)] if verdict.cost else []),
        *([f"test data judged {verdict.test_set.verdicts} times"] if verdict.test_set else []),
        f"unitrack {escape(verdict.unitrack)}",
    ]
    return f"<sub>{'; '.join(facts)}.</sub>"
