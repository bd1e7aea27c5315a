"""Read files of users: in one pass, hashed, in bounded memory, and sure that they held still."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

from unitrack.errors import UsageError

__all__ = ["ChangedError", "Progress", "SourceError", "digest_bytes", "digest_file", "kind_of"]

Progress = Callable[[int], object]
"""Is told the bytes done so far, after each chunk."""

_CHUNK = 1 << 18  # small enough to be still in a core's own cache when it is hashed
# A pipe that took the place of the file must not make us wait for a writer.
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISCHR, "device"),
)


class SourceError(UsageError):
    """A file can't be read; `reason` says why in a few words."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"can't store {os.fspath(path)!r}: {reason}")
        self.reason = reason


class ChangedError(SourceError):
    """A file was written to while it was being read."""


def kind_of(mode: int) -> str:
    """Name what a `st_mode` stands for: file, folder, fifo, socket or device."""
    return next((name for test, name in _KINDS if test(mode)), "unknown kind of file")


def digest_file(
    path: str | os.PathLike[str],
    take: Callable[[memoryview], object] | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[str, int]:
    """Return the digest `sha256:<hex>` and size in bytes of a file, handing each chunk to `take`.

    A chunk is there until `take` returns: the next one takes its place.
    Raises SourceError for what isn't a readable file, ChangedError if it didn't hold still.
    What `take` and `progress` raise passes through.
    """
    handle = _open(path)
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise SourceError(path, f"it is a {kind_of(before.st_mode)}, not a file")
        result = _digest(Path(path), handle, take, progress)
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangedError(path, "it changed while it was being read; log it when it is complete")
    return result


def digest_bytes(data: bytes) -> str:
    """Return the digest `sha256:<hex>` of bytes in memory."""
    from hashlib import sha256  # loads OpenSSL, which takes 3 ms

    return f"sha256:{sha256(data).hexdigest()}"


def _open(path: str | os.PathLike[str]) -> int:
    try:
        return os.open(path, _OPEN)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SourceError(path, getattr(error, "strerror", None) or str(error)) from error


def _digest(
    path: Path, handle: int, take: Callable[[memoryview], object] | None, progress: Progress | None
) -> tuple[str, int]:
    from hashlib import sha256

    sha, size, buffer = sha256(), 0, memoryview(bytearray(_CHUNK))
    with io.FileIO(handle, closefd=False) as file:
        while count := _read(path, file, buffer):
            chunk = buffer[:count]
            sha.update(chunk)
            if take is not None:
                take(chunk)
            size += count
            if progress is not None:
                progress(size)
    return f"sha256:{sha.hexdigest()}", size


def _read(path: Path, file: io.FileIO, buffer: memoryview) -> int:
    try:
        return file.readinto(buffer) or 0
    except OSError as error:
        raise SourceError(path, error.strerror or str(error)) from error
