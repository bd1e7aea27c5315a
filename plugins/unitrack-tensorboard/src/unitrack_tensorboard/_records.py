"""The events of event files, one after the other, and what is wrong with the files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Damage", "event_files", "read_events", "span"]

_HEAD, _TAIL = 12, 4
_LARGEST = 1 << 31


class Damage(Exception):  # noqa: N818 - told as a lowering, never raised out of the reader
    """The rest of an event file can't be read: it is torn or damaged at a byte."""


def event_files(folder: Path) -> list[Path]:
    """Return the event files of one run in the order TensorBoard reads them."""
    return sorted(path for path in folder.iterdir() if "tfevents" in path.name and path.is_file())


def read_events(path: Path, *, check: bool = True) -> Iterator[Any]:
    """Yield the events of a file. Raises Damage at the first record that isn't whole.

    Without `check` the sums aren't verified, which is many times faster.
    """
    from tensorboard.compat.proto import event_pb2

    with path.open("rb") as file:
        while (data := _record(file, path, check=check)) is not None:
            try:
                yield event_pb2.Event.FromString(data)
            except Exception as error:  # protobuf's DecodeError is another class in each implementation
                raise Damage(f"{path} holds no event before byte {file.tell()}: {error}") from error


def _record(file: BinaryIO, path: Path, *, check: bool) -> bytes | None:
    start = file.tell()
    head = file.read(_HEAD)
    if not head:
        return None
    size = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else _LARGEST
    if size >= _LARGEST or (check and not _matches(head[:8], head[8:])):
        raise Damage(f"{path} is torn or damaged at byte {start}")
    data, tail = file.read(size), file.read(_TAIL)
    if len(tail) < _TAIL or (check and not _matches(data, tail)):
        raise Damage(f"{path} is torn or damaged at byte {start}")
    return data


def _matches(data: bytes, word: bytes) -> bool:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return bool(struct.pack("<I", masked_crc32c(data)) == word)


def span(files: list[Path]) -> tuple[float, float] | None:
    """Return the first and the last time in the files, None without any."""
    low, high = float("inf"), float("-inf")
    for path in files:
        try:
            for event in read_events(path, check=False):
                if event.wall_time > 0:
                    low, high = min(low, event.wall_time), max(high, event.wall_time)
        except Damage:
            continue  # reading in earnest tells of it
    return (low, high) if low <= high else None
