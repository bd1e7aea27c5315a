"""W&B's transaction log: what an offline run's `.wandb` file is made of.

A header of 7 bytes, then records framed as LevelDB's log format says: blocks of 32 KiB, each fragment with
CRC-32, length and type (whole, first, middle, last). Bytes in, bytes out; what a record means is its caller's.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from unitrack.errors import FatalBackendError

__all__ = ["HEADER", "LogWriter", "read_log"]

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK = 32768
_FRAME = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_SEEDS = [zlib.crc32(bytes([kind])) for kind in range(5)]


class LogWriter:
    """Appends records to a log from `offset` on; what stands behind it is cut off."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._file, offset)
        os.lseek(self._file, offset, os.SEEK_SET)
        self.offset = offset
        self._pending: list[bytes] = []
        if offset == 0:
            self._add(HEADER)

    def append(self, record: bytes) -> None:
        """Take a record; `sync` writes it."""
        room = _BLOCK - self.offset % _BLOCK
        if len(record) + _FRAME.size <= room:
            self._fragment(_WHOLE, record)
        else:
            self._split(record)

    def _split(self, record: bytes) -> None:
        start, is_first = 0, True
        while is_first or start < len(record):
            room = _BLOCK - self.offset % _BLOCK
            if room < _FRAME.size:
                self._add(b"\0" * room)
                continue
            part = record[start : start + room - _FRAME.size]
            start += len(part)
            is_last = start == len(record)
            kind = (_WHOLE if is_first else _LAST) if is_last else (_FIRST if is_first else _MIDDLE)
            self._fragment(kind, part)
            is_first = False

    def _fragment(self, kind: int, part: bytes) -> None:
        self._add(_FRAME.pack(zlib.crc32(part, _SEEDS[kind]), len(part), kind) + part)

    def _add(self, data: bytes) -> None:
        self._pending.append(data)
        self.offset += len(data)

    def sync(self) -> None:
        """Return when all records survive a power cut."""
        data = memoryview(b"".join(self._pending))
        while data:
            data = data[os.write(self._file, data) :]
        self._pending.clear()
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file; what `sync` hasn't written is gone."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_log(path: Path) -> Iterator[bytes]:
    """Yield the records of a log as far as they are whole, as W&B's own client leaves a torn tail.

    Raises FatalBackendError for a file that is no such log, or damaged before its tail.
    """
    with path.open("rb") as file:
        if file.read(len(HEADER))[:4] != HEADER[:4]:
            raise FatalBackendError(f"{path} is no W&B log: it doesn't begin with {HEADER[:4].decode()!r}")
        record, place = b"", len(HEADER)
        while True:
            room = _BLOCK - place % _BLOCK
            if room < _FRAME.size:
                place += len(file.read(room))
                continue
            head = file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                return
            check, length, kind = _FRAME.unpack(head)
            part = file.read(length)
            if len(part) < length or (kind == 0 and length == 0):
                return
            if kind not in range(1, 5) or zlib.crc32(part, _SEEDS[kind]) != check:
                raise FatalBackendError(f"{path} is damaged at byte {place}: `wandb sync` stops there too")
            place += _FRAME.size + length
            record = part if kind in (_WHOLE, _FIRST) else record + part
            if kind in (_WHOLE, _LAST):
                yield record
