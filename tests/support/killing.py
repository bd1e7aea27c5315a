"""Kill real gates at any moment, and look at what is left of them.

place = Killable(folder, environ, container="...")     # a project whose gates take a few seconds
place.kill_after(0.7)                                  # SIGKILL; a gate that was faster has its verdict
place.wait_until_nothing_is_left()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from as_action import AS_ACTION
from containers import Engine

from unitrack.errors import EvidenceError
from unitrack.gate.verdict import Verdict, read_verdict
from unitrack.registry import LocalRegistry

__all__ = ["Killable"]

TRAIN = """\
import random, sys, time
import unitrack

LEVEL = 0.9
draw = random.Random(f"{LEVEL} {sys.argv[1]}")
with unitrack.init() as run:
    for step in range(5):
        run.log({"acc": LEVEL + 0.01 * draw.gauss(0, 1)}, step=step)
        time.sleep(0.05)
"""
SETTINGS = """\
project = "toy"
capture = []

[train]
command = ["python", "train.py", "{seed}"]
seeds = [0, 1, 2]
jobs = 2

[gate]
model = "toy"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.0001
"""
_CLEAN_WITHIN = 60.0  # seconds; on an idle machine it takes two or three


class Killable:
    """A project with a production model and a candidate, for gates to be killed in."""

    def __init__(self, folder: Path, *, engine: Engine | None = None, image: str = "") -> None:
        self.root, self._tmp, self._engine = folder / "toy", folder / "tmp", engine
        self.root.mkdir()
        self._tmp.mkdir()
        self.environ = {**os.environ, **AS_ACTION, **(engine.variables if engine else {}), "TMPDIR": str(self._tmp)}
        settings = SETTINGS
        if engine is not None:
            settings += f'\n[train.container]\nengine = "{engine.name}"\nimage = "{image}"\nmemory = "200m"\n'
        (self.root / "train.py").write_text(TRAIN)
        (self.root / "unitrack.toml").write_text(settings)
        (self.root / ".gitignore").write_text(".unitrack/\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-qm", "Train")
        registry = LocalRegistry(self.root / ".unitrack/registry", identity=lambda: "test")
        registry.register("toy", run="first", commit=self.git("rev-parse", "HEAD"))
        registry.set_alias("toy", "staging", 1, reason="tried")
        registry.set_alias("toy", "production", 1, reason="good")
        self._candidates = 0
        self.next_candidate()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env=self.environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def next_candidate(self) -> None:
        """Commit a training that no gate has judged yet."""
        self._candidates += 1
        text = TRAIN.replace("LEVEL = 0.9", f"LEVEL = 0.9{self._candidates:03}")
        (self.root / "train.py").write_text(text)
        self.git("commit", "-qam", f"Candidate {self._candidates}")

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "unitrack", "gate", "--json"],
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def kill_after(self, seconds: float) -> bool:
        """Start a gate and kill it; False if it came to its end before."""
        process = self.start()
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        return False

    def kill_after_a_job(self) -> set[str]:
        """Kill a gate of a new candidate once a training has ended; return the keys of those that have."""
        self.next_candidate()
        before, process = self.known_jobs(), self.start()
        try:
            while not (ended := self.known_jobs() - before):
                assert process.poll() is None, "no training ended"
                time.sleep(0.02)
        finally:
            process.kill()
            process.communicate()
        return ended

    def finish(self) -> tuple[Verdict, float]:
        """Let a gate come to its verdict, and return it and the seconds it took."""
        began = time.monotonic()
        process = self.start()
        process.communicate(timeout=300)
        took = time.monotonic() - began
        assert process.returncode in (0, 1, 3), process.returncode
        verdicts = [read_verdict(path) for path in self.root.glob(".unitrack/gate/*/verdict.json")]
        return max(verdicts, key=lambda one: one.created), took

    def known_jobs(self) -> set[str]:
        """Return the keys of the jobs whose results are written down."""
        results = [json.loads(path.read_bytes()) for path in self.root.glob(".unitrack/rerun/*/result.json")]
        return {result["key"] for result in results if result["ok"]}

    # -- what is left ------------------------------------------------------------------------------------------------

    def left(self) -> list[str]:
        """Name what a gate must not leave behind: containers, processes, worktrees, folders, halves of verdicts."""
        found = [f"process {words}" for words in self._processes()]
        found += [f"container {name}" for name in (self._engine.containers() if self._engine else [])]
        found += [f"worktree {line}" for line in self.git("worktree", "list").splitlines()[1:]]
        found += [f"checkout {path}" for path in self._tmp.iterdir()]
        found += [f"store of a job {path}" for path in self.root.glob(".unitrack/rerun/staged-*")]
        for path in self.root.glob(".unitrack/gate/*/verdict.json"):
            try:
                read_verdict(path)
            except EvidenceError as error:
                found.append(f"half a verdict {error}")
        return found

    def _processes(self) -> list[str]:
        """Return the command lines of what runs in our name, but for what cleans up."""
        mark, found = f"TMPDIR={self._tmp}".encode(), []
        for at in Path("/proc").glob("[0-9]*"):
            try:
                words = (at / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if mark in (at / "environ").read_bytes().split(b"\0") and "unitrack.cli._watch" not in words:
                    found.append(words)
            except OSError:
                continue
        return found

    def wait_until_nothing_is_left(self) -> float:
        """Wait, and return the seconds it took; the next gate's start has no part in it."""
        began = time.monotonic()
        while left := self.left():
            assert time.monotonic() < began + _CLEAN_WITHIN, left
            time.sleep(0.1)
        return time.monotonic() - began
