"""Data that training reads and git doesn't keep: pinned by digest or version, linked into the checkout."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Union

import msgspec

from unitrack.errors import EvidenceError, UsageError
from unitrack.objects.hashing import digest_files
from unitrack.objects.reading import SourceError
from unitrack.rerun.git import Repository

__all__ = ["InputFile", "Inputs", "PinnedInput", "Resolve", "pin_inputs"]

Resolve = Callable[[str], Union[tuple[str, str], None]]
"""Returns the system that keeps what stands at an absolute path or URI, and its version there; None if none does."""


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file outside of git: where it is, and what shows that it was not written to since."""

    name: str
    path: Path
    size: int
    modified: int


class PinnedInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input as the settings name it: the SHA-256 over its files' names and contents, and its version, if any."""

    name: str
    digest: str
    files: tuple[InputFile, ...] = ()
    system: str | None = None
    version: str | None = None


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs of a training, in the order of the settings."""

    pinned: tuple[PinnedInput, ...] = ()

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """Return pairs of setting and digest; that of a URI is its version."""
        return tuple((one.name, one.digest) for one in self.pinned)

    @property
    def files(self) -> tuple[InputFile, ...]:
        """Return the files of all."""
        return tuple(file for one in self.pinned for file in one.files)

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


def _nobody(_: str) -> None:
    return None


def pin_inputs(repository: Repository, root: Path, names: tuple[str, ...], resolve: Resolve = _nobody) -> Inputs:
    """Hash what `[train].inputs` names, relative to `root`, apart from what git tracks; a URI has a version instead.

    Raises EvidenceError for one that is not there, UsageError for one outside of the project.
    """
    return Inputs(pinned=tuple(_pin_one(repository, root, name, resolve) for name in names))


def _pin_one(repository: Repository, root: Path, name: str, resolve: Resolve) -> PinnedInput:
    known = resolve(name if "://" in name else str((root / name).absolute()))
    system, version = known or (None, None)
    if "://" in name:
        if known is None:
            raise EvidenceError(f"[train].inputs: nobody knows a version of {name}: install the plugin of its system")
        return PinnedInput(name=name, digest=f"{system}:{version}", system=system, version=version)
    files = _files(repository, root, name)
    return PinnedInput(name=name, digest=_digest(files), files=tuple(files), system=system, version=version)


def _files(repository: Repository, root: Path, name: str) -> list[InputFile]:
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
    """Hash names and contents, always anew: a job that can write to the store could write to a cache there."""
    whole = hashlib.sha256()
    for file, found in zip(files, digest_files([str(file.path) for file in files]), strict=True):
        if isinstance(found, SourceError):
            raise EvidenceError(f"[train].inputs: {found}")
        content = found[0].removeprefix("sha256:")
        whole.update(f"{file.name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
