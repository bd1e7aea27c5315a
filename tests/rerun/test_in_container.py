"""`unitrack rerun` from end to end with a real engine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from containers import Engine, Image, push_python_image

import unitrack
from unitrack.cli import main

TRAIN = """\
import sys, time, unitrack
time.sleep(float(open("data/wait.txt").read()))
with unitrack.init() as run:
    run.log({"acc": 0.5 + int(sys.argv[1])})
"""
SETTINGS = """\
project = "toy"
capture = ["hardware", "container"]
[train]
command = ["python", "train.py", "{{seed}}"]
seeds = [0, 1]
inputs = ["data"]
[train.container]
engine = "{engine}"
image = "{image}"
"""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in engine.variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    root = tmp_path / "toy"
    (root / "data").mkdir(parents=True)
    monkeypatch.chdir(root)
    Path("train.py").write_text(TRAIN)
    Path("unitrack.toml").write_text(SETTINGS.format(engine=engine.name, image=image.reference))
    Path(".gitignore").write_text("data/\n")
    Path("data/wait.txt").write_text("0")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "Train")
    return root


def rerun(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["rerun", *arguments], prog_name="unitrack")


def nothing_is_left(engine: Engine) -> None:
    assert engine.containers() == []
    assert len(git("worktree", "list").splitlines()) == 1
    assert list(Path(tempfile.gettempdir()).glob("unitrack-rerun-*")) == []
    assert list(Path(".unitrack/rerun").glob("staged-*")) == []


def test_a_commit_is_trained_in_the_image_and_known_the_next_time(engine: Engine) -> None:
    done = rerun("--json")
    assert done.exit_code == 0, done.output
    assert sorted(run.summary["acc"] for run in unitrack.runs()) == [0.5, 1.5]
    nothing_is_left(engine)
    again = json.loads(rerun("--json").stdout)
    assert [result["cached"] for result in again] == [True, True]


def lock(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lock", *arguments], prog_name="unitrack")


def test_a_tag_runs_as_the_image_that_the_lock_has_for_it(engine: Engine, registry: str) -> None:
    name = f"locked-{engine.name}"
    first = push_python_image(registry, name, files={"note": "first"})
    Path("unitrack.toml").write_text(SETTINGS.format(engine=engine.name, image=first.tagged))
    refused = rerun("--seeds", "1")
    assert refused.exit_code == 2
    assert "run `unitrack lock`" in refused.stderr
    assert lock().exit_code == 0
    assert json.loads(Path("unitrack.lock").read_text())["image"] == {"asked": first.tagged, "pinned": first.reference}
    second = push_python_image(registry, name, files={"note": "second"})
    assert second.tagged == first.tagged
    assert lock("--check").exit_code == 0, "a tag that moved changes nothing"
    assert lock().exit_code == 0
    done = rerun("--seeds", "1")
    assert done.exit_code == 0, done.output
    (view,) = unitrack.runs()
    assert view.captures["container"]["image"] == first.reference
    assert view.captures["container"]["image_digest"] == first.digest
    assert lock("--upgrade").exit_code == 0
    assert json.loads(Path("unitrack.lock").read_text())["image"]["pinned"] == second.reference
    Path("unitrack.toml").write_text(SETTINGS.format(engine=engine.name, image=f"{registry}/{name}:2"))
    assert lock("--check").exit_code == 1
    missing = lock()
    assert missing.exit_code == 4
    assert "can't be had" in missing.stderr


def test_a_killed_rerun_is_swept_and_goes_on_where_it_was(engine: Engine) -> None:
    Path("data/wait.txt").write_text("0.5")
    for delay in (0.3, 1.2, 2.0):
        process = subprocess.Popen([sys.executable, "-m", "unitrack", "rerun"], stderr=subprocess.DEVNULL)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    time.sleep(0.5)  # an engine's command that was under way when we were killed ends by itself
    results = [json.loads(path.read_bytes()) for path in Path(".unitrack/rerun").glob("*/result.json")]
    done = rerun("--json")
    assert done.exit_code == 0, done.output
    nothing_is_left(engine)
    by_key = {result["key"]: result for result in json.loads(done.stdout)}
    assert all(by_key[known["key"]]["cached"] for known in results)


def test_ctrl_c_leaves_nothing(engine: Engine) -> None:
    Path("data/wait.txt").write_text("60")
    process = subprocess.Popen([sys.executable, "-m", "unitrack", "rerun"], stderr=subprocess.DEVNULL)
    try:
        while not any("probe" not in name for name in engine.containers()):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    nothing_is_left(engine)
