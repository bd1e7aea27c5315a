"""A check of the production model as one HTML file: no network, no script. Foreign text stands escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from unitrack.report._figures import one_line
from unitrack.report.check_terminal import blocks, in_short, said
from unitrack.report.html import asset, digest, table
from unitrack.report.terminal import Grid, Line

if TYPE_CHECKING:
    from unitrack.monitor import Check

__all__ = ["render"]


def render(check: Check) -> str:
    """Return the page; equal checks, equal text."""
    style = asset("report.css")
    policy = f"default-src 'none'; style-src '{digest(style)}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Check of {_text(check.model)}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="plain">\n<main>\n{_body(check)}\n</main>\n</body>\n</html>\n'
    )


def _body(check: Check) -> str:
    head = (
        f'<header>\n<h1><span class="{check.outcome}">{said(check).capitalize()}</span> '
        f"<code>{_text(check.model)}</code></h1>\n<p>{_text(check.summary)}</p>\n"
        f'<p class="soft">{_text(in_short(check))}; made by unitrack {_text(check.unitrack)}.</p>\n</header>'
    )
    return "\n".join([head, *(part for block in blocks(check)[2:] if (part := _part(block)))])


def _part(block: Line | Grid) -> str:
    if isinstance(block, Line):
        return f"<p>{_text(block.text)}</p>" if block.text else ""
    numbers = [at for at, name in enumerate(block.columns) if name in block.right]
    right = range(numbers[0], numbers[-1] + 1) if numbers else range(0)
    made = table(block.columns, ([_text(cell) for cell in row] for row in block.rows), right=right)
    title = block.columns[0].capitalize() + "s"
    return (
        f'<section><h2>{title}</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="{title}">{made}</div>'
        "</section>"
    )


def _text(text: str) -> str:
    return escape(one_line(text, 1000))
