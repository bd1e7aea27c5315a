"""Restore objects as files and folders, trusting neither their bytes nor their manifest."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from unitrack.errors import UnitrackError, UsageError
from unitrack.objects.hashing import digest_files
from unitrack.objects.reading import SourceError, digest_file
from unitrack.objects.tree import Manifest, check_path, describe

__all__ = ["restore_file", "restore_tree"]

# O_EXCL refuses every name that exists, links included, so nothing is written through one.
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BAD_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def restore_file(source: Path, digest: str, target: Path) -> None:
    """Copy the object `source` to `target`. Raises UsageError if something else is there."""
    if os.path.lexists(target):
        if target.is_symlink() or not target.is_file() or digest_file(target)[0] != digest:
            raise _taken(target)
        return
    with _beside(target) as scratch:
        _copy(source, digest, scratch)
        _move(scratch, target)


def restore_tree(manifest: Manifest, find: Callable[[str], Path], target: Path) -> None:
    """Build the folder `target` from objects that `find` locates. Raises UsageError if something else is there."""
    if os.path.lexists(target) and not _is_empty_folder(target):
        if target.is_symlink() or not target.is_dir() or not _same(manifest, target):
            raise _taken(target)
        return
    with _beside(target) as scratch:
        scratch.mkdir()
        try:
            _build(manifest, find, scratch)
        except OSError as error:
            if error.errno in _BAD_NAME:
                raise UsageError(
                    f"the manifest's paths can't be made here: {error}. They contradict each other, or this file "
                    "system can't hold such names"
                ) from error
            raise
        _move(scratch, target)


def _build(manifest: Manifest, find: Callable[[str], Path], root: Path) -> None:
    for entry in manifest.files:
        path = root / check_path(entry.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if _copy(find(entry.digest), entry.digest, path) != entry.size:
            raise UsageError(f"the manifest gives {entry.path[:200]!r} a wrong size: don't trust its source")
    for name in manifest.folders:
        (root / check_path(name)).mkdir(parents=True, exist_ok=True)


def _copy(source: Path, digest: str, target: Path) -> int:
    with FileIO(os.open(target, _CREATE, 0o666), "wb") as file:
        try:
            found, size = digest_file(source, lambda chunk: _write_all(file, chunk))
        except SourceError as error:
            raise UnitrackError(f"the object {source} can't be read: {error.reason}") from error
    if found != digest:
        raise UnitrackError(
            f"the object {source} is damaged: its bytes are {found}. Copy it again from where it was logged"
        )
    return size


def _write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a name next to `target` to build under, and remove what is still there in the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{os.urandom(12).hex()}.tmp"
    try:
        yield scratch
    finally:
        if scratch.is_dir():
            import shutil  # with its compressors, 2 ms that hardly anyone needs

            shutil.rmtree(scratch)
        else:
            scratch.unlink(missing_ok=True)


def _move(scratch: Path, target: Path) -> None:
    # A folder's rename fails on one that isn't empty; a file's would replace what came there meanwhile, a link fails.
    try:
        if scratch.is_dir():
            scratch.rename(target)
        else:
            target.hardlink_to(scratch)
    except OSError as error:
        if os.path.lexists(target):
            raise _taken(target) from error
        scratch.rename(target)  # a file system without links


def _same(manifest: Manifest, folder: Path) -> bool:
    found = describe(folder, digest_files)
    same = (found.files, found.folders, found.skipped) == (manifest.files, manifest.folders, ())
    return same and not any(path.is_symlink() for path in folder.rglob("*"))


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _taken(target: Path) -> UsageError:
    return UsageError(f"{str(target)!r} is there and holds something else: remove it or name another destination")
