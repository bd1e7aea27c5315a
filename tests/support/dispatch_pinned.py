"""Environments of their own with packages pinned by hash: a part of constraints/test.txt, and what it needs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BUILD = ("hatchling", "editables")


def closure(*roots):
    """Return the names of distributions that `roots` need, as this environment has them; none of ours."""
    found, left = set(), [Requirement(root) for root in roots]
    while left:
        asked = left.pop()
        for extra in {"", *asked.extras} - {extra for name, extra in found if name == _plain(asked.name)}:
            try:
                needed = [Requirement(text) for text in metadata.requires(asked.name) or []]
            except metadata.PackageNotFoundError:
                continue  # for another Python or system
            found.add((_plain(asked.name), extra))
            left += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found if not name.startswith("unitrack")}


def requirements(*roots):
    """Return the lines of constraints/test.txt, hashes and all, for what `roots` need."""
    wanted = closure(*roots, *BUILD)
    blocks = re.split(r"(?m)^(?=\S)", (ROOT / "constraints" / "test.txt").read_text())
    listed = (block for block in blocks if _plain(re.split(r"[=<>~!;\[ ]", block)[0]) in wanted)
    return "".join(re.sub(r"^([\w.-]+)\[[^\]]*\]", r"\1", block) for block in listed)


def install(python, *roots):
    """Install what `roots` need into the environment of `python`, which needs no pip of its own."""
    folder = Path(python).parents[1]
    listed = folder / "requirements.txt"
    listed.write_text(requirements(*roots))
    pip(python, "--require-hashes", "-r", str(listed))


def pip(python, *arguments):
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-qq",
        "--no-input",
        "--no-compile",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])


def environment(folder):
    """Make an environment without pip, which takes a second instead of ten, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()
