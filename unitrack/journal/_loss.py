"""The count of what a writer could not write, kept where a full disk can't stop it.

The file is written at full length while there is room and later overwritten in place, which
needs no new block. It goes when a journal is sealed without loss.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from unitrack.events import FinalStatus

__all__ = ["Loss", "LossFile", "read_loss"]

_SIZE = 512


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were lost, why, and the status a journal that can't grow can't be sealed with."""

    lost: int = 0
    reason: str = ""
    status: FinalStatus | None = None


class LossFile:
    """A `Loss` on disk, replaced in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def open(self) -> None:
        """Make the file at full length; a store without room for it does without."""
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self.write(Loss())
        except OSError:
            self.close()

    def write(self, loss: Loss) -> None:
        """Overwrite the record in place; without a file it does nothing. Raises OSError."""
        if self._handle < 0:
            return
        line = msgspec.json.encode(msgspec.structs.replace(loss, reason=loss.reason[:300]))
        if len(line) >= _SIZE:  # the reason is foreign text of any width in UTF-8
            line = msgspec.json.encode(msgspec.structs.replace(loss, reason=""))
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, line.ljust(_SIZE - 1) + b"\n")

    def close(self) -> None:
        """Let go of the file and leave it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """Let go of the file and delete it: nothing was lost."""
        self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return  # a record of zero losses does no harm


def read_loss(path: Path) -> Loss:
    """Return the record at `path`; none, or one that can't be read, counts as no loss."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Loss)
    except (OSError, msgspec.DecodeError):
        return Loss()
