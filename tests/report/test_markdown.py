from __future__ import annotations

import re

import msgspec
import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from verdicts import HOSTILE

from unitrack.report import html, junit, markdown, sarif, summary
from unitrack.report._mermaid import label
from unitrack.report.terminal import Grid, blocks, render

_TEXTUAL = {"text", "softbreak", "text_special"}


def _outline(text: str) -> list[str]:
    """The structure GitHub would see: everything but the texts themselves."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    flat = [t for token in tokens for t in (token, *(token.children or []))]
    return [f"{t.type}:{t.content}" if t.type.startswith("html") else t.type for t in flat if t.type not in _TEXTUAL]


PLAIN = _outline(markdown.render(verdicts.hostile("text")))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_markup(text: str) -> None:
    assert _outline(markdown.render(verdicts.hostile(text))) == PLAIN


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_no_text_adds_markup(text: str) -> None:
    assert _outline(markdown.render(verdicts.hostile(f"a{text}b"))) == PLAIN


@pytest.mark.parametrize("text", HOSTILE)
def test_outside_of_code_no_mention_reference_or_link_is_alive(text: str) -> None:
    report = markdown.render(verdicts.hostile(text))
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(report)
    prose = " ".join(t.content for token in tokens for t in (token.children or []) if t.type.startswith("text"))
    assert not re.search(r"@\w|#\d|https?://|www\.", prose)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", report)


@pytest.mark.parametrize("text", HOSTILE)
def test_code_in_a_table_stays_in_its_cell(text: str) -> None:
    table = f"| a | b |\n| --- | --- |\n| {markdown.code(text, cell=True)} | end |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    cells = [tokens[at + 1] for at, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2
    assert [child.type for child in cells[0].children or []] == ["code_inline"]
    assert cells[1].content == "end"


def test_the_largest_comment_keeps_what_matters_and_says_what_it_left_out() -> None:
    report = markdown.render(verdicts.huge())
    assert len(report) <= markdown.LONGEST
    assert report.startswith("## ❌ Gate failed")
    assert "group9/metric_453" in report  # the last metric that failed
    assert re.search(r"> - Values by seed: \d+ of 1500 rows shown|> - Values by seed: 0 of 1500", report)
    assert "verdict.json" in report
    assert "unitrack gate --candidate cccc" in report


@pytest.mark.parametrize("limit", [4000, 6000, 9001, 20_000, 43_210])
def test_a_cut_is_between_rows_and_items_only(limit: int) -> None:
    report = markdown.render(verdicts.huge(metrics=60, each=50), limit=limit)
    assert len(report) <= limit
    assert report.count("<details>") == report.count("</details>")
    assert report.count("```") % 2 == 0
    assert all(line.endswith(" |") for line in report.split("\n") if line.startswith("| "))


def test_the_largest_summary_fits_its_step() -> None:
    assert len(summary.render(verdicts.huge()).encode()) <= summary.LARGEST < 1 << 20


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80)))
def test_a_label_of_a_chart_cannot_leave_its_quotes(text: str) -> None:
    made = label(text)
    assert made[0] == made[-1] == '"'
    assert not re.search(r"[\"`;{}%<>&#\[\]\\\n]", made[1:-1])


@pytest.mark.parametrize("text", HOSTILE)
def test_the_terminal_shows_hostile_text_without_control_characters(text: str) -> None:
    for block in blocks(verdicts.hostile(text)):
        texts = [block.text] if not isinstance(block, Grid) else [cell for row in block.rows for cell in row]
        assert all(shown.isprintable() for shown in texts)


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30).map(lambda text: f"::{text}::")))
@settings(max_examples=60, deadline=None)
def test_no_line_is_a_command_to_a_ci_system(text: str) -> None:
    for report in (render(verdicts.hostile(text)), markdown.render(verdicts.hostile(text))):
        lines = report.split("\n")
        assert not any(line.lstrip().startswith("::") for line in lines)
    assert "##[" not in render(verdicts.hostile(text))


def test_the_terminal_leads_with_the_outcome_and_ends_with_the_command() -> None:
    first, *_, last = blocks(verdicts.ordinary("fail"))
    assert not isinstance(first, Grid)
    assert first.text.startswith("FAIL  ")
    assert not isinstance(last, Grid)
    assert last.text.startswith("reproduce: unitrack gate --candidate cccc")


def test_an_undecided_verdict_says_whether_it_blocks() -> None:
    made = verdicts.ordinary("undecided")
    for blocks_, words in ((True, "It blocks."), (False, "It does not block.")):
        told = msgspec.structs.replace(made, blocks=blocks_)
        assert all(words in report for report in (render(told), markdown.render(told), html.render(told)))
    assert "block" not in render(verdicts.ordinary("pass")).split("\n")[0]


def test_the_terminal_shows_what_failed_first() -> None:
    metrics = (verdicts.metric("fine", "pass"), verdicts.metric("bad", "fail"))
    lines = render(verdicts.verdict("fail", metrics)).split("\n")
    rows = [line.split()[0] for line in lines if line.startswith(("fine ", "bad "))]
    assert rows == ["bad", "fine"]


def test_error_rates_that_were_spent_are_told_in_the_small_print() -> None:
    spent = "error rates spent: 5% to pass wrongly, 1% to fail wrongly"
    made = verdicts.ordinary("fail")
    assert f"- `val/accuracy`: {spent}" in markdown.render(made)
    assert f"<dd>{spent}</dd>" in html.render(made)
    assert "error rates" not in markdown.render(verdicts.missing())


def test_a_missing_metric_is_told_by_the_values_there_are() -> None:
    report = markdown.render(verdicts.missing())
    assert "did not log it for seeds 0, 1. Baseline 0.904, 0.911; candidate -, -; margin 0.02, seeds 0, 1." in report
    assert "Difference -" not in report


def test_a_budget_is_told_by_its_limit() -> None:
    slow = verdicts.metric("train/seconds", "fail", goal="minimize", role="budget", margin=None, maximum=60.0)
    made = verdicts.verdict("fail", (slow,))
    for report in (render(made), markdown.render(made), html.render(made), junit.render(made), sarif.render(made)):
        assert "≤ 60" in report


def test_values_that_are_no_numbers_are_told() -> None:
    odd = verdicts.metric("odd", "undecided", candidate=verdicts.mixed_values(), differences=(None,) * 5, mean=None)
    made = msgspec.structs.replace(verdicts.verdict("undecided", (odd,)))
    assert "| `odd` | candidate | 0.9 | - | nan | inf | -inf |" in markdown.render(made)
    assert summary.render(made)
