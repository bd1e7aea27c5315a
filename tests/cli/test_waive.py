"""Waivers, the ledger and the history of verdicts, by the real commands in a real repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from toy import commit, edit, gate, git, make_project, only_verdict

from unitrack.cli import main
from unitrack.gate.ledger import ledger_path, read
from unitrack.gate.verdict import read_verdict
from unitrack.gate.waivers import WAIVER_FILE, decode


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    monkeypatch.chdir(root)
    make_project(root)
    git("config", "user.name", "Mia Test")
    return root


def waive(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["waive", *arguments], prog_name="unitrack")


def why(*arguments: str) -> Result:
    done = waive("acc", "--reason", "Twice as fast.", "--expires", "14d", *arguments)
    assert done.exit_code == 0, done.output
    return done


def reviewed(*arguments: str) -> None:
    """Commit a waiver for the branch `faster` on main, as a review would."""
    git("checkout", "-q", "main")
    why("--scope", "faster", *arguments)
    git("add", WAIVER_FILE)
    git("commit", "-qm", "Waive")
    git("checkout", "-q", "faster")


@pytest.fixture
def faster(project: Path) -> Path:
    git("checkout", "-qb", "faster")
    commit("Faster, worse", LEVEL="0.8")
    return project


def test_a_reviewed_waiver_lets_the_branch_through_without_training_again(faster: Path) -> None:
    assert gate("--policy-ref", "main").exit_code == 1
    reviewed()
    done = gate("--policy-ref", "main")
    assert done.exit_code == 0, done.output
    assert "nothing was trained" in done.stderr
    assert "let through by waiver" in done.stdout
    assert "Twice as fast." in done.stdout
    verdict = read_verdict(only_verdict(faster))
    (used,) = verdict.waivers
    assert (used.who, used.scope, verdict.metrics[0].decision) == ("Mia Test", "faster", "fail")
    assert "Mia Test" in only_verdict(faster).with_name("report.md").read_text()


def test_a_pull_request_cannot_waive_itself(faster: Path) -> None:
    why()
    git("add", WAIVER_FILE)
    git("commit", "-qm", "Waive myself")
    assert gate("--policy-ref", "main").exit_code == 1
    assert gate().exit_code == 0  # the working tree's rules, where nobody names the base branch


def test_a_waiver_holds_for_no_other_branch_and_no_stranger(faster: Path) -> None:
    reviewed()
    assert gate("--policy-ref", "main", "--branch", "other").exit_code == 1
    assert gate("--policy-ref", "main", "--candidate", git("rev-parse", "HEAD")).exit_code == 1


def test_a_waiver_for_a_commit_holds_for_it_alone(faster: Path) -> None:
    head = git("rev-parse", "HEAD")
    git("checkout", "-q", "main")
    why("--scope", head[:10])
    (one,) = decode(Path(WAIVER_FILE).read_bytes())
    assert one.scope == head
    assert gate("--candidate", "faster").exit_code == 0


def test_a_missing_metric_is_let_through_only_if_the_waiver_says_so(faster: Path) -> None:
    edit("train.py", '"acc": LEVEL', '"accuracy": LEVEL')
    reviewed()
    done = gate("--policy-ref", "main")
    assert done.exit_code == 1
    assert "no value to compare" in done.stdout
    reviewed("--missing")
    assert gate("--policy-ref", "main").exit_code == 0


def test_waivers_that_cannot_be_read_end_the_gate_before_it_trains(faster: Path) -> None:
    Path(WAIVER_FILE).write_text('{"waivers": [{}]}')
    done = gate()
    assert done.exit_code == 2
    assert "no waivers" in done.stderr
    assert not list(faster.glob(".unitrack/gate/*/verdict.json"))


def test_waivers_are_listed_and_taken_back(project: Path) -> None:
    assert "nothing is waived" in waive("--list").stdout
    why("--model", "toy")
    (one,) = json.loads(waive("--list", "--json").stdout)
    assert (one["metric"], one["scope"], one["model"], one["who"]) == ("acc", "main", "toy", "Mia Test")
    listed = waive("--list").stdout
    assert one["id"] in listed
    assert "holds" in listed
    assert "taken back" in waive("--revoke", one["id"]).stdout
    assert decode(Path(WAIVER_FILE).read_bytes()) == ()
    again = waive("--revoke", one["id"])
    assert (again.exit_code, "there is no waiver" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give one of"),
        (("acc", "--list"), "give one of"),
        (("acc",), "needs --reason TEXT and --expires"),
        (("acc", "--reason", "x"), "needs --reason TEXT and --expires"),
        (("acc", "--reason", " ", "--expires", "1d"), "can't be a waiver"),
        (("acc", "--reason", "x", "--expires", "91d"), "longer than 90 days"),
        (("acc", "--reason", "x", "--expires", "2020-01-01"), "not after"),
        (("acc", "--reason", "x", "--expires", "soon"), "no expiry"),
        (("acc", "--reason", "x", "--expires", "1d", "--scope", "nowhere"), "names no commit"),
        (("f1", "--reason", "x", "--expires", "1d"), "its metrics are acc, loss"),
    ],
)
def test_wrong_use_ends_with_2_and_waives_nothing(project: Path, arguments: tuple[str, ...], words: str) -> None:
    done = waive(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not Path(WAIVER_FILE).exists()


def test_without_a_branch_the_scope_has_to_be_said(project: Path) -> None:
    git("checkout", "-q", "--detach")
    done = waive("acc", "--reason", "x", "--expires", "1d")
    assert (done.exit_code, "no branch is checked out" in done.stderr) == (2, True)


def test_waivers_written_at_once_are_all_kept(project: Path) -> None:
    command = [sys.executable, "-m", "unitrack", "waive", "acc", "--expires", "1d", "--reason"]
    writers = [subprocess.Popen([*command, f"Reason {number}."], stdout=subprocess.DEVNULL) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    kept = decode(Path(WAIVER_FILE).read_bytes())
    assert sorted(one.reason for one in kept) == [f"Reason {number}." for number in range(4)]


def test_verdicts_on_test_data_are_counted_once_each(project: Path) -> None:
    edit(
        "train.py",
        "    for epoch",
        '    run.log_dataset("s3://b/digits.csv", split="test", digest="sha256:aa")\n    for epoch',
    )
    assert gate("--baseline", "HEAD~1", "--seeds", "1").exit_code == 0
    assert gate("--baseline", "HEAD~1", "--seeds", "1").exit_code == 0
    verdict = read_verdict(only_verdict(project))
    assert verdict.test_set is not None
    assert (verdict.test_set.digest, verdict.test_set.verdicts) == ("sha256:aa", 1)
    assert [entry.key for entry in read(ledger_path(project / ".unitrack"))] == [verdict.key]


def test_the_history_lists_verdicts_newest_first(project: Path) -> None:
    assert "no verdicts" in gate("--history").stdout
    commit("Better", LEVEL="0.92")
    assert gate().exit_code == 0
    worse = commit("Worse", LEVEL="0.8")
    assert gate().exit_code == 1
    first, second = json.loads(gate("--history", "--json").stdout)
    assert (first["outcome"], first["failed"], first["candidate"], first["baseline"]) == (
        "fail",
        ["acc"],
        worse,
        "toy:1",
    )
    assert second["outcome"] == "pass"
    assert json.loads(gate("--history", "--json", "--model", "other").stdout) == []
    Path(".unitrack/gate/broken").mkdir()
    Path(".unitrack/gate/broken/verdict.json").write_text("{")
    done = gate("--history", "--model", "toy")
    assert done.exit_code == 0
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["outcome", "fail", "pass"]
    assert "1 verdicts" in done.stderr
    why()
    assert gate().exit_code == 0
    assert json.loads(gate("--history", "--json").stdout)[0]["waived"] == ["acc"]
