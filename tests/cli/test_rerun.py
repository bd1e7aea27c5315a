from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import unitrack
from unitrack.cli import main

TRAIN = """\
import sys, unitrack
seed = int(sys.argv[1])
with unitrack.init() as run:
    run.log({"acc": float(open("data/x.txt").read()) + seed})
sys.exit(int(seed == 7))
"""
SETTINGS = """\
project = "toy"
capture = []
[train]
command = ["python", "train.py", "{seed}"]
seeds = [0, 1]
inputs = ["data"]
"""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    (root / "data").mkdir(parents=True)
    monkeypatch.chdir(root)
    Path("train.py").write_text(TRAIN)
    Path("unitrack.toml").write_text(SETTINGS)
    Path(".gitignore").write_text("data/\n")
    Path("data/x.txt").write_text("0.5")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "Train")
    return root


def rerun(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["rerun", *arguments], prog_name="unitrack")


def test_head_is_trained_with_every_seed_and_its_inputs() -> None:
    done = rerun()
    assert done.exit_code == 0, done.output
    found = {run.name: run.summary["acc"] for run in unitrack.runs()}
    short = git("rev-parse", "HEAD")[:12]
    assert found == {f"{short} seed 0": 0.5, f"{short} seed 1": 1.5}
    assert {run.group for run in unitrack.runs()} == {f"rerun-{short}"}
    assert {run.project for run in unitrack.runs()} == {"toy"}


def test_what_was_trained_is_known_the_next_time_and_trained_again_if_fresh() -> None:
    first = json.loads(rerun("--json").stdout)
    again = json.loads(rerun("--json").stdout)
    assert [result["cached"] for result in again] == [True, True]
    assert [result["run"] for result in again] == [result["run"] for result in first]
    fresh = json.loads(rerun("--json", "--fresh", "--seeds", "1").stdout)
    assert [result["cached"] for result in fresh] == [False]
    assert len(unitrack.runs()) == 3


def test_an_older_commit_is_trained_as_it_was() -> None:
    Path("train.py").write_text(TRAIN.replace("+ seed", "+ seed + 10"))
    git("commit", "-qam", "Ten more")
    assert rerun("HEAD~1", "--seeds", "1").exit_code == 0
    assert rerun("HEAD", "--seeds", "1").exit_code == 0
    assert [run.summary["acc"] for run in reversed(unitrack.runs())] == [0.5, 10.5]


def test_a_training_that_fails_ends_with_4_after_the_other_seeds() -> None:
    Path("unitrack.toml").write_text(SETTINGS.replace("[0, 1]", "[7, 1]"))
    git("commit", "-qam", "Seven")
    done = rerun()
    assert done.exit_code == 4
    assert "it ended with exit code 1" in done.stdout
    assert "finished" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"), [(("nowhere",), 2, "names no commit"), (("--seeds", "0"), 2, "range")]
)
def test_wrong_use_ends_with_2(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = rerun(*arguments)
    assert done.exit_code == code
    assert words in done.stderr


def test_missing_inputs_and_a_missing_repository_end_with_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/x.txt").unlink()
    Path("data").rmdir()
    assert rerun().exit_code == 4
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    monkeypatch.chdir(lonely)
    Path("unitrack.toml").write_text(SETTINGS)
    done = rerun()
    assert done.exit_code == 4
    assert "git init" in done.stderr


def test_without_a_train_section_it_says_what_to_write() -> None:
    Path("unitrack.toml").write_text('project = "toy"\n')
    done = rerun()
    assert done.exit_code == 2
    assert 'command = ["python", "train.py", "--seed", "{seed}"]' in done.stderr
