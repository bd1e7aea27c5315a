from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
import verdicts
from markdown_it import MarkdownIt
from verdicts import HOSTILE

from unitrack.gate.attestation import make_statement
from unitrack.gate.verdict import Verdict
from unitrack.registry import ModelVersion
from unitrack.report import release_note


def note(verdict: Verdict, words: str = "Why not.", **changes: str) -> str:
    version = ModelVersion(
        name="digits", version=4, run="r", artifact=changes.get("artifact", "model"), digest="sha256:" + "a" * 64,
        by="Mia", time=datetime(2026, 5, 1, tzinfo=timezone.utc),
    )  # fmt: skip
    statement = make_statement(
        verdict, version, candidate_tree="b" * 40, baseline_tree="c" * 40, data={words: words}, lock_sha256="d" * 64
    )
    return release_note.render(
        statement, verdict, alias="production", previous="digits:3", reason=words, who=changes.get("who", "Mia")
    )


def outline(text: str) -> list[str]:
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    flat = [t for token in tokens for t in (token, *(token.children or []))]
    plain = {"text", "softbreak", "text_special"}
    return [f"{t.type}:{t.content}" if t.type.startswith("html") else t.type for t in flat if t.type not in plain]


def test_it_tells_what_changed_and_by_which_evidence() -> None:
    made = note(verdicts.waived())
    assert made.startswith("# `digits:4` is `production`\n\nBy Mia; before: `digits:3`. Why not.")
    assert "## Let through by waivers" in made
    assert "(waived)" in made
    assert f"- artifact: `sha256:{'a' * 64}`" in made
    assert f"- content: `{'b' * 40}`" in made
    assert made == note(verdicts.waived())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_markup_and_is_not_alive(text: str) -> None:
    made = note(verdicts.hostile(text), text, who=text, artifact=text)
    assert outline(made) == outline(note(verdicts.hostile("plain"), "plain", who="plain", artifact="plain"))
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(made)
    prose = " ".join(t.content for token in tokens for t in (token.children or []) if t.type.startswith("text"))
    assert not re.search(r"@\w|#\d|https?://|www\.", prose)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", made)


def test_of_a_huge_verdict_it_tells_the_first_part() -> None:
    made = note(verdicts.huge())
    assert len(made) < 60_000
    assert "450 more metrics are in the verdict" in made
