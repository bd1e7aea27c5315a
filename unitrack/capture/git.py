"""Capture the commit training ran from, its submodules, and what wasn't committed.

    {"commit": "<sha>", "branch": "main", "root": "/home/mia/project", "remote": "https://host/o/r.git",
     "dirty": true, "untracked": 2, "patch": {"sha256": "<hex>", "size": 1234, "kept": true},
     "submodules": [{"path": "lib", "commit": "<sha>", "state": "modified"}]}

The patch is kept as an artifact up to a size; it is redacted there, and its SHA-256 is of the original. What git
doesn't tell in time is left out; outside a repository, and without git, that is all.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any

from unitrack.capture.redact import redact

__all__ = ["GitCollector"]

_SECONDS = 10.0
_LARGEST_PATCH = 1 << 20
_MOST_SUBMODULES = 100
_STATES = {" ": "clean", "-": "not fetched", "+": "modified", "U": "in conflict"}
_CHUNK = 1 << 16
# Only look: take no locks, ask nobody, start no program that the repository names.
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF")  # left by hooks of other repositories
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true")
# The same changes give the same bytes, whatever the user's settings for `git diff` are.
_DIFF = (
    "diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--unified=3",
    "--diff-algorithm=myers", "--indent-heuristic", "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/",
    "--submodule=short", "-O/dev/null", "HEAD", "--",
)  # fmt: skip


class GitCollector:
    """Asks git about the working folder, for `seconds` at most."""

    name = "git"

    def __init__(self, folder: Path | None = None, *, seconds: float = _SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds
        self._patch: bytes | None = None

    def attachments(self) -> dict[str, bytes]:
        """Return the patch, unless it is too large."""
        return {} if self._patch is None else {"changes.patch": self._patch}

    def collect(self) -> dict[str, Any]:
        """Return what git tells; `{"error": ...}` if there is a repository that it refuses to read."""
        try:
            git = _Git(self._folder or Path.cwd(), time.monotonic() + self._seconds)
            root = git.ask("rev-parse", "--show-toplevel")
        except OSError:  # no git, or the working folder is gone
            return {}
        if root is None:
            return {} if not git.complaint else {"error": git.complaint}
        git.folder = Path(root)
        status = git.ask("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames")
        entries = None if status is None else [entry for entry in status.split("\0") if entry]
        branch = git.ask("symbolic-ref", "--quiet", "--short", "HEAD")
        facts: dict[str, Any] = {
            "commit": git.ask("rev-parse", "--verify", "--quiet", "HEAD"),
            "branch": branch,
            "root": root,
            "remote": _remote(git, branch),
            "dirty": None if entries is None else any(not entry.startswith("??") for entry in entries),
            "untracked": None if entries is None else sum(entry.startswith("??") for entry in entries),
        }
        if facts["dirty"] and facts["commit"]:
            facts["patch"], self._patch = git.fingerprint(*_DIFF)
        if (git.folder / ".gitmodules").is_file():
            facts["submodules"] = _submodules(git.ask("submodule", "status", "--recursive"))
        return {name: value for name, value in facts.items() if value is not None}


class _Git:
    """Runs git until a deadline. Raises OSError if it can't be started."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.folder = folder
        self.complaint = ""
        self._deadline = deadline
        self._environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING} | _QUIET

    def ask(self, *arguments: str) -> str | None:
        """Return what git prints, without the newline; None if it fails or takes too long."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return None
        try:
            done = subprocess.run(
                [*_GIT, *arguments], cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
                capture_output=True, timeout=left, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            self.complaint = _complaint(done.stderr)
            return None
        return os.fsdecode(done.stdout).removesuffix("\n")

    def fingerprint(self, *arguments: str) -> tuple[dict[str, Any] | None, bytes | None]:
        """Return SHA-256 and size in bytes of what git prints, however much that is, and a little of it whole."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return None, None
        with subprocess.Popen(
            [*_GIT, *arguments], cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as running:  # fmt: skip
            timer = threading.Timer(left, running.kill)
            timer.daemon = True
            timer.start()
            try:
                facts, whole = _fingerprint(running.stdout)
            finally:
                timer.cancel()
        return (facts, whole) if running.returncode == 0 else (None, None)


def _fingerprint(stream: IO[bytes] | None) -> tuple[dict[str, Any], bytes | None]:
    sha, size, kept = hashlib.sha256(), 0, bytearray()
    while stream is not None and (chunk := stream.read(_CHUNK)):
        sha.update(chunk)
        size += len(chunk)
        if size <= _LARGEST_PATCH:
            kept += chunk
    fits = size <= _LARGEST_PATCH
    return {"sha256": sha.hexdigest(), "size": size, "kept": fits}, bytes(kept) if fits else None


def _submodules(status: str | None) -> list[dict[str, str]] | None:
    """Return path, commit and state of each submodule, as `git submodule status` prints them."""
    if status is None:
        return None
    found = []
    for line in status.splitlines()[:_MOST_SUBMODULES]:
        commit, _, rest = line[1:].partition(" ")
        path = rest.rpartition(" (")[0] if rest.endswith(")") else rest
        found.append({"path": path, "commit": commit, "state": _STATES.get(line[0], line[0])})
    return found


def _complaint(stderr: bytes) -> str:
    text = stderr.decode("utf-8", "replace").strip()
    return "" if "not a git repository" in text else redact(text.split("\n", 1)[0])[:500]


def _remote(git: _Git, branch: str | None) -> str | None:
    """Return the URL of the branch's remote, or of `origin`, without credentials."""
    name = branch and git.ask("config", "--get", f"branch.{branch}.remote")
    url = git.ask("config", "--get", f"remote.{name or 'origin'}.url")
    return None if url is None else redact(url)
