"""Records no tracker would take: `<run>/sync/<backend>.dead.jsonl`, one a line with its reason."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import Record, Rejection
from unitrack.events import Unknown
from unitrack.files import write_atomic
from unitrack.journal import cursor
from unitrack.journal.codec import decode_line, encode_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["append_dead", "dead_path", "read_dead", "replace_dead"]


class _Letter(msgspec.Struct, frozen=True, kw_only=True):
    time: float
    reason: str
    writer: str
    rank: int | None = None
    event: msgspec.Raw


def dead_path(run: Path, backend: str) -> Path:
    """Return the file of the backend's dead letters."""
    return cursor.cursor_path(run, backend).with_suffix(".dead.jsonl")


def append_dead(run: Path, backend: str, rejections: Iterable[Rejection]) -> None:
    """Add rejected records, in one write. Raises OSError."""
    lines = b"".join(map(_line, rejections))
    if not lines:
        return
    path = dead_path(run, backend)
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, lines)
    finally:
        os.close(handle)


def replace_dead(run: Path, backend: str, rejections: Iterable[Rejection]) -> None:
    """Keep these dead letters only; none removes the file."""
    lines = b"".join(map(_line, rejections))
    if lines:
        write_atomic(dead_path(run, backend), lines)
    else:
        dead_path(run, backend).unlink(missing_ok=True)


def read_dead(run: Path, backend: str) -> list[Rejection]:
    """Return the dead letters, each record once, in the order they died; what can't be read is skipped."""
    found: dict[tuple[str, int], Rejection] = {}
    try:
        lines = dead_path(run, backend).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            letter = msgspec.json.decode(line, type=_Letter)
            record = Record(writer=letter.writer, rank=letter.rank, event=decode_line(bytes(letter.event)))
        except ValueError:  # a line a crash cut short: its record was not acked and comes again
            continue
        found[record.key] = Rejection(record=record, reason=letter.reason)
    return list(found.values())


def _line(rejection: Rejection) -> bytes:
    record = rejection.record
    event: Any = record.event.raw if isinstance(record.event, Unknown) else msgspec.Raw(encode_line(record.event)[:-1])
    letter = {
        "time": time.time(),
        "reason": rejection.reason,
        "writer": record.writer,
        "rank": record.rank,
        "event": event,
    }
    return msgspec.json.encode(letter) + b"\n"
