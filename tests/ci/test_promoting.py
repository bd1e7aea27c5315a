"""`unitrack ci promote` after each way of merging: a real repository and remote, real gates, the fake GitHub."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from github_fake import FakeGitHub
from github_workbench import Workbench
from toy import TRAIN, commit, edit, gate, git, make_project

from unitrack.gate.verdict import read_verdict
from unitrack.registry import LocalRegistry

LOGS_A_MODEL = TRAIN + (
    '    with open("model.txt", "w") as file:\n        file.write(f"{LEVEL} {seed}")\n'
    '    run.log_model("model.txt", name="toy")\n'
)
ZERO = "0" * 40


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote with `main` and pull request 7, and a clone whose store has the gates of its head and test merge."""
    top = tmp_path_factory.mktemp("gated")
    root = top / "repo"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Test")
            patch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
        make_project(root, train=LOGS_A_MODEL)
        git("init", "-q", "--bare", str(top / "remote.git"))
        git("remote", "add", "origin", "../remote.git")
        git("config", "commit.gpgsign", "false")
        git("checkout", "-qb", "better")
        head = commit("Better", LEVEL="0.92")
        assert gate("--policy-ref", "main", "--output", str(top / "head")).exit_code == 0
        git("checkout", "-q", "--detach", "main")
        git("merge", "-q", "--no-ff", "-m", "Test merge", "better")
        tried = git("rev-parse", "HEAD")
        assert gate("--policy-ref", "main", "--output", str(top / "tried")).exit_code == 0
        git("push", "-q", "origin", "main", f"{head}:refs/pull/7/head", f"{tried}:refs/pull/7/merge")
        git("checkout", "-q", "main")
    return top


class Desk:
    """A clone of the remote's main branch with the store of the gates, as a job of the default branch has it."""

    def __init__(self, top: Path, bench: Workbench) -> None:
        self.top, self.bench, self.hub = top, bench, bench.hub
        self.head = git("-C", "../repo", "rev-parse", "better")
        self.before = git("-C", "../repo", "rev-parse", "main")

    def verdict(self, which: str = "head") -> str:
        return str(self.top / which / "verdict.json")

    def push(self, sha: str, *, ref: str = "refs/heads/main", number: int | None = 7, **pull: Any) -> None:
        """Push a commit to the remote and be the job that this starts."""
        git("push", "-qf", "../remote.git", f"{sha}:{ref}")
        if number is not None:
            self.hub.add_pull(number, head=self.head, merge_commit=sha, **{"state": "closed", **pull})
        payload = {"before": self.before, "after": sha, "ref": ref, "repository": {"default_branch": "main"}}
        self.bench.event("push", payload, sha)
        self.bench.set(GITHUB_REF=ref, GITHUB_REF_NAME=ref.rpartition("/")[2])

    def promote(self, *arguments: str, which: str = "head", register: bool = True) -> Result:
        more = ("--register",) if register else ()
        return self.bench.run("promote", "--verdict", self.verdict(which), "--output", "out", *more, *arguments)

    def production(self) -> int:
        return LocalRegistry(Path(".unitrack/registry")).get("toy@production").version


@pytest.fixture
def desk(gated: Path, hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    top = tmp_path / "top"
    shutil.copytree(gated, top, symlinks=True)
    monkeypatch.chdir(top)
    git("clone", "-q", "--single-branch", "--branch", "main", f"file://{top}/remote.git", "job")
    shutil.copytree(top / "repo/.unitrack", top / "job/.unitrack")
    monkeypatch.chdir(top / "job")
    git("config", "user.name", "Test")
    git("config", "user.email", "test@example.com")
    return Desk(top, _bench(hub, monkeypatch))


def _bench(hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    kept = Path("unitrack.toml").read_bytes()
    made = Workbench(hub, monkeypatch)
    Path("unitrack.toml").write_bytes(kept)
    return made


def merged(desk: Desk, how: str) -> str:
    """Merge on the server's side, in the other clone, and return what main then has."""
    work = ("-C", "../repo")
    if how == "merge":
        git(*work, "merge", "-q", "--no-ff", "-m", "Merge pull request #7", "better")
    elif how == "squash":
        git(*work, "merge", "-q", "--squash", "better")
        git(*work, "commit", "-qm", "Better (#7)")
    elif how == "rebase":
        git(*work, "cherry-pick", "--keep-redundant-commits", desk.head)
        git(*work, "commit", "-q", "--amend", "--no-edit", "--date=2001-01-01T00:00:00Z")
    return git(*work, "rev-parse", "HEAD")


def pushed(desk: Desk, sha: str, **more: Any) -> None:
    git("fetch", "-q", "../repo", sha)
    desk.push(sha, **more)


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
@pytest.mark.parametrize("which", ["head", "tried"])
def test_what_was_gated_is_promoted_however_it_was_merged(desk: Desk, how: str, which: str) -> None:
    sha = merged(desk, how)
    assert sha != desk.head
    pushed(desk, sha)
    done = desk.promote(which=which)
    assert done.exit_code == 0, done.output
    assert desk.production() == 2
    note = Path("out/release-note.md").read_text()
    assert note.startswith("# `toy:2` is `production`")
    assert "merged by #\u200b7" in note
    assert note in desk.bench.summary.read_text()
    told = json.loads(Path("out/attestation.json").read_text())["predicate"]
    assert told["candidate"]["tree"] == git("rev-parse", f"{sha}^{{tree}}")
    assert [str(call) for call in desk.hub.calls] == [f"GET /repos/acme/models/commits/{sha}/pulls"]


def test_a_merge_queues_commit_is_what_was_gated(desk: Desk) -> None:
    tried = read_verdict(Path(desk.verdict("tried"))).candidate.commit
    pushed(desk, tried)
    done = desk.promote(which="tried")
    assert done.exit_code == 0, done.output
    assert desk.production() == 2


def test_what_was_gated_on_an_older_base_is_not_promoted(desk: Desk) -> None:
    Path("../repo/notes.txt").write_text("main has moved on")
    git("-C", "../repo", "add", "notes.txt")
    git("-C", "../repo", "commit", "-qm", "Meanwhile")
    pushed(desk, merged(desk, "squash"))
    done = desk.promote()
    assert done.exit_code == 1
    assert "has other content" in done.output
    assert desk.production() == 1
    assert not Path("out").exists()


def test_a_gated_commit_that_nobody_has_is_not_promoted(desk: Desk) -> None:
    tree = json.loads(Path(desk.verdict()).read_text())
    tree["candidate"]["commit"] = "c" * 40
    Path(desk.verdict()).write_text(json.dumps(tree))
    pushed(desk, merged(desk, "squash"))
    done = desk.promote()
    assert done.exit_code == 1
    assert "is not in this clone" in done.output
    assert desk.production() == 1


def test_a_commit_in_the_verdict_is_no_option_of_git(desk: Desk, tmp_path: Path) -> None:
    tree = json.loads(Path(desk.verdict()).read_text())
    tree["candidate"]["commit"] = f"--upload-pack=touch {tmp_path}/owned"
    Path(desk.verdict()).write_text(json.dumps(tree))
    pushed(desk, merged(desk, "squash"))
    assert desk.promote().exit_code == 1
    assert not (tmp_path / "owned").exists()
    assert desk.production() == 1


@pytest.mark.parametrize("ref", ["refs/heads/release", "refs/tags/main"])
def test_a_push_to_anything_but_the_default_branch_promotes_nothing(desk: Desk, ref: str) -> None:
    pushed(desk, merged(desk, "merge"), ref=ref)
    done = desk.promote()
    assert (done.exit_code, desk.hub.calls) == (0, [])
    assert "nothing is promoted" in done.output
    assert desk.production() == 1


def test_a_push_without_a_pull_request_promotes_nothing(desk: Desk) -> None:
    pushed(desk, merged(desk, "merge"), number=None)
    done = desk.promote()
    assert done.exit_code == 0
    assert desk.production() == 1


@pytest.mark.parametrize("pull", [{"state": "open"}, {"base_ref": "release"}])
def test_a_pull_request_that_was_not_merged_here_does_not_count(desk: Desk, pull: dict[str, str]) -> None:
    pushed(desk, merged(desk, "merge"), **pull)
    assert desk.promote().exit_code == 0
    assert desk.production() == 1


def test_a_commit_of_two_pull_requests_is_left_to_people(desk: Desk) -> None:
    sha = merged(desk, "merge")
    pushed(desk, sha)
    desk.hub.add_pull(8, head=desk.head, merge_commit=sha, state="closed")
    done = desk.promote()
    assert done.exit_code == 4
    assert desk.production() == 1


def test_another_event_is_wrong_use(desk: Desk) -> None:
    desk.bench.event("schedule", {"repository": {"default_branch": "main"}}, desk.before)
    assert desk.promote().exit_code == 2


def test_a_change_of_the_policy_is_promoted_by_the_policy_before_it_if_that_is_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.chdir("../repo")
        git("checkout", "-qb", "stricter", "better")
        desk.head = edit("unitrack.toml", "margin = 0.02", "margin = 0.015")
        assert gate("--policy-ref", "main", "--output", str(desk.top / "stricter")).exit_code == 0
        git("checkout", "-q", "main")
        git("merge", "-q", "--squash", "stricter")
        git("commit", "-qm", "Stricter (#7)")
        sha = git("rev-parse", "HEAD")
        git("push", "-qf", "origin", f"{desk.head}:refs/pull/7/head")
    shutil.rmtree(".unitrack")
    shutil.copytree("../repo/.unitrack", ".unitrack")
    pushed(desk, sha)
    done = desk.promote(which="stricter")
    assert done.exit_code == 1
    assert "reached by another policy" in done.output
    assert desk.promote("--policy-ref", desk.before, which="stricter").exit_code == 0
    assert desk.production() == 2


def test_a_dry_run_moves_nothing(desk: Desk) -> None:
    pushed(desk, merged(desk, "squash"))
    done = desk.promote("--dry-run")
    assert done.exit_code == 0, done.output
    assert "may become production" in done.output
    assert desk.production() == 1


def attested(desk: Desk) -> Path:
    """Register the gate's model, and have an attestation of it made under another alias."""
    assert desk.promote("--alias", "candidate").exit_code == 0
    assert desk.production() == 1
    return Path("out/attestation.json").rename("made-before.json")


def test_an_attestation_that_holds_lets_the_alias_move(desk: Desk) -> None:
    pushed(desk, merged(desk, "squash"))
    path = attested(desk)
    done = desk.promote("--attestation", str(path))
    assert done.exit_code == 0, done.output
    assert desk.production() == 2


@pytest.mark.parametrize(
    "forgery",
    [
        lambda tree: tree["subject"][0]["digest"].update(sha256="0" * 64),
        lambda tree: tree["predicate"]["candidate"].update(tree=ZERO),
        lambda tree: tree["predicate"]["verdict"].update(sha256="0" * 64),
        lambda tree: tree["predicate"].update(policySha256="0" * 64),
        lambda tree: tree.update(predicateType="urn:other"),
        lambda tree: tree.clear(),
    ],
    ids=["other bytes", "other content", "other verdict", "other policy", "other type", "nothing"],
)
def test_an_attestation_that_does_not_hold_keeps_the_alias(desk: Desk, forgery: Any) -> None:
    pushed(desk, merged(desk, "squash"))
    path = attested(desk)
    tree = json.loads(path.read_text())
    forgery(tree)
    path.write_text(json.dumps(tree))
    done = desk.promote("--attestation", str(path))
    assert done.exit_code == 4, done.output
    assert desk.production() == 1
    assert not Path("out/attestation.json").exists()


def test_a_failed_gate_promotes_nothing(desk: Desk) -> None:
    tree = json.loads(Path(desk.verdict()).read_text())
    tree.update(outcome="fail")
    Path(desk.verdict()).write_text(json.dumps(tree))
    pushed(desk, merged(desk, "squash"))
    assert desk.promote().exit_code == 4, "it contradicts itself"
    assert desk.production() == 1


def test_a_verdict_is_looked_up_in_the_store_if_none_is_named(desk: Desk) -> None:
    pushed(desk, merged(desk, "squash"))
    run = read_verdict(Path(desk.verdict())).candidate.runs[0].run
    done = desk.bench.run("promote", "--run", run, "--output", "out")
    assert done.exit_code == 0, done.output
    assert desk.production() == 2
    assert desk.bench.run("promote", "--register").exit_code == 2


def test_the_command_is_the_same_in_a_process_of_its_own(desk: Desk) -> None:
    """As a step runs it: nothing of this test's process is in its way."""
    import sys

    pushed(desk, merged(desk, "squash"))
    command = [sys.executable, "-m", "unitrack", "ci", "promote", "--verdict", desk.verdict(), "--register"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert desk.production() == 2
