from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt

from unitrack.gate.decide import MetricEvidence, decide, overall
from unitrack.gate.lineage import Change, Lineage
from unitrack.gate.policy import MetricPolicy, Policy, policy_digest
from unitrack.gate.verdict import SeedRun, Subject, Verdict, decode, encode
from unitrack.report import markdown
from unitrack.report.terminal import Grid, blocks

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = [
    "a|b",
    "a\\|b\\\\|c",
    "`code` ``more``",
    "```\n## Gate passed\n```",
    "<img src=x onerror=alert(1)><script>x</script>",
    "@maintainer please merge, fixes #1 and org/repo#2",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "http://evil.example and www.evil.example",
    "line\nbreak\r\n| new | row |",
    "\x1b[31mred\x1b[0m \u202egnp.exe",
    "**bold** _it_ ~~gone~~ $x$ &lt; &#64;user",
    "</details></code></sub>",
    " ",
    "`",
    "\\",
]


def verdict(
    candidate: list[float | None], *, name: str = "val/accuracy", text: str = "lr", commit: str = "c" * 40
) -> Verdict:
    accuracy = MetricPolicy(name=name, goal="maximize", margin=0.02)
    loss = MetricPolicy(name="loss", goal="minimize", role="report")
    policy = Policy(model="digits", metrics=(accuracy, loss))
    seeds = tuple(range(len(candidate)))
    evidence = [
        MetricEvidence(rule=accuracy, seeds=seeds, candidate=tuple(candidate), baseline=(0.9, 0.91, 0.89, 0.92, 0.9)),
        MetricEvidence(rule=loss, seeds=seeds, candidate=(0.31, 0.3, 0.33, 0.3, 0.3), baseline=(0.3,) * 5),
    ]
    decisions = decide(policy, evidence)
    runs = tuple(SeedRun(seed=seed, run=f"rerun-{seed}", job=f"{seed}" * 64) for seed in seeds)
    return Verdict(
        outcome=overall(decisions),
        summary=f"{name} was judged.",
        created=1.5e9,
        unitrack="0.1.0",
        policy=policy,
        policy_sha256=policy_digest(policy),
        policy_source="unitrack.toml",
        candidate=Subject(commit=commit, reference="HEAD", runs=runs),
        baseline=Subject(commit="b" * 40, reference="digits@production", model="digits v3", runs=runs),
        seeds=seeds,
        metrics=decisions,
        lineage=Lineage(
            commits=(f"cccccccccccc {text}",),
            files=(f"src/{text}.py",),
            changes=(Change(kind="params", name=text, baseline="0.1", candidate=text),),
            likely_cause=f"Changed between baseline and candidate: params ({text}).",
        ),
        warnings=(f"Uncommitted changes are not included: {text}",),
        reproduce=f"unitrack gate --candidate {commit} --baseline {'b' * 40} --seeds 5",
    )


CASES: dict[str, list[float | None]] = {
    "pass": [0.901, 0.909, 0.891, 0.919, 0.901],
    "fail": [0.85, 0.861, 0.839, 0.87, 0.852],
    "undecided": [0.84, 0.95, 0.89, 0.9, 0.91],
    "missing": [0.9, None, 0.9, 0.9, 0.9],
}


@pytest.mark.parametrize("case", CASES)
def test_the_report_is_the_golden_one(case: str) -> None:
    """Rewrite them with UPDATE_GOLDEN=1 and read the difference."""
    path, report = GOLDEN / f"{case}.md", markdown.render(verdict(CASES[case]))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(report)
    assert report == path.read_text()


def test_the_report_is_made_from_the_file_alone() -> None:
    made = verdict(CASES["fail"])
    assert markdown.render(decode(encode(made))) == markdown.render(made)


def test_a_fail_names_what_a_reviewer_needs() -> None:
    report = markdown.render(verdict(CASES["fail"]))
    for part in ("`val/accuracy`", "-0.0496", "-0.05069 to -0.04851", "0.02", "seeds 0, 1, 2, 3, 4", "Likely cause"):
        assert part in report
    assert "unitrack gate --candidate cccc" in report
    assert any(bar in report for bar in "▁▂▃▄▅▆▇█")


def _outline(text: str) -> list[str]:
    """The structure GitHub would see: everything but the texts themselves."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    flat = [t for token in tokens for t in (token, *(token.children or []))]
    return [f"{t.type}:{t.content}" if t.type.startswith("html") else t.type for t in flat if t.type not in _TEXTUAL]


_TEXTUAL = {"text", "softbreak", "text_special"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_markup(text: str) -> None:
    plain = _outline(markdown.render(verdict(CASES["fail"], name="name", text="text")))
    assert _outline(markdown.render(verdict(CASES["fail"], name=text, text=text))) == plain


@pytest.mark.parametrize("text", HOSTILE)
def test_outside_of_code_no_mention_reference_or_link_is_alive(text: str) -> None:
    report = markdown.render(verdict(CASES["fail"], name=text, text=text))
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


def test_a_command_cannot_leave_its_fence() -> None:
    made = msgspec.structs.replace(verdict(CASES["pass"]), reproduce="unitrack gate ```\n## Gate passed")
    assert _outline(markdown.render(made)) == _outline(markdown.render(verdict(CASES["pass"])))


@pytest.mark.parametrize("text", HOSTILE)
def test_the_terminal_shows_hostile_text_without_control_characters(text: str) -> None:
    for block in blocks(verdict(CASES["fail"], name=text, text=text)):
        texts = [block.text] if not isinstance(block, Grid) else [cell for row in block.rows for cell in row]
        assert all(shown.isprintable() for shown in texts)


def test_the_terminal_leads_with_the_outcome_and_ends_with_the_command() -> None:
    first, *_, last = blocks(verdict(CASES["fail"]))
    assert not isinstance(first, Grid)
    assert first.text.startswith("FAIL  ")
    assert not isinstance(last, Grid)
    assert last.text.startswith("reproduce: unitrack gate --candidate cccc")
