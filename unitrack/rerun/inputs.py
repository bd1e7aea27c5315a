"""Data that training reads and git doesn't keep: pinned by digest, linked into the checkout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from unitrack.errors import EvidenceError, UsageError
from unitrack.rerun.git import Repository

__all__ = ["InputFile", "Inputs", "pin_inputs"]

_BLOCK = 1 << 20


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file outside of git: where it is, and what shows that it was not written to since."""

    name: str
    path: Path
    size: int
    modified: int


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs of a training. `digests` are pairs of setting and SHA-256 over names and contents."""

    digests: tuple[tuple[str, str], ...] = ()
    files: tuple[InputFile, ...] = ()

    def link_into(self, folder: Path) -> None:
        """Link each file that a checkout of the project lacks; inputs with an absolute path stay where they are."""
        for file in self.files:
            target = folder / file.name
            if Path(file.name).is_absolute() or target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.path)

    def changed(self) -> tuple[str, ...]:
        """Return the names of files that were written to, or removed, since they were pinned."""
        return tuple(file.name for file in self.files if _stamp(file.path) != (file.size, file.modified))


def pin_inputs(repository: Repository, root: Path, names: tuple[str, ...]) -> Inputs:
    """Hash what `[train].inputs` names, relative to `root`, apart from what git tracks.

    Raises EvidenceError for one that is not there, UsageError for one outside of the project.
    """
    digests, files = [], []
    for name in names:
        found = _pin_one(repository, root, name)
        digests.append((name, _digest(found)))
        files += found
    return Inputs(digests=tuple(digests), files=tuple(files))


def _pin_one(repository: Repository, root: Path, name: str) -> list[InputFile]:
    at = root / name
    if not Path(name).is_absolute() and not at.resolve().is_relative_to(root.resolve()) and ".." in Path(name).parts:
        raise UsageError(f"[train].inputs: {name!r} is outside of {root}: give it as an absolute path")
    if not at.exists():
        raise EvidenceError(f"[train].inputs: {at} does not exist: fetch it, or take it out of the list")
    tracked = frozenset() if Path(name).is_absolute() else repository.tracked(str(at))
    return [
        _file(root, path, absolute=Path(name).is_absolute())
        for path in _walk(at)
        if _in_repository(repository, path) not in tracked
    ]


def _in_repository(repository: Repository, path: Path) -> str:
    return Path(os.path.relpath(path, repository.root)).as_posix()


def _walk(at: Path) -> list[Path]:
    if at.is_file():
        return [at]
    return sorted(Path(folder) / name for folder, _, names in os.walk(at) for name in names)


def _file(root: Path, path: Path, *, absolute: bool) -> InputFile:
    size, modified = _stamp(path) or (-1, -1)
    name = str(path) if absolute else Path(os.path.relpath(path, root)).as_posix()
    return InputFile(name=name, path=Path(os.path.abspath(path)), size=size, modified=modified)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(files: list[InputFile]) -> str:
    whole = hashlib.sha256()
    for file in files:
        content = hashlib.sha256()
        try:
            with file.path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    content.update(block)
        except OSError as error:
            raise EvidenceError(f"[train].inputs: {file.path} can't be read: {error.strerror}") from error
        whole.update(f"{file.name}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
