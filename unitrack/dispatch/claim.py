"""The right to send one run to one backend: a lock that dies with its holder, and a line of one behind it."""

from __future__ import annotations

import os
from pathlib import Path

from unitrack.journal._lock import is_held, try_acquire
from unitrack.journal.cursor import cursor_path

__all__ = ["Claim", "is_claimed"]


class Claim:
    """`<run>/sync/<backend>.lock` is held by who sends, `<backend>.next` by who asked to take over.

    Both are locks, so neither a killed sender nor a killed successor leaves anything to clear away. A sender that
    follows a run looks at the second from time to time, and lets go when it is held.
    """

    def __init__(self, run: Path, backend: str) -> None:
        self._path = cursor_path(run, backend).with_suffix(".lock")
        self._next = self._path.with_suffix(".next")
        self._lock = self._place = -1

    @property
    def held(self) -> bool:
        """Tell whether this object has the lock."""
        return self._lock >= 0

    def take(self) -> bool:
        """Take the lock; False while another has it, or has asked for it."""
        if self._place < 0 and self.is_wanted():
            return False
        self._lock = _acquire(self._path)
        self._withdraw()
        return self.held

    def ask(self) -> None:
        """Stand in line, if nobody else does: call `take` until the holder has let go, or `release`."""
        if self._place < 0:
            self._place = _acquire(self._next)

    def is_wanted(self) -> bool:
        """Tell whether somebody else asks for the lock."""
        try:
            return bool(is_held(self._next))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._place >= 0:
            os.close(self._place)
            self._place = -1

    def _withdraw(self) -> None:
        if self.held and self._place >= 0:
            os.close(self._place)
            self._place = -1


def is_claimed(run: Path, backend: str) -> bool:
    """Tell whether some process sends the run to the backend right now."""
    try:
        return bool(is_held(cursor_path(run, backend).with_suffix(".lock")))
    except FileNotFoundError:
        return False


def _acquire(path: Path) -> int:
    """Return a handle that holds the lock of `path`, -1 while another has it."""
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if try_acquire(handle):
        return handle
    os.close(handle)
    return -1
