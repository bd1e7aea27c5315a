"""Prove a journal: count, order, seal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from unitrack.events import Event, Status, WriterStarted
from unitrack.journal import layout
from unitrack.journal.codec import decode_line

__all__ = ["JournalReport", "RunReport", "digest_of", "last_line", "verify_journal", "verify_run"]

_BLOCK = 1 << 20


class JournalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is worth: `problems` say what is wrong, `torn` counts bytes of an uncommitted last line."""

    path: Path
    events: int
    sealed: bool
    torn: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every line is whole and in order, and the seal, if there is one, fits."""
        return not self.problems


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's journals are worth together."""

    run: Path
    journals: tuple[JournalReport, ...]

    @property
    def ok(self) -> bool:
        """There is a journal, and all are whole."""
        return bool(self.journals) and all(journal.ok for journal in self.journals)

    @property
    def sealed(self) -> bool:
        """Every writer ended in order."""
        return bool(self.journals) and all(journal.sealed for journal in self.journals)


def digest_of(fd: int, digest: Any) -> str:
    """Return the `digest`, a fresh SHA-256, of an open file's bytes so far, as hex."""
    offset = 0
    while chunk := os.pread(fd, _BLOCK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return str(digest.hexdigest())


def last_line(fd: int) -> tuple[int, bytes]:
    """Return where the last whole line of an open file ends, and that line (empty if there is none)."""
    size = os.fstat(fd).st_size
    data = b""
    start = size
    while start > 0:
        step = min(64 * 1024, start)
        start -= step
        data = os.pread(fd, step, start) + data
        end = data.rfind(b"\n")
        before = data.rfind(b"\n", 0, max(end, 0))
        if end >= 0 and (before >= 0 or start == 0):
            return start + end + 1, data[before + 1 : end + 1]
    return 0, b""


def verify_run(run: Path) -> RunReport:
    """Read every journal of a run folder from end to end and report."""
    return RunReport(run=run, journals=tuple(verify_journal(path) for path in layout.journals(run)))


def verify_journal(path: Path) -> JournalReport:
    """Check every line, the order of `seq`, the first and last events, and the seal. Raises OSError."""
    from hashlib import sha256  # loads OpenSSL, which takes 3 ms

    problems: list[str] = []
    digest = sha256()
    seq, sealed, torn, number = 0, False, 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                torn = len(line)
                break
            event = _checked(line, number, problems)
            if event is not None:
                problems += _order_problems(event, number, seq, sealed=sealed)
                seq = event.seq
                if isinstance(event, Status):
                    sealed = True
                    problems += _seal_problems(event, number, digest.hexdigest())
            digest.update(line)
    if number == 0 or (number == 1 and torn):
        problems.append("no whole event")
    return JournalReport(path=path, events=number - bool(torn), sealed=sealed, torn=torn, problems=tuple(problems))


def _checked(line: bytes, number: int, problems: list[str]) -> Event | None:
    try:
        return decode_line(line)
    except ValueError as error:
        problems.append(f"line {number} is no event: {error}")
        return None


def _order_problems(event: Event, number: int, before: int, *, sealed: bool) -> list[str]:
    problems = []
    if sealed:
        problems.append(f"line {number} comes after the seal")
    if (number == 1) != isinstance(event, WriterStarted):
        problems.append(f"line {number} is {'not ' if number == 1 else ''}a writer event")
    if event.seq != before + 1:
        problems.append(f"line {number} has seq {event.seq} after {before}")
    return problems


def _seal_problems(status: Status, number: int, digest: str) -> list[str]:
    problems = []
    if status.events != number:
        problems.append(f"the seal counts {status.events} events, the file has {number}")
    if status.sha256 != digest:
        problems.append(f"the seal's SHA-256 is {status.sha256[:12]}..., the bytes before it have {digest[:12]}...")
    return problems
