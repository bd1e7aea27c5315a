"""Promotions in a real repository, after real gates: what is merged, who was first, what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from toy import TRAIN, commit, edit, gate, git, make_project, only_verdict

import unitrack
from unitrack import schemas
from unitrack.cli import main
from unitrack.gate.attestation import verify_attestation
from unitrack.gate.verdict import read_verdict
from unitrack.gate.waivers import WAIVER_FILE
from unitrack.registry import LocalRegistry, ModelVersion

LOGS_A_MODEL = TRAIN + (
    '    with open("model.txt", "w") as file:\n        file.write(f"{LEVEL} {seed}")\n'
    '    run.log_model("model.txt", name="toy")\n    run.log_dataset("s3://b/train.csv", digest="sha256:aa")\n'
)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose branch `better` has passed the gate; its tests get copies."""
    root = tmp_path_factory.mktemp("gated") / "toy"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Test")
            patch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
        make_project(root, train=LOGS_A_MODEL)
        git("config", "user.name", "Mia @Test")
        git("config", "commit.gpgsign", "false")
        git("checkout", "-qb", "better")
        commit("Better by <b>much</b>", LEVEL="0.92")
        assert gate("--policy-ref", "main").exit_code == 0
    return root


@pytest.fixture
def project(gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    shutil.copytree(gated, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def merge(*arguments: str) -> str:
    """Merge `better` into main and return the new commit."""
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "Merge", *arguments, "better")
    return git("rev-parse", "HEAD")


def promote(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["promote", *arguments], prog_name="unitrack")


def registry(root: Path) -> LocalRegistry:
    return LocalRegistry(root / ".unitrack/registry", identity=lambda: "test")


def production(root: Path) -> ModelVersion:
    return registry(root).get("toy@production")


def candidate_run(root: Path) -> str:
    return read_verdict(only_verdict(root)).candidate.runs[0].run


def refused(root: Path, *arguments: str) -> str:
    """Promote, see that nothing moved, and return the reasons."""
    before = (root / ".unitrack/registry/toy.json").read_bytes()
    done = promote(*arguments)
    assert done.exit_code == 1, done.output
    assert (root / ".unitrack/registry/toy.json").read_bytes() == before
    assert not list(root.glob(".unitrack/gate/*/attestation.json"))
    reasons = json.loads(promote("--json", *arguments).stdout)["refused"]
    assert reasons and all(one in done.stderr for one in reasons)
    return "\n".join(reasons)


# -- what may move -----------------------------------------------------------------------------------


def test_what_was_gated_and_merged_takes_the_alias(project: Path) -> None:
    merged = merge()
    run = candidate_run(project)
    done = promote("--run", run, "--reason", "Release 2.")
    assert done.exit_code == 0, done.output
    now = production(project)
    verdict = read_verdict(only_verdict(project))
    assert (now.version, now.run) == (2, run)
    assert merged != verdict.candidate.commit
    change = registry(project).history("toy")[-1]
    assert change.by == "Mia @Test"
    assert change.reason == (
        f"gate {verdict.key[:16]} passed for tree {git('rev-parse', 'HEAD^{tree}')[:12]}: Release 2."
    )
    assert registry(project).get("toy:1").stage == "retired"


def test_the_attestation_says_which_bytes_passed_which_gate(project: Path) -> None:
    merge()
    assert promote("--run", candidate_run(project)).exit_code == 0
    (path,) = project.glob(".unitrack/gate/*/attestation.json")
    tree = json.loads(path.read_bytes())
    jsonschema.Draft202012Validator(schemas.load("attestation")).validate(tree)
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["predicateType"] == "urn:unitrack:attestation:model-gate:v1"
    digest = production(project).digest or ""
    assert tree["subject"] == [{"name": "toy", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    told = tree["predicate"]
    assert told["data"] == {"train.csv": "sha256:aa"}
    assert told["candidate"]["tree"] == git("rev-parse", "HEAD^{tree}")
    assert told["metrics"][0]["candidate"] == list(read_verdict(only_verdict(project)).metrics[0].candidate)
    verify_attestation(
        path.read_bytes(), digest=digest, tree=told["candidate"]["tree"], verdict=only_verdict(project).read_bytes()
    )
    note = path.with_name("release-note.md").read_text()
    assert note.startswith("# `toy:2` is `production`\n\nBy Mia @\u200bTest; before: `toy:1`.")
    assert "Better by <b>much</b>`" in note  # in a code span, where it is text
    assert "| `acc` ↑ | 0." in note


def test_done_again_it_changes_nothing_more(project: Path) -> None:
    merge()
    assert promote("--run", candidate_run(project)).exit_code == 0
    files = {path: path.read_bytes() for path in project.glob(".unitrack/gate/*/*") if path.is_file()}
    history = registry(project).history("toy")
    assert promote("--run", candidate_run(project)).exit_code == 0
    assert promote().exit_code == 0
    assert registry(project).history("toy") == history
    assert {path: path.read_bytes() for path in files} == files


def test_a_dry_run_says_what_would_be_and_changes_nothing(project: Path) -> None:
    merge()
    before = (project / ".unitrack/registry/toy.json").read_bytes()
    done = promote("--run", candidate_run(project), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "may become production" in done.stdout
    assert (project / ".unitrack/registry/toy.json").read_bytes() == before
    assert not list(project.glob(".unitrack/gate/*/attestation.json"))


def test_another_alias_and_folder_can_be_named(project: Path) -> None:
    merge()
    registry(project).set_alias("toy", "champion", 1, reason="good")
    done = promote("--run", candidate_run(project), "--alias", "champion", "--output", "out", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["version"], told["previous"], told["promoted"]) == ("toy:2", "toy:1", True)
    assert sorted(path.name for path in Path("out").iterdir()) == ["attestation.json", "release-note.md"]
    assert registry(project).get("toy@champion").version == 2
    assert production(project).version == 1


def test_a_squash_merge_has_the_same_content(project: Path) -> None:
    git("checkout", "-q", "main")
    git("merge", "-q", "--squash", "better")
    git("commit", "-qm", "Squashed")
    assert promote("--run", candidate_run(project)).exit_code == 0


def test_an_attestation_made_before_can_be_verified(project: Path) -> None:
    merge()
    assert promote("--run", candidate_run(project), "--output", "out").exit_code == 0
    assert promote("--verify", "out/attestation.json").exit_code == 0
    text = Path("out/attestation.json").read_text()
    Path("out/attestation.json").write_text(
        text.replace('"attempt": 1', '"attempt": 1, "x": 1').replace(" 0.92", " 0.93")
    )
    done = promote("--verify", "out/attestation.json")
    assert (done.exit_code, "something else than its verdict" in done.stderr) == (4, True)


# -- what may not ------------------------------------------------------------------------------------


def test_a_failed_verdict_promotes_nothing(project: Path) -> None:
    git("checkout", "-qb", "worse")
    commit("Worse", LEVEL="0.8")
    assert gate().exit_code == 1
    assert "the verdict is fail, not pass" in refused(project)


def test_a_merge_that_changed_the_content_is_refused(project: Path) -> None:
    git("checkout", "-q", "main")
    Path("other.py").write_text("x = 1\n")
    git("add", "other.py")
    git("commit", "-qm", "Meanwhile")
    merge()
    words = refused(project, str(only_verdict(project)), "--run", candidate_run(project))
    assert "has other content" in words
    done = promote("--run", candidate_run(project))
    assert (done.exit_code, "no verdict of toy about the content" in done.stderr) == (4, True)


def test_a_gated_commit_that_is_not_in_the_clone_is_refused(project: Path) -> None:
    git("checkout", "-q", "main")
    git("merge", "-q", "--squash", "better")
    git("commit", "-qm", "Squashed")
    verdict, run = only_verdict(project), candidate_run(project)
    git("branch", "-qD", "better")
    shutil.rmtree(project / ".git/logs")
    git("gc", "-q", "--prune=now")
    assert "is not in this clone" in refused(project, str(verdict), "--run", run)


def test_another_policy_is_refused_unless_the_base_is_named(project: Path) -> None:
    git("checkout", "-q", "better")
    edit("unitrack.toml", "margin = 0.02", "margin = 0.5")
    assert gate("--policy-ref", "main").exit_code == 0
    base = git("rev-parse", "main")
    merge()
    run = json.loads(gate("--history", "--json").stdout)[0]
    chosen = read_verdict(Path(run["path"])).candidate.runs[0].run
    assert "by another policy" in refused(project, "--run", chosen)
    assert promote("--run", chosen, "--policy-ref", base).exit_code == 0


def test_a_version_of_another_commit_or_without_bytes_is_refused(project: Path) -> None:
    merge()
    assert "register one with --run" in refused(project)
    assert "not of the gated commit" in refused(project, "--version", "1")
    registry(project).register("toy", run=candidate_run(project), commit=git("rev-parse", "HEAD"))
    assert "has no artifact" in refused(project, "--version", "2")
    registry(project).register("toy", run=candidate_run(project), digest="sha256:" + "0" * 64, artifact="toy")
    assert "the run has no artifact of its digest" in refused(project, "--version", "3")


def test_a_run_that_only_says_it_is_of_the_commit_is_refused(project: Path) -> None:
    merge()
    Path("train.py").write_text(Path("train.py").read_text().replace("0.92", "0.99"))
    with unitrack.init(id="by-hand"):
        pass
    registry(project).register("toy", run="by-hand", commit=git("rev-parse", "HEAD"), digest="sha256:" + "0" * 64)
    assert "not of the gated commit" in refused(project, "--version", "2")


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (lambda tree: tree["candidate"].update(commit="f" * 40), "not in this clone"),
        (lambda tree: tree["candidate"]["runs"][0].update(run=tree["baseline"]["runs"][0]["run"]), "on both sides"),
        (lambda tree: tree.update(outcome="fail"), "contradicts itself"),
        (lambda tree: tree["policy"].update(model="other"), "another SHA-256"),
    ],
)
def test_a_forged_verdict_promotes_nothing(project: Path, forge: Callable[[Any], object], words: str) -> None:
    merge()
    run, path = candidate_run(project), only_verdict(project)
    tree = json.loads(path.read_bytes())
    forge(tree)
    Path("forged.json").write_text(json.dumps(tree))
    done = promote("forged.json", "--run", run)
    assert done.exit_code in (1, 4)
    assert words in done.stderr
    assert production(project).version == 1


def test_numbers_that_the_runs_never_logged_promote_nothing(project: Path) -> None:
    """The verdict is consistent: made by the gate itself from runs of another store."""
    merge()
    verdict, run = read_verdict(only_verdict(project)), candidate_run(project)
    other = verdict.candidate.runs[1].run
    kept = project / ".unitrack/runs" / other / "journal"
    swapped = project / ".unitrack/runs" / verdict.baseline.runs[1].run / "journal"
    shutil.rmtree(kept)
    shutil.copytree(swapped, kept)
    done = promote("--run", run)
    assert done.exit_code in (1, 4), done.output
    assert production(project).version == 1


def test_evidence_that_is_not_here_is_told(project: Path) -> None:
    merge()
    for one in read_verdict(only_verdict(project)).baseline.runs:
        shutil.rmtree(project / ".unitrack/runs" / one.run)
    done = promote("--run", candidate_run(project))
    assert done.exit_code == 0
    assert "2 runs behind the verdict are not in this store" in done.stderr


def test_a_waived_pass_needs_its_waiver_to_stand_and_to_hold(project: Path) -> None:
    git("checkout", "-q", "main")
    git("checkout", "-qb", "faster")
    commit("Faster", LEVEL="0.8")
    git("checkout", "-q", "main")
    waive = ["waive", "acc", "--reason", "Fast.", "--expires", "1h", "--scope", "faster"]
    assert CliRunner().invoke(main, waive).exit_code == 0
    git("add", WAIVER_FILE)
    git("commit", "-qm", "Waive")
    git("checkout", "-q", "faster")
    git("merge", "-q", "--no-edit", "main")
    assert gate("--policy-ref", "main").exit_code == 0
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "Merge", "faster")
    newest = json.loads(gate("--history", "--json").stdout)[0]["path"]
    run = read_verdict(Path(newest)).candidate.runs[0].run
    text = Path(WAIVER_FILE).read_text()
    Path(WAIVER_FILE).write_text('{"schema": 1, "waivers": []}')
    git("commit", "-qam", "Taken back")
    without = git("rev-parse", "HEAD")
    git("revert", "--no-edit", "HEAD")
    assert Path(WAIVER_FILE).read_text() == text
    assert "does not stand beside the policy" in refused(project, "--run", run, "--policy-ref", without)
    done = promote("--run", run)
    assert done.exit_code == 0, done.output
    assert " with waiver w-" in registry(project).history("toy")[-1].reason
    (note,) = project.glob(".unitrack/gate/*/release-note.md")
    assert "Let through by waivers" in note.read_text()


def test_wrong_use_ends_with_2(project: Path) -> None:
    assert promote("--commit", "nowhere").exit_code == 2
    assert promote("--model", "../x").exit_code == 2
    assert promote("--version", "9").exit_code == 2
    assert promote("nowhere.json").exit_code == 4


# -- at once, and killed -----------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unitrack", "promote", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_promotions_with_one_baseline_the_second_is_refused(project: Path) -> None:
    """Both branches passed against version 1; once one is in production, the other was compared with the past."""
    git("checkout", "-q", "main")
    git("checkout", "-qb", "also")
    commit("Also better", LEVEL="0.93")
    assert gate("--policy-ref", "main").exit_code == 0
    paths = [one["path"] for one in json.loads(gate("--history", "--json").stdout)]
    runs = [read_verdict(Path(path)).candidate.runs[0].run for path in paths]
    racing = [
        start(path, "--run", run, "--commit", branch)
        for path, run, branch in zip(paths, runs, ("also", "better"), strict=True)
    ]
    outputs = [each.communicate(timeout=120) for each in racing]
    assert sorted(each.returncode for each in racing) == [0, 1], outputs
    loser = next(each for each, process in zip(outputs, racing, strict=True) if process.returncode == 1)
    assert "gate against what is there now" in loser[1]
    entries = [one for one in registry(project).history("toy") if one.after == "production"]
    assert len(entries) == 2
    assert registry(project).get("toy@latest").version == 2  # the refused one registered nothing


def test_the_same_promotion_at_once_is_one(project: Path) -> None:
    merge()
    run = candidate_run(project)
    racing = [start("--run", run) for _ in range(3)]
    outputs = [each.communicate(timeout=120) for each in racing]
    assert [each.returncode for each in racing] == [0, 0, 0], outputs
    assert [one.action for one in registry(project).history("toy")].count("register") == 2
    assert production(project).version == 2


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_any_moment_it_can_be_done_again(project: Path) -> None:
    merge()
    run, chance = candidate_run(project), random.Random(3)
    started = time.monotonic()
    rehearsal = start("--run", run, "--dry-run")
    assert rehearsal.communicate(timeout=60)[0]
    usual = time.monotonic() - started
    for _ in range(5):
        victim = start("--run", run)
        try:
            victim.wait(chance.uniform(0.6, 1.3) * usual)
        except subprocess.TimeoutExpired:
            victim.send_signal(signal.SIGKILL)
        victim.communicate()
        for path in project.glob(".unitrack/gate/*/attestation.json"):
            json.loads(path.read_bytes())
        assert production(project).version in (1, 2)
    assert promote("--run", run).exit_code == 0
    assert production(project).version == 2
    assert [one.action for one in registry(project).history("toy")].count("register") == 2
    (note,) = project.glob(".unitrack/gate/*/release-note.md")
    assert "before: `toy:1`" in note.read_text()
