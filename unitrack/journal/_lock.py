"""A lock on an open file that dies with its holder: flock, or its like on Windows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["acquire", "is_held", "try_acquire"]

if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 62  # far past any data: Windows locks are mandatory, readers must not meet them

    def try_acquire(handle: int) -> bool:
        """Take the lock if it is free; True if taken."""
        os.lseek(handle, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    _try_probe = try_acquire

    def _release(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_acquire(handle: int, operation: int = fcntl.LOCK_EX) -> bool:
        """Take the lock if it is free; True if taken."""
        try:
            fcntl.flock(handle, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks: go on, the heartbeat tells who is alive
        return True

    def _try_probe(handle: int) -> bool:
        # Shared, so that two who look at once don't take each other for the writer.
        return try_acquire(handle, fcntl.LOCK_SH)

    def _release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def acquire(handle: int) -> None:
    """Take the lock of a file nobody else writes; a reader that probes it lets go at once."""
    for _ in range(1000):
        if try_acquire(handle):
            return


def is_held(path: Path) -> bool | None:
    """Tell whether another open file holds the lock of `path`; None where the file system has no locks.

    Raises FileNotFoundError.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        if not _try_probe(handle):
            return True
        try:
            _release(handle)
        except OSError:
            return None
        return False
    finally:
        os.close(handle)
