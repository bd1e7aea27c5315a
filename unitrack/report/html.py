"""The verdict as one HTML file: no network, readable without scripts, interactive with them.

Foreign text reaches the page in two ways only: escaped, or as JSON in a script element that nothing runs.
The policy in the head lets the page run its own script and style by their digests, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

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
    spent_of,
    tier_of,
)
from unitrack.report._forest import forest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.gate.decision import MetricDecision, SliceDecision
    from unitrack.gate.verdict import Subject, Verdict

__all__ = ["asset", "digest", "render", "table"]

_TITLES = {"pass": "Gate passed", "fail": "Gate failed", "undecided": "Gate undecided"}
_SIGNS = {"pass": "✓", "fail": "✕", "undecided": "?", "reported": "·"}
_MOST_STATIC = 200
_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render(verdict: Verdict) -> str:
    """Return the page; equal verdicts, equal text."""
    style, script = asset("report.css"), asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"{_TITLES[verdict.outcome]}{': ' + verdict.policy.model if verdict.policy.model else ''}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="plain">\n{_body(verdict)}\n'
        f'<script type="application/json" id="data">{_data(verdict)}</script>\n<script>{script}</script>\n'
        "</body>\n</html>\n"
    )


def asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return (importlib.resources.files("unitrack.report") / "assets" / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Return the source expression by which a policy lets exactly this text through."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(text: str, longest: int = 1000) -> str:
    return escape(one_line(text, longest))


def _body(verdict: Verdict) -> str:
    parts = (
        _head(verdict),
        _notices(verdict),
        _metrics(verdict),
        _reasons(verdict),
        _plots(verdict),
        _slices(verdict),
        _records(verdict),
        _lineage(verdict),
        _seeds(verdict),
        _facts(verdict),
    )
    return f"<main>\n{chr(10).join(part for part in parts if part)}\n</main>"


def _head(verdict: Verdict) -> str:
    model = f" <code>{_text(verdict.policy.model)}</code>" if verdict.policy.model else ""
    recorded = "; recorded runs of the baseline were used" if verdict.mode == "recorded" else ""
    return (
        f'<header>\n<h1><span class="{verdict.outcome}">{_SIGNS[verdict.outcome]} {_TITLES[verdict.outcome]}</span>'
        f"{model}</h1>\n<p>{_text(verdict.summary)}{blocking_of(verdict)}</p>\n"
        f'<p class="soft">Candidate {_subject(verdict.candidate)} against baseline {_subject(verdict.baseline)}, '
        f"{seeds_of(verdict.seeds)}{recorded}.</p>\n</header>"
    )


def _subject(subject: Subject) -> str:
    commit = f"<code>{_text(short(subject.commit))}</code>" if subject.commit else "none yet"
    return f"{_text(subject.model or subject.reference)} ({commit})"


def _notices(verdict: Verdict) -> str:
    used = verdict.test_set.warning if verdict.test_set else None
    items = [f"<b>Flag: {flag.kind.replace('_', ' ')}.</b> {_text(flag.text)}" for flag in verdict.flags]
    items += [_text(text) for text in (*verdict.warnings, used) if text]
    return f'<div class="notices">{_list(items)}</div>' if items else ""


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _word(decision: str, *, waived: bool = False) -> str:
    return f'<b class="{decision}">{_SIGNS[decision]} {decision}{" (waived)" if waived else ""}</b>'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, right: range, id: str = "") -> str:
    """Lay out cells that are HTML already."""

    def row(cells: Sequence[str], tag: str, extra: str = "") -> str:
        made = (
            f'<{tag}{extra} class="{"number" if at in right else "text"}">{cell}</{tag}>'
            for at, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    named = f' id="{id}"' if id else ""
    head = row(titles, "th", ' scope="col"')
    body = "\n".join(row(cells, "td") for cells in rows)
    return f"<table{named}>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _metrics(verdict: Verdict) -> str:
    rows = (
        (
            f"{_text(one.name)} {'↑' if one.goal == 'maximize' else '↓'}",
            one.role,
            figure(one.baseline_mean),
            figure(one.candidate_mean),
            signed(one.mean),
            interval(one),
            limits_of(one),
            _word(one.decision, waived=bool(one.waived)),
        )
        for one in ranked(verdict.metrics)
    )
    titles = ("metric", "role", "baseline", "candidate", "difference", "90% interval", "margin", "decision")
    picture = forest(ranked(verdict.metrics))
    return (
        f'<section><h2>Metrics</h2>\n<div class="scroll tall" tabindex="0" role="region" aria-label="Metrics">'
        f"{table(titles, rows, right=range(2, 7))}</div>\n"
        '<p class="soft">Differences are candidate minus baseline, turned so that + is better. '
        f"↑ more is better, ↓ less is better.</p>\n{picture}</section>"
    )


def _reasons(verdict: Verdict) -> str:
    items = [
        f"{_word(one.decision)} <code>{_text(one.name)}</code>: {_text(one.reason)}{_evidence(verdict, one)}"
        for one in ranked(verdict.metrics)[:_MOST_STATIC]
    ]
    return f"<section><h2>Why</h2>\n{_list(items)}</section>"


def _evidence(verdict: Verdict, one: MetricDecision) -> str:
    if one.decision != "fail":
        return ""
    return f" {evidence_of(verdict, one)}"


def _plots(verdict: Verdict) -> str:
    options = "".join(f"<option>{_text(one.name)}</option>" for one in ranked(verdict.metrics))
    key = '<p class="key"><span class="baseline">baseline</span><span class="candidate">candidate</span></p>'
    made = "\n".join(
        f'<figure id="{place}"><h3>{title}</h3>{legend}<div class="plot"></div><figcaption>{note}</figcaption></figure>'
        for place, title, legend, note in (
            ("seeds-plot", "By seed", key, "Both sides of a seed are joined."),
            ("curves-plot", "Learning curves", key, "One line a seed; the baseline is dashed."),
            (
                "looks-plot",
                "Tests after each pair",
                "",
                "Dots are p-values, dashed lines the levels they must get below: green to pass, red to fail.",
            ),
        )
    )
    return (
        '<section class="scripted"><h2>Evidence</h2>\n<div class="controls"><label for="metric">Metric</label>'
        f'<select id="metric">{options}</select></div>\n<div class="plots">{made}</div></section>'
    )


def _slices(verdict: Verdict) -> str:
    if not any(one.slices for one in verdict.metrics):
        return ""
    matter = slices_that_matter(verdict.metrics)
    seen = {(metric.name, one.column, one.value) for metric, one in matter}
    rest = (
        (metric, one)
        for metric in verdict.metrics
        for one in metric.slices
        if (metric.name, one.column, one.value) not in seen
    )
    rows = [_slice_row(metric, one) for metric, one in [*matter, *rest][:_MOST_STATIC]]
    titles = (
        "metric", "slice", "examples", "baseline", "candidate", "difference", "90% interval", "adjusted p", "decision",
    )  # fmt: skip
    choices = "".join(f"<option>{word}</option>" for word in _SIGNS)
    return (
        '<section><h2>Slices</h2>\n<div class="controls scripted"><label for="search">Filter</label>'
        '<input id="search" type="search" placeholder="metric or slice"><label for="only">Decision</label>'
        f'<select id="only"><option value="">all</option>{choices}</select>'
        '<span id="count" class="soft" role="status"></span></div>\n'
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Slices">'
        f"{table(titles, rows, right=range(2, 8), id='slices')}</div></section>"
    )


def _slice_row(metric: MetricDecision, one: SliceDecision) -> tuple[str, ...]:
    return (
        _text(metric.name),
        _text(f"{one.column} = {one.value}"),
        f"{one.size:,}",
        figure(one.baseline_mean),
        figure(one.candidate_mean),
        signed(one.mean),
        interval(one),
        "-" if one.adjusted is None else f"{one.adjusted:.2g}",
        _word(one.decision),
    )


def _records(verdict: Verdict) -> str:
    waivers = [
        f"<code>{_text(one.metric)}</code> until {day(one.expires)}, for <code>{_text(one.scope)}</code>, "
        f"by {_text(one.who)}: {_text(one.reason)} <span class='soft'>({_text(one.id)})</span>"
        for one in verdict.waivers
    ]
    requirements = [
        f"{_word('pass') if one.satisfied else _word('fail')} <code>{_text(one.name)}</code>: {_text(one.evidence)}"
        for one in verdict.requirements
    ]
    return "\n".join(
        f"<section><h2>{title}</h2>{_list(items)}</section>"
        for title, items in (("Waivers", waivers), ("Requirements", requirements))
        if items
    )


def _lineage(verdict: Verdict) -> str:
    lineage = verdict.lineage
    rows = (
        (each.kind, _text(each.name), _text(each.baseline or "none"), _text(each.candidate or "none"))
        for each in lineage.changes
    )
    changes = table(("kind", "name", "baseline", "candidate"), rows, right=range(0)) if lineage.changes else ""
    folds = "\n".join(
        f"<details><summary>{title} ({len(items)})</summary>"
        f"{_list(f'<code>{_text(item)}</code>' for item in items)}</details>"
        for title, items in (("Commits", lineage.commits), ("Files", lineage.files))
        if items
    )
    omitted = f'<p class="soft">{lineage.omitted} more are left out.</p>' if lineage.omitted else ""
    return (
        f"<section><h2>What changed</h2>\n<p><b>{cause_of(verdict)}</b> {_text(lineage.likely_cause)}</p>\n"
        f'<div class="scroll">{changes}</div>\n{folds}{omitted}</section>'
    )


def _seeds(verdict: Verdict) -> str:
    rows = [
        (_text(one.name), side, *map(shown, numbers))
        for one in ranked(verdict.metrics)[:_MOST_STATIC]
        for side, numbers, shown in (
            ("baseline", one.baseline, figure),
            ("candidate", one.candidate, figure),
            ("difference", one.differences, signed),
        )
        if numbers
    ]
    titles = ("metric", "", *(f"seed {seed}" for seed in verdict.seeds))
    made = table(titles, rows, right=range(2, len(titles)))
    return f'<section><details><summary>Values by seed</summary><div class="scroll">{made}</div></details></section>'


def _facts(verdict: Verdict) -> str:
    noise = [(f"Noise of {_text(one.name)}", text) for one in verdict.metrics if (text := noise_of(one))]
    margins = [
        (f"Margin of {_text(one.name)}", f"{figure(one.margin)}, {_text(one.margin_reason)}")
        for one in verdict.metrics
        if one.margin_reason
    ]
    examples = [(f"Examples of {_text(one.name)}", text) for one in verdict.metrics if (text := examples_of(one))]
    spent = [(f"Tests of {_text(one.name)}", text) for one in verdict.metrics if (text := spent_of(one))]
    facts = [
        *examples,
        *noise,
        *margins,
        *spent,
        ("Reproducibility", tier_of(verdict)),
        ("Cost", cost_of(verdict.cost) if verdict.cost else None),
        ("Test data", f"judged {verdict.test_set.verdicts} times" if verdict.test_set else None),
        ("Policy", f"<code>{_text(verdict.policy_sha256[:12])}</code> from {_text(verdict.policy_source)}"),
        ("Made by", f"unitrack {_text(verdict.unitrack)}, {day(verdict.created)}"),
    ]
    made = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts if text)
    command = escape(inert(verdict.reproduce, 4000))
    return (
        f"<section><h2>Reproduce</h2>\n<pre><code>{command}</code></pre></section>\n"
        f"<section><h2>Facts</h2><dl>{made}</dl></section>"
    )


def _data(verdict: Verdict) -> str:
    """Return what the script draws as JSON that can't end its element: names stand as the page shows them."""
    metrics = ranked(verdict.metrics)
    ordered = {id(one): at for at, one in enumerate(metrics)}
    tree: dict[str, Any] = {
        "seeds": verdict.seeds,
        "metrics": [
            {
                "name": one_line(one.name),
                "baseline": one.baseline,
                "candidate": one.candidate,
                "differences": one.differences,
                "looks": one.looks,
            }
            for one in metrics
        ],
        "curves": [msgspec.structs.replace(each, metric=one_line(each.metric)) for each in verdict.curves],
        "slices": [_slice_data(ordered[id(one)], each) for one in metrics for each in one.slices],
    }
    return msgspec.json.encode(tree).decode().translate(_UNSAFE)


def _slice_data(metric: int, one: SliceDecision) -> list[Any]:
    return [
        metric, one_line(f"{one.column} = {one.value}"), one.size, one.baseline_mean, one.candidate_mean, one.mean,
        interval(one), one.adjusted, one.decision,
    ]  # fmt: skip
