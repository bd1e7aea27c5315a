"""Whole gates: a real repository, real trainings, the real command."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from toy import DRAW, SETTINGS, commit, edit, gate, git, make_project, only_verdict

import unitrack
from unitrack.cli import gate as gate_module
from unitrack.cli import main
from unitrack.gate.decision import MetricDecision
from unitrack.gate.verdict import Cost, read_verdict
from unitrack.hookspecs import GateFinding
from unitrack.plugins import Plugins


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    monkeypatch.chdir(root)
    make_project(root)
    return root


def test_a_candidate_that_holds_up_passes(project: Path) -> None:
    candidate = commit("Slightly better", LEVEL="0.905")
    done = gate()
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("PASS")
    verdict = read_verdict(only_verdict(project))
    assert (verdict.outcome, verdict.candidate.commit) == ("pass", candidate)
    assert verdict.baseline.model == "toy:1"
    assert verdict.seeds == (0, 1)  # the third was not needed
    assert verdict.seeds_planned == 3
    assert only_verdict(project).with_name("report.md").read_text().startswith("## ✅ Gate passed")
    assert str(only_verdict(project)) in done.stderr
    runs = [unitrack.get_run(run.run) for run in (*verdict.candidate.runs, *verdict.baseline.runs)]
    assert {run.captures["git"]["commit"] for run in runs} == {candidate, verdict.baseline.commit}


@pytest.mark.parametrize("name", ["terminal", "markdown", "summary", "html", "junit", "sarif", "json"])
def test_a_verdict_of_a_gate_is_reported_in_every_format(project: Path, name: str) -> None:
    commit("Worse", LEVEL="0.5")
    assert gate().exit_code == 1
    done = CliRunner().invoke(main, ["report", str(only_verdict(project)), "--format", name])
    assert done.exit_code == 0, done.output
    assert "acc" in done.stdout and "fail" in done.stdout.lower()


def test_both_sides_train_in_turns(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    lines = [line.split(": ")[0] for line in gate("--seeds", "2").stderr.splitlines() if line.startswith("[")]
    assert lines == [
        "[1/4] candidate seed 0",
        "[2/4] baseline seed 0",
        "[3/4] candidate seed 1",
        "[4/4] baseline seed 1",
    ]


def test_a_candidate_that_lost_too_much_fails_and_the_report_says_why(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    done = gate("--report", "out/report.md")
    assert done.exit_code == 1, done.output
    assert done.stdout.startswith("FAIL  1 of 1 metrics failed: acc.")
    verdict = read_verdict(only_verdict(project))
    acc, loss = verdict.metrics
    assert (acc.decision, loss.decision) == ("fail", "reported")
    assert acc.mean == pytest.approx(-0.1)
    assert verdict.lineage.files == ("train.py",)
    assert verdict.lineage.commits[0].endswith(" Worse")
    assert [change.name for change in verdict.lineage.changes] == ["level"]
    report = Path("out/report.md").read_text()
    assert "Only one thing differs: params (level 0.9 → 0.8, in train.py)" in report
    assert report == only_verdict(project).with_name("report.md").read_text()


def test_the_reproducing_command_comes_to_the_same_bytes(project: Path) -> None:
    commit("Worse", LEVEL="0.8", NOISE="0.004")
    assert gate().exit_code == 1
    path = only_verdict(project)
    first = read_verdict(path)
    program, *arguments = shlex.split(first.reproduce)
    assert program == "unitrack"
    shutil.rmtree(project / ".unitrack/gate")
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert again.stderr.count(": known") == 2 * len(first.seeds)
    second = read_verdict(path)
    assert second.metrics == first.metrics
    assert [run.run for run in second.candidate.runs] == [run.run for run in first.candidate.runs]
    assert first.cost is not None
    assert (first.cost.trained, first.cost.cached) == (2 * len(first.seeds), 0)
    assert second.cost == Cost(seconds=0.0, trained=0, cached=2 * len(first.seeds))


def test_noise_leaves_it_undecided(project: Path) -> None:
    commit("Noisy", NOISE="0.2")
    done = gate()
    assert done.exit_code == 3, done.output
    assert "detect a drop of" in done.stdout


def test_unchanged_training_passes_after_one_seed(project: Path) -> None:
    edit("train.py", "import os, random, sys", "import random, sys")
    done = gate("--seeds", "1")
    assert done.exit_code == 0
    assert "equal in every seed" in done.stdout


def test_a_metric_the_candidate_dropped_fails(project: Path) -> None:
    edit("train.py", '"acc": LEVEL', '"accuracy": LEVEL')
    done = gate()
    assert done.exit_code == 1
    assert "The candidate did not log it" in done.stdout


def test_a_candidate_that_diverged_fails(project: Path) -> None:
    edit("train.py", DRAW, "float('nan')")
    done = gate()
    assert done.exit_code == 1
    assert "no finite value" in done.stdout


def test_a_metric_the_baseline_never_logged_is_no_evidence(project: Path) -> None:
    edit("train.py", '"acc": LEVEL', '"f1": LEVEL, "acc": LEVEL')
    edit("unitrack.toml", 'name = "acc"', 'name = "f1"')
    done = gate()
    assert done.exit_code == 4
    assert "name a baseline that logs it" in done.stdout


def test_training_that_crashes_is_no_evidence_and_shows_its_last_words(project: Path) -> None:
    edit("train.py", "for epoch", "raise SystemExit('the data is gone \\x1b[31m')\n    for epoch")
    done = gate()
    assert done.exit_code == 4
    assert "the data is gone \\x1b[31m" in done.stderr
    assert "nothing was judged: training the candidate" in done.stderr
    assert not list(project.glob(".unitrack/gate/*/verdict.json"))


def test_training_that_logs_nothing_is_no_evidence(project: Path) -> None:
    Path("train.py").write_text("print('trained')\n")
    git("commit", "-qam", "Forget the run")
    done = gate()
    assert done.exit_code == 4
    assert "has to call unitrack.init()" in done.stderr


def test_the_baseline_may_be_a_commit_or_another_version(project: Path) -> None:
    first = git("rev-parse", "HEAD")
    commit("Better", LEVEL="0.92")
    for reference in (first[:8], "main~1", "toy:1", "toy@staging"):
        expected = 4 if reference == "toy@staging" else 0  # production took the version out of staging
        assert gate("--baseline", reference, "--seeds", "2").exit_code == expected


def test_the_same_commit_on_both_sides_is_said_to_show_nothing(project: Path) -> None:
    done = gate("--seeds", "1")
    assert done.exit_code == 0
    assert "warning: candidate and baseline are the same commit" in done.stdout


def test_uncommitted_changes_take_no_part_and_are_warned_of(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    Path("train.py").write_text("raise SystemExit(1)")
    done = gate("--seeds", "2")
    assert done.exit_code == 0
    assert "warning: uncommitted changes are not included (train.py)" in done.stdout


def test_a_candidate_cannot_loosen_the_policy_of_the_base_branch(project: Path) -> None:
    git("checkout", "-qb", "sly")
    edit("unitrack.toml", "margin = 0.02", "margin = 0.5")
    commit("Worse", LEVEL="0.8")
    assert gate().exit_code == 0
    done = gate("--policy-ref", "main")
    assert done.exit_code == 1
    assert "--policy-ref" in done.stdout
    Path("own.toml").write_text(SETTINGS)
    assert gate("--policy", "own.toml").exit_code == 1


def test_json_is_the_verdict(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    done = gate("--json", "--seeds", "2")
    assert json.loads(done.stdout) == json.loads(only_verdict(project).read_bytes())


def test_explain_says_the_policy_in_words_and_trains_nothing(project: Path) -> None:
    done = gate("--explain")
    assert done.exit_code == 0
    assert "acc (target, last value, higher is better) may lose less than 0.02." in done.stdout
    assert not (project / ".unitrack/rerun").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy-ref", "nowhere"), "names no commit"),
        (("--policy", "nowhere.toml"), "can't be read"),
        (("--policy", "unitrack.toml", "--policy-ref", "main"), "give one of them"),
        (("--candidate", "nowhere"), "names no commit"),
        (("--baseline", "nowhere"), "names no commit"),
        (("--seeds", "0"), "0 is not in the range"),
    ],
)
def test_wrong_use_ends_with_2(project: Path, arguments: tuple[str, ...], words: str) -> None:
    done = gate(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("margin = 0.02", "", "'acc' has no margin"),
        ('goal = "maximize"', 'goal = "biggest"', "biggest"),
        ("[[gate.metrics]]", "[[gate.other]]", "other"),
        ('model = "toy"', "", "[gate] has no model"),
    ],
)
def test_a_policy_that_cannot_judge_ends_with_2(project: Path, old: str, new: str, words: str) -> None:
    edit("unitrack.toml", old, new)
    done = gate()
    assert done.exit_code == 2, done.output
    assert words in done.stderr


def test_errors_of_a_policy_at_a_ref_name_the_ref_and_no_scratch_file(project: Path) -> None:
    broken = edit("unitrack.toml", "margin = 0.02", "margin = 'wide'")
    edit("unitrack.toml", "margin = 'wide'", "margin = 0.02")
    done = gate("--policy-ref", broken)
    assert done.exit_code == 2
    assert f"unitrack.toml at {broken[:12]}" in done.stderr
    assert "/tmp" not in done.stderr


def test_a_project_in_a_folder_of_its_repository_is_gated_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sub").mkdir()
    for name in ("train.py", "unitrack.toml"):
        git("mv", name, f"sub/{name}")
    git("commit", "-qm", "Move")
    moved = git("rev-parse", "HEAD")
    monkeypatch.chdir(project / "sub")
    commit("Better", LEVEL="0.92")
    done = gate("--baseline", moved, "--seeds", "2", "--policy-ref", moved)
    assert done.exit_code == 0, done.output
    assert read_verdict(only_verdict(project / "sub")).policy_source.startswith("sub/unitrack.toml at ")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_the_training_and_leaves_no_checkout(project: Path, number: signal.Signals) -> None:
    edit("train.py", "import os, random, sys", "import os, random, sys, time")
    edit("train.py", "    for epoch", "    print('up', flush=True)\n    time.sleep(600)\n    for epoch")
    process = subprocess.Popen(
        [sys.executable, "-m", "unitrack", "gate"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not any("up" in log.read_text() for log in project.glob(".unitrack/rerun/*/output.log")):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert git("worktree", "list").count("\n") == 0
    (run,) = unitrack.runs()
    assert run.status in ("killed", "failed")


def test_without_scipy_nothing_is_trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "scipy" else find(name, *rest))
    done = gate()
    assert done.exit_code == 2
    assert "pip install 'unitrack[gate]'" in done.stderr
    assert not list(project.glob(".unitrack/rerun/*"))


def test_plugins_are_told_of_the_verdict(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Path, str]] = []

    class Listener:
        @unitrack.hookimpl
        def unitrack_verdict_reached(self, verdict: Path, outcome: str) -> None:
            told.append((verdict, outcome))

    plugins = Plugins()
    plugins.register(Listener(), "listener")
    monkeypatch.setattr(gate_module, "load_plugins", lambda settings: plugins)
    assert gate("--seeds", "1").exit_code == 0
    assert told == [(only_verdict(project), "pass")]


def test_a_registry_that_is_kept_in_git_is_no_cause_of_anything(project: Path) -> None:
    git("add", "-f", ".unitrack/registry")
    git("commit", "-qm", "The model in production")
    commit("Worse", LEVEL="0.5")
    gate("--seeds", "1")
    lineage = read_verdict(only_verdict(project)).lineage
    assert "train.py" in lineage.files
    assert not [name for name in lineage.files if "registry" in name]
    assert "registry" not in str(lineage.likely_cause)


class FairnessRule:
    name = "fairness"

    def __init__(self, decision: str) -> None:
        self.decision = decision

    def judge(self, decisions: Sequence[MetricDecision]) -> list[GateFinding]:
        if self.decision == "raise":
            raise RuntimeError("no groups")
        return [GateFinding(name="gap", decision=self.decision, reason=f"Seen: {len(decisions)} decisions.")]  # type: ignore[arg-type]


def bring_rule(monkeypatch: pytest.MonkeyPatch, *rules: object) -> None:
    class Bringer:
        @unitrack.hookimpl
        def unitrack_register_gate_rules(self) -> list[object]:
            if not rules:
                raise RuntimeError("its file is gone")
            return list(rules)

    plugins = Plugins()
    plugins.register(Bringer(), "bringer")
    monkeypatch.setattr(gate_module, "load_plugins", lambda settings: plugins)


@pytest.mark.parametrize(("said", "code"), [("pass", 0), ("fail", 1), ("undecided", 3), ("raise", 3)])
def test_a_plugins_rule_judges_with_the_policy(
    project: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:
    bring_rule(monkeypatch, FairnessRule(said))
    done = gate("--seeds", "1")
    assert done.exit_code == code
    verdict = read_verdict(only_verdict(project))
    assert verdict.metrics[-1].cause == "rule"
    reason = "RuntimeError: no groups" if said == "raise" else "Seen: 2 decisions."
    assert reason in verdict.metrics[-1].reason
    assert reason in done.stdout
    assert "fairness" in gate("--explain").stdout


def test_a_rule_that_cannot_be_had_leaves_the_gate_undecided(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_rule(monkeypatch)
    assert gate("--seeds", "1").exit_code == 3
    assert "its file is gone" in read_verdict(only_verdict(project)).metrics[-1].reason


def test_with_another_rule_it_is_another_question(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate("--seeds", "1").exit_code == 0
    bring_rule(monkeypatch, FairnessRule("fail"))
    done = gate("--seeds", "1")
    assert done.exit_code == 1
    assert "nothing was trained" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_on_a_terminal_a_live_table_shows_the_jobs(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    main_end, other_end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "unitrack", "gate", "--seeds", "2"],
        stdout=subprocess.DEVNULL,
        stderr=other_end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with EIO
        while chunk := os.read(main_end, 4096):
            shown += chunk
    os.close(main_end)
    assert process.wait(60) == 0
    assert b"trains, " in shown
    assert b"candidate" in shown
    assert b"[1/4]" not in shown
