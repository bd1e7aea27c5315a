"""Join an existing run: who writes it now, who did, and which run a restarted job continues."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from unitrack.errors import RunExistsError, RunNotFoundError
from unitrack.events import RunStarted, Status, WriterStarted
from unitrack.journal import layout
from unitrack.journal.codec import decode_line
from unitrack.journal.seal import last_line
from unitrack.journal.writer import JournalWriter

__all__ = ["claim", "find_unfinished", "resumed_writers"]

_TIME_TO_BEGIN = 5.0


class _Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Another writer of the run, as its journal's ends tell."""

    header: WriterStarted
    run: RunStarted | None
    status: Status | None
    alive: bool


def claim(run: Path, writer: JournalWriter, resume: str) -> None:
    """Make sure that `writer`, already open, may write this run; else withdraw it and raise.

    Ranks of one job and worker processes never collide.
    """
    peers = _peers(run, writer)
    same = _of_rank(peers, writer)
    if resume == "never" and same:
        _withdraw(writer)
        raise RunExistsError(
            f"run {writer.info.run} exists already: choose another id, or resume='allow' to continue it"
        )
    live = [] if resume == "join" else _rivals(run, writer)
    if live:
        _withdraw(writer)
        raise RunExistsError(
            f"run {writer.info.run} is being written by process {live[0].header.pid} on {live[0].header.host}: "
            "choose another id, or resume='join' to write into it together"
        )
    if resume == "must" and not peers:
        _withdraw(writer)
        raise RunNotFoundError(f"there is no run {writer.info.run} to resume in {run.parent}")


def _rivals(run: Path, writer: JournalWriter) -> list[_Peer]:
    """Return the live peers of the same rank that come before `writer`; none means that it goes on.

    Of two processes that begin one run at once, each opened its journal before it looks. The later
    one, which sees the earlier, gives way. The earlier one may find that the later had looked before
    there was anything to see: it waits until the other has begun, as its second event tells, or is gone.
    """
    until = time.monotonic() + _TIME_TO_BEGIN
    while True:
        live = [peer for peer in _of_rank(_peers(run, writer), writer) if peer.alive]
        before = [peer for peer in live if peer.run is not None or peer.header.writer < writer.id]
        if before or not live or time.monotonic() >= until:
            return before or live
        time.sleep(0.002)


def _peers(run: Path, writer: JournalWriter) -> list[_Peer]:
    return [peer for path in layout.journals(run) if path != writer.path and (peer := _look(path)) is not None]


def _of_rank(peers: list[_Peer], writer: JournalWriter) -> list[_Peer]:
    return [peer for peer in peers if peer.header.role == "primary" and peer.header.rank == writer.info.rank]


def _withdraw(writer: JournalWriter) -> None:
    writer.seal("killed", reason="withdrawn")
    writer.path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or another that withdrew was quicker
        writer.path.parent.rmdir()
        writer.path.parent.parent.rmdir()


def resumed_writers(journal: Path) -> list[str]:
    """Return the writers of the run that ended before the writer of `journal` began."""
    peers = [(path, _look(path)) for path in layout.journals(journal.parents[1]) if path.stem < journal.stem]
    return [path.stem for path, peer in peers if peer is not None and peer.header.role == "primary" and not peer.alive]


def find_unfinished(store: Path, project: str) -> str | None:
    """Return the newest run that was cut off, of the same project, command line and folder as this process."""
    try:
        runs = sorted(os.listdir(layout.runs_dir(store)), reverse=True)
    except FileNotFoundError:
        return None
    candidates: list[tuple[float, str]] = []
    for name in runs:
        peers = [peer for path in layout.journals(layout.runs_dir(store) / name) if (peer := _look(path)) is not None]
        primary = [peer for peer in peers if peer.header.role == "primary"]
        if primary and _is_ours(primary[-1], project) and not any(peer.alive for peer in primary):
            candidates.append((primary[-1].header.started, name))
    return max(candidates)[1] if candidates else None


def _is_ours(peer: _Peer, project: str) -> bool:
    run = peer.run
    if run is None or peer.status is not None and peer.status.status == "finished":
        return False
    return run.argv == sys.argv and run.cwd == os.getcwd() and run.project == project


def _look(path: Path) -> _Peer | None:
    try:
        with path.open("rb") as file:
            header, run = (_event(file.readline()) for _ in range(2))
            last = _event(last_line(file.fileno())[1])
    except OSError:  # gone, or not ours to read
        return None
    if not isinstance(header, WriterStarted):
        return None
    status = last if isinstance(last, Status) else None
    alive = status is None and layout.is_alive(path, header.host, now=time.time())
    return _Peer(header=header, run=run if isinstance(run, RunStarted) else None, status=status, alive=alive)


def _event(line: bytes) -> object:
    try:
        return decode_line(line)
    except ValueError:
        return None
