"""Ask git about commits; nothing here changes a branch, the index or the working tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

from unitrack.errors import EvidenceError, UsageError

__all__ = ["Repository", "find_repository"]

# Set by git for its hooks; they would point our questions at the wrong repository.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_LFS = "version https://git-lfs.github.com/spec/v1"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A git repository by the folder of its working tree."""

    root: Path

    def commit(self, ref: str) -> str:
        """Return the full id of the commit `ref` names. Raises UsageError if there is none here."""
        done = _git(self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.strip()
        raise UsageError(f"{ref!r} names no commit in {self.root}: {self._why_unknown()}")

    def has(self, commit: str) -> bool:
        """Tell whether a commit is here."""
        return _git(self.root, "cat-file", "-e", "--end-of-options", f"{commit}^{{commit}}").returncode == 0

    def _why_unknown(self) -> str:
        if self.is_shallow():
            return "this clone is shallow, fetch the rest with `git fetch --unshallow` (in CI: fetch-depth 0)"
        if _git(self.root, "rev-parse", "--verify", "--quiet", "HEAD").returncode != 0:
            return "the repository has no commit yet, make one"
        return "check the name, or fetch it with `git fetch`"

    def is_shallow(self) -> bool:
        """Tell whether part of the history was not fetched."""
        return self._ask("rev-parse", "--is-shallow-repository").strip() == "true"

    def tree(self, commit: str) -> str:
        """Return the id of the commit's content."""
        return self._ask("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}").strip()

    def uncommitted(self) -> tuple[str, ...]:
        """Return the paths that differ from HEAD; untracked ones count, ignored ones don't."""
        entries = iter(self._ask("status", "--porcelain", "-z").split("\0"))
        paths = []
        for entry in entries:
            if entry:
                paths.append(entry[3:])
                if "R" in entry[:2] or "C" in entry[:2]:
                    next(entries, None)  # the old name
        return tuple(paths)

    def text(self, ref: str, path: str) -> str:
        """Return a file as `ref` has it. Raises UsageError if the ref or the file is unknown."""
        done = _git(self.root, "show", "--end-of-options", f"{self.commit(ref)}:{path}")
        if done.returncode != 0:
            raise UsageError(f"{ref} has no file {path}: commit it there, or name another ref")
        return done.stdout

    def tracked(self, folder: str) -> frozenset[str]:
        """Return the paths under `folder` that git tracks, relative to the root."""
        return frozenset(filter(None, self._ask("ls-files", "-z", "--", folder).split("\0")))

    def files(self, commit: str) -> tuple[str, ...]:
        """Return the paths of all files of a commit."""
        return tuple(filter(None, self._ask("ls-tree", "-r", "-z", "--name-only", commit, "--").split("\0")))

    def branch(self) -> str | None:
        """Return the branch that is checked out, None if none is."""
        done = _git(self.root, "symbolic-ref", "--quiet", "--short", "HEAD")
        return done.stdout.strip() or None

    def subjects(self, base: str, head: str) -> tuple[str, ...]:
        """Return `<short id> <subject>` of what `head` has and `base` has not, newest first."""
        listed = self._ask("log", "--format=%h %s", "--max-count=1000", f"{base}..{head}", "--")
        return tuple(listed.splitlines())

    def changed_files(self, base: str, head: str) -> tuple[str, ...]:
        """Return the paths whose content differs between two commits."""
        return tuple(filter(None, self._ask("diff", "--name-only", "-z", base, head, "--").split("\0")))

    def submodules(self, commit: str) -> tuple[str, ...]:
        """Return the paths of the commit's submodules."""
        done = _git(self.root, "config", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.path$")
        return tuple(line.partition(" ")[2] for line in done.stdout.splitlines())

    def lfs_files(self, commit: str) -> tuple[str, ...]:
        """Return the paths whose content git-lfs keeps."""
        attributes = _git(self.root, "grep", "-q", "filter=lfs", commit, "--", ":(glob)**/.gitattributes")
        if attributes.returncode != 0:
            return ()
        found = _git(self.root, "grep", "-lzI", "-e", f"^{_LFS}", commit, "--")
        return tuple(entry.partition(":")[2] for entry in found.stdout.split("\0") if entry)

    def fetch(self, remote: str, ref: str) -> None:
        """Fetch what `ref` leads to; no branch moves. Raises EvidenceError."""
        done = _git(self.root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", remote, ref)
        if done.returncode != 0:
            raise EvidenceError(f"{ref} can't be fetched from {remote}: {_complaint(done)}")

    def add_worktree(self, path: Path, commit: str) -> None:
        """Check a commit out into a new folder, without running the repository's hooks. Raises EvidenceError."""
        done = _git(
            self.root, "-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--detach", "--quiet", str(path), commit
        )
        if done.returncode != 0:
            raise EvidenceError(f"{commit[:12]} can't be checked out: {_complaint(done)}")

    def remove_worktree(self, path: Path) -> None:
        """Forget a folder made by `add_worktree`; what is left of it is the caller's to delete."""
        _git(self.root, "worktree", "remove", "--force", "--force", str(path))
        self.prune_worktrees()

    def prune_worktrees(self) -> None:
        """Forget the worktrees whose folders are gone."""
        _git(self.root, "worktree", "prune")

    def _ask(self, *arguments: str) -> str:
        done = _git(self.root, *arguments)
        if done.returncode != 0:
            raise EvidenceError(f"`git {arguments[0]}` failed in {self.root}: {_complaint(done)}")
        return done.stdout


def find_repository(start: Path) -> Repository:
    """Return the repository around a folder. Raises EvidenceError if there is none, or no git."""
    done = _git(start, "rev-parse", "--show-toplevel")
    if done.returncode != 0:
        raise EvidenceError(
            f"{start} is not in a git working tree, and a rerun trains from commits: "
            f"make one with `git init` and commit ({_complaint(done)})"
        )
    return Repository(root=Path(done.stdout.rstrip("\n")))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    env.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise EvidenceError("git can't be started, and a rerun trains from commits: install git") from error


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"git ended with {done.returncode}"
