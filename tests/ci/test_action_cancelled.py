"""A job that is cancelled: the runner signals the step's shell alone, and what trained has to end in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from action_runner import ROOT
from as_action import AS_ACTION
from toy import commit, git, make_project

SLOW = '    print("::error::forged", flush=True)\n    __import__("time").sleep(600)\n'


def trainings(mark: str) -> list[str]:
    """The command lines of processes that have a mark in their environment."""
    found = []
    for at in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (at / "environ").read_bytes():
                found.append((at / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_what_a_cancelled_job_began_is_ended_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    root, temp = tmp_path / "toy", tmp_path / "temp"
    root.mkdir()
    temp.mkdir()
    monkeypatch.chdir(root)
    make_project(root)
    Path("train.py").write_text(Path("train.py").read_text() + SLOW)
    commit("Slow")
    environ = {
        **os.environ, **AS_ACTION, "RUNNER_TEMP": str(temp), "TMPDIR": str(temp), "GITHUB_OUTPUT": str(tmp_path / "output"),
        "PYTHON": sys.executable, "WORKING_DIRECTORY": str(root), "CANDIDATE": "HEAD", "BASELINE": "HEAD~1",
        "SEEDS": "", "POLICY_REF": "", "BRANCH": "",
    }  # fmt: skip
    script = str(ROOT / "actions" / "gate.sh")
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as step:  # fmt: skip
        try:
            ends = time.monotonic() + 60
            while not list(root.glob(".unitrack/rerun/*/output.log")) or "forged" not in "".join(
                path.read_text() for path in root.glob(".unitrack/rerun/*/output.log")
            ):
                assert time.monotonic() < ends, "no training began"
                time.sleep(0.05)
            step.send_signal(number)
            began = time.monotonic()
            said, _ = step.communicate(timeout=60)
        finally:
            if step.poll() is None:
                os.killpg(step.pid, signal.SIGKILL)
    assert step.returncode == 0, "the report that follows tells"
    assert time.monotonic() - began < 30
    assert "code=130" in (tmp_path / "output").read_text()
    token = re.match(r"::stop-commands::(\w+)\n", said)
    assert token is not None
    assert said.endswith(f"::{token[1]}::\n"), "commands are on again when all is said"
    while left := trainings(f"TMPDIR={temp}"):  # a helper sees the end of its training a moment later
        assert time.monotonic() < began + 30, left
        time.sleep(0.05)
    assert git("worktree", "list").count("\n") == 0
    assert sorted(path.name.partition("-")[0] for path in temp.iterdir()) == ["unitrack"], "the folder of the log alone"
