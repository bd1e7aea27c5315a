"""A clean folder with the content of one commit, gone when it is no longer needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unitrack.rerun.git import Repository
from unitrack.rerun.owner import is_gone, owner_token

__all__ = ["checkout", "commit_warnings", "dirty_warning", "sweep_checkouts"]

_PREFIX = "unitrack-rerun-"
_POINTER = b"version https://git-lfs.github.com/spec/"
_NAMED = 3


@contextmanager
def checkout(repository: Repository, commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder and remove it at the end, also after Ctrl-C.

    What killed processes left is `sweep_checkouts` to remove. Raises EvidenceError if git can't.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{owner_token()}."))
    folder = scratch / repository.root.name  # some trainings look at the folder's name
    try:
        repository.add_worktree(folder, commit)
        yield folder
    finally:
        repository.remove_worktree(folder)
        shutil.rmtree(scratch, ignore_errors=True)


def sweep_checkouts(repository: Repository) -> tuple[Path, ...]:
    """Remove the checkouts of processes that were killed, and return them."""
    left = []
    for scratch in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*.*"):
        if is_gone(scratch.name.removeprefix(_PREFIX).partition(".")[0]):
            repository.remove_worktree(scratch / repository.root.name)
            shutil.rmtree(scratch, ignore_errors=True)
            left.append(scratch)
    if left:
        repository.prune_worktrees()
    return tuple(left)


def commit_warnings(repository: Repository, commit: str, folder: Path) -> tuple[str, ...]:
    """Say what of a commit is missing in its checkout `folder`: submodules, files of git-lfs."""
    warnings = []
    submodules = repository.submodules(commit)
    if submodules:
        warnings.append(
            f"{commit[:12]}: submodules are left empty in a checkout ({_some(submodules)}): "
            "install what training needs of them, or keep it in this repository"
        )
    pointers = tuple(path for path in repository.lfs_files(commit) if _is_pointer(folder / path))
    if pointers:
        warnings.append(
            f"{commit[:12]}: files of Git LFS are pointers only ({_some(pointers)}): "
            "run `git lfs install` and `git lfs fetch --all`"
        )
    return tuple(warnings)


def dirty_warning(repository: Repository, store: Path) -> str | None:
    """Say that uncommitted changes take no part, if there are any outside of the store."""
    paths = tuple(path for path in repository.uncommitted() if not _is_within(repository.root / path, store))
    return f"uncommitted changes are not included ({_some(paths)}): commit what should count" if paths else None


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _some(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
