"""An audit as one HTML file: no network, no script. Foreign text stands escaped; the policy lets nothing run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from unitrack.report._figures import one_line
from unitrack.report.audit_terminal import in_short
from unitrack.report.html import asset, digest, table

if TYPE_CHECKING:
    from unitrack.audit import Audit, Checked, Step

__all__ = ["render"]

_WORDS = {"satisfied": ("pass", "✓"), "missing": ("fail", "✕"), "not applicable": ("reported", "·")}


def render(audit: Audit) -> str:
    """Return the page; equal audits, equal text."""
    style = asset("report.css")
    policy = f"default-src 'none'; style-src '{digest(style)}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Audit of run {_text(audit.run)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="plain">\n<main>\n{_body(audit)}\n</main>\n</body>\n</html>\n'
    )


def _body(audit: Audit) -> str:
    whole = "fail" if audit.missing else "pass"
    titles = ("item", "state", "evidence, or what would satisfy it")
    tables = [(phase.title, table(titles, map(_item, phase.items), right=range(0))) for phase in audit.phases]
    columns = ("step", "state", "owner's note, or what would satisfy it", "evidence")
    steps = table(columns, map(_step, audit.crisp_dm), right=range(0))
    return (
        f"<header>\n<h1>Audit of run <code>{_text(audit.run)}</code></h1>\n"
        f'<p class="{whole}">{in_short(audit)}</p>\n'
        f'<p class="soft">Project {_text(audit.project)}; made by unitrack {_text(audit.unitrack)}.</p>\n</header>\n'
        + "\n".join(_section(title, made) for title, made in [*tables, ("CRISP-DM", steps)])
    )


def _section(title: str, made: str) -> str:
    return (
        f'<section><h2>{title}</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="{title}">{made}</div>'
        "</section>"
    )


def _item(item: Checked) -> tuple[str, ...]:
    named = f"<code>{_text(item.name)}</code><br>{_text(item.title)}"
    remedy = f"<br>{_code(item.remedy)}" if item.remedy else ""
    return named, _state(item.state), f"{_text(item.evidence)}{remedy}"


def _step(step: Step) -> tuple[str, ...]:
    note = _text(step.note) if step.note else _code(step.remedy)
    return _text(step.title), _state(step.state), note, _text(step.evidence or "-")


def _state(state: str) -> str:
    kind, sign = _WORDS[state]
    return f'<b class="{kind}">{sign} {state}</b>'


def _code(remedy: str | None) -> str:
    return "-" if remedy is None else f"<code>{_text(remedy)}</code>"


def _text(text: str) -> str:
    return escape(one_line(text, 1000))
