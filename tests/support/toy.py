"""A small project with a real repository, a real training and a model in production, to be gated by the real command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from click.testing import CliRunner, Result

from unitrack.cli import main
from unitrack.registry import LocalRegistry

__all__ = ["DRAW", "SETTINGS", "TRAIN", "commit", "edit", "gate", "git", "make_project", "only_verdict"]

TRAIN = """\
import os, random, sys
import unitrack

LEVEL = 0.9
NOISE = 0.002
seed = int(sys.argv[1])
draw = random.Random(seed)
with unitrack.init(config={"level": LEVEL, "seed": seed}) as run:
    for epoch in range(3):
        run.log({"acc": LEVEL - 0.1 * (2 - epoch) + NOISE * draw.gauss(0, 1), "loss": 1 - LEVEL}, step=epoch)
"""
SETTINGS = """\
project = "toy"
capture = ["git"]

[train]
command = ["python", "train.py", "{seed}"]
seeds = [0, 1, 2]

[gate]
model = "toy"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.02

[[gate.metrics]]
name = "loss"
goal = "minimize"
role = "report"
"""
DRAW = "NOISE * draw.gauss(0, 1)"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(message: str, **replacements: str) -> str:
    """Commit train.py with parts replaced: `LEVEL=...` sets a constant, other names replace text."""
    text = Path("train.py").read_text()
    for name, value in replacements.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(before, f"{name} = {value}")
    Path("train.py").write_text(text)
    git("commit", "-qam", message)
    return git("rev-parse", "HEAD")


def edit(name: str, old: str, new: str, message: str = "Edit") -> str:
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))
    git("commit", "-qam", message)
    return git("rev-parse", "HEAD")


def make_project(root: Path, *, settings: str = SETTINGS, train: str = TRAIN) -> None:
    """Fill the current folder `root` and put its first commit into production."""
    Path("train.py").write_text(train)
    Path("unitrack.toml").write_text(settings)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "Train")
    registry = LocalRegistry(root / ".unitrack/registry", identity=lambda: "test")
    registry.register("toy", run="first", commit=git("rev-parse", "HEAD"))
    registry.set_alias("toy", "staging", 1, reason="tried")
    registry.set_alias("toy", "production", 1, reason="good")


def gate(*arguments: str) -> Result:
    """Run `unitrack gate`."""
    return CliRunner().invoke(main, ["gate", *arguments], prog_name="unitrack")


def only_verdict(root: Path) -> Path:
    """Return the only verdict of a project's store."""
    (path,) = root.glob(".unitrack/gate/*/verdict.json")
    return path
