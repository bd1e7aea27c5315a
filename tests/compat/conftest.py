"""Run training scripts in processes of their own, and read back what they logged."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import unitrack


class Script:
    """Runs a script in a folder of its own, with a tracker's client or with its second name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""

    def run(self, code: str, *, fails: bool = False, **environment: str) -> str:
        """Run `code`; return what it printed. What it warned of is in `said`."""
        surroundings = {**os.environ, "UNITRACK_CAPTURE": "", **environment}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=self.folder, env=surroundings, capture_output=True,
            text=True, check=False, timeout=240,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        self.said = done.stderr
        return done.stdout

    def views(self) -> list[unitrack.RunView]:
        """Return the runs it logged, oldest first."""
        return unitrack.runs(dir=self.folder / ".unitrack")[::-1]

    def view(self) -> unitrack.RunView:
        """Return the one run it logged."""
        (view,) = self.views()
        return view


@pytest.fixture
def script(tmp_path):
    folder = tmp_path / "training"
    folder.mkdir()
    return Script(folder)


@pytest.fixture
def quiet(monkeypatch):
    """Runs of this process capture nothing of the surroundings, and none is left open."""
    monkeypatch.setenv("UNITRACK_CAPTURE", "")
    yield
    with contextlib.suppress(unitrack.UnitrackError):
        while True:
            unitrack.current().finish("failed")
