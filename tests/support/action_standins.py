"""Plain stand-ins for the actions of others that our workflows use. None of their code is run.

| action | what stands in |
| --- | --- |
| actions/checkout | git, fetching the event's commit from the remote on disk: one commit, or with `fetch-depth: 0` all branches |
| actions/setup-python | the Python that runs the tests |
| actions/upload-artifact, actions/download-artifact | a folder for each run and name |
| actions/cache/restore, actions/cache/save | a folder for each branch and key; a job reads those of its own and the default branch |
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["STANDINS", "Shelf", "StandinError"]

_CHECKOUT = {"ref", "fetch-depth", "persist-credentials"}


class StandinError(Exception):
    """What makes such a step fail."""


class Shelf:
    """What outlives a job: artifacts and caches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artifact(self, run: int | str, name: str) -> Path:
        return self.folder / "artifacts" / str(run) / name

    def cache(self, ref: str, key: str) -> Path:
        return self.folder / "caches" / re.sub(r"\W+", "-", ref) / key

    def caches(self) -> list[str]:
        """Return `<ref>/<key>` of all caches."""
        return sorted(path.relative_to(self.folder / "caches").as_posix() for path in self.folder.glob("caches/*/*"))


def checkout(machine: Any, given: dict[str, str]) -> None:
    _check("actions/checkout", given, _CHECKOUT)
    at, event = machine.done.workspace, machine.event

    def git(*arguments: str) -> None:
        done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StandinError(f"git {arguments[0]}: {done.stderr.strip()}")

    git("init", "--quiet", "--initial-branch", "nothing")
    git("remote", "add", "origin", str(machine.runner.remote))
    depth = given.get("fetch-depth", "1")
    whole = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"] if depth == "0" else []
    limit = [] if depth == "0" else [f"--depth={depth}"]
    git("-c", "protocol.version=2", "fetch", "--quiet", "--no-tags", *limit, "origin", *whole, event.sha)
    branch = event.ref.removeprefix("refs/heads/") if event.ref.startswith("refs/heads/") else None
    git("checkout", "--quiet", *(["-B", branch] if branch else ["--detach"]), event.sha)


def setup_python(_machine: Any, given: dict[str, str]) -> None:
    _check("actions/setup-python", given, {"python-version"})


def upload(machine: Any, given: dict[str, str]) -> None:
    _check("actions/upload-artifact", given, {"name", "path", "if-no-files-found"})
    paths = [machine.done.workspace / line.strip() for line in given["path"].splitlines() if line.strip()]
    there = [path for path in paths if path.exists()]
    if not there:
        if given.get("if-no-files-found") == "error":
            raise StandinError(f"there is nothing at {given['path']}")
        return
    target = machine.runner.shelf.artifact(machine.run_id, given["name"])
    root = (
        there[0] if len(there) == 1 and there[0].is_dir() else Path(os.path.commonpath([each.parent for each in there]))
    )
    for path in there:
        _copy(path, target / path.relative_to(root))


def download(machine: Any, given: dict[str, str]) -> None:
    _check("actions/download-artifact", given, {"name", "path", "run-id", "github-token"})
    other = given.get("run-id")
    if other and not given.get("github-token"):
        raise StandinError("another run's artifact needs a github-token")
    source = machine.runner.shelf.artifact(other or machine.run_id, given["name"])
    if not source.exists():
        raise StandinError(f"there is no artifact {given['name']}")
    _copy(source, machine.done.workspace / given["path"])


def restore(machine: Any, given: dict[str, str]) -> dict[str, str]:
    _check("actions/cache/restore", given, {"path", "key", "restore-keys"})
    wanted = [given["key"], *(line.strip() for line in given.get("restore-keys", "").splitlines() if line.strip())]
    for ref in (machine.event.ref, "refs/heads/main"):
        for key in wanted:
            found = sorted(
                machine.runner.shelf.cache(ref, "").glob(f"{key}*"), key=lambda path: path.stat().st_mtime_ns
            )
            if found:
                _copy(found[-1], machine.done.workspace)
                return {"cache-hit": "true" if found[-1].name == given["key"] else "false"}
    return {"cache-hit": ""}


def save(machine: Any, given: dict[str, str]) -> None:
    _check("actions/cache/save", given, {"path", "key"})
    target = machine.runner.shelf.cache(machine.event.ref, given["key"])
    for line in given["path"].splitlines():
        source = machine.done.workspace / line.strip()
        if line.strip() and source.exists() and not (target / line.strip()).exists():
            _copy(source, target / line.strip())


def _check(name: str, given: dict[str, str], known: set[str]) -> None:
    unknown = set(given) - known
    assert not unknown, f"the stand-in for {name} does not know {sorted(unknown)}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


STANDINS: dict[str, Callable[[Any, dict[str, str]], dict[str, str] | None]] = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/upload-artifact": upload,
    "actions/download-artifact": download,
    "actions/cache/restore": restore,
    "actions/cache/save": save,
}
