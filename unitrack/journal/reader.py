"""Read journals: whole, from where one stopped, or past damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from unitrack.errors import JournalError
from unitrack.events import Event
from unitrack.journal.codec import decode_line, decode_lines

__all__ = ["Batch", "JournalReader", "read_journal"]

_CHUNK = 1 << 20


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Events in order, and where in the file the next one begins."""

    events: list[Event]
    offset: int


class JournalReader:
    """Read a journal from byte `offset` on, as far as it is committed; call again for what came since.

    A last line without a newline is left for later: it is being written, or torn. A bad line
    before that is corruption: JournalError with file and line, or with `salvage` skipped and
    told in `problems`.
    """

    def __init__(self, path: Path, *, offset: int = 0, salvage: bool = False) -> None:
        self.path = path
        self.offset = offset
        self.problems: list[str] = []
        self._salvage = salvage

    @property
    def torn(self) -> int:
        """Bytes behind the last committed event, as of now."""
        return self.path.stat().st_size - self.offset

    def read(self, size: int = _CHUNK) -> Batch:
        """Return the events of the next `size` bytes or so; none when there is nothing new.

        Raises FileNotFoundError, JournalError.
        """
        with self.path.open("rb") as file:
            return self._read_from(file.fileno(), size)

    def batches(self, size: int = _CHUNK) -> Iterator[Batch]:
        """Yield batches up to the end as it is now."""
        with self.path.open("rb") as file:
            while (batch := self._read_from(file.fileno(), size)).events or self._moved:
                yield batch

    _moved = False
    _counted = (0, 0)  # lines up to a byte, so that a journal full of bad lines is counted once

    def _read_from(self, fd: int, size: int) -> Batch:
        start, chunk = self.offset, os.pread(fd, size, self.offset)
        while (end := chunk.rfind(b"\n") + 1) == 0:  # a line longer than the chunk, or the torn tail
            more = os.pread(fd, max(size, len(chunk)), start + len(chunk))
            if not more:
                self._moved = False
                return Batch(events=[], offset=start)
            chunk += more
        whole = chunk if end == len(chunk) else chunk[:end]
        try:
            events = decode_lines(whole)
        except ValueError:
            events = self._decode_each(whole)
        self._moved = True
        self.offset = start + end
        return Batch(events=events, offset=self.offset)

    def _decode_each(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        for index, line in enumerate(chunk.split(b"\n")[:-1]):
            try:
                events.append(decode_line(line))
            except ValueError as error:
                number = self._line_number(index)
                if not self._salvage:
                    raise JournalError(
                        f"this line is no event ({error}). See what can be read with `unitrack verify --salvage`",
                        path=str(self.path),
                        line=number,
                    ) from None
                self.problems.append(f"{self.path.name}:{number}: skipped: {error}")
        return events

    def _line_number(self, index: int) -> int:
        # Counted only when there is something to complain of: numbering all lines would cost each reader.
        counted, lines = self._counted
        if counted != self.offset:
            with self.path.open("rb") as file:
                file.seek(counted)
                while counted < self.offset and (chunk := file.read(min(_CHUNK, self.offset - counted))):
                    counted += len(chunk)
                    lines += chunk.count(b"\n")
            self._counted = (self.offset, lines)
        return lines + index + 1


def read_journal(path: Path, *, salvage: bool = False) -> Iterator[Event]:
    """Yield the committed events of a journal, whatever tail a crash left. Raises JournalError, OSError."""
    for batch in JournalReader(path, salvage=salvage).batches():
        yield from batch.events
