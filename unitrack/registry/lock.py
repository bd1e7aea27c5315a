"""One writer at a time: a lock that waits, names who holds it, and dies with its holder."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from unitrack.errors import RegistryError

__all__ = ["exclusive"]

_LONGEST_PAUSE = 0.05  # seconds between two tries

if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 30  # past the holder's name: Windows locks are mandatory, and others read the name

    def _try(handle: int) -> bool:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextlib.contextmanager
def exclusive(path: Path, *, timeout: float, doing: str = "another change of this model") -> Iterator[None]:
    """Hold the lock file `path`, waiting for it up to `timeout` seconds; `doing` says what its holders do.

    The file stays: to remove it would let two holders in. Raises RegistryError when the time is
    over, or when the file system has no locks.
    """
    handle = _open(path)
    try:
        _wait(handle, path, time.monotonic() + timeout, timeout, doing)
        try:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
        finally:
            _release(handle)
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise RegistryError(f"{path} can't be opened to lock it: {error.strerror}") from error


def _wait(handle: int, path: Path, deadline: float, timeout: float, doing: str) -> None:
    pause = 0.001
    while not _taken(handle, path):
        if time.monotonic() >= deadline:
            raise RegistryError(
                f"{path} was held for {timeout:g} s by {_holder(handle)}: {doing} is under way; "
                "try again when it is done, or end that process"
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _taken(handle: int, path: Path) -> bool:
    try:
        return _try(handle)
    except OSError as error:
        raise RegistryError(
            f"{path} can't be locked ({error.strerror}), and without a lock two writers could lose each other's "
            "changes: keep it on a file system with locks"
        ) from error


def _holder(handle: int) -> str:
    os.lseek(handle, 0, os.SEEK_SET)
    name = os.read(handle, 200).decode("utf-8", "replace").strip()
    return "".join(letter for letter in name if letter.isprintable()) or "another process"
