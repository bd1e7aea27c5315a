"""Journals written for tests, with clocks of our choosing."""

from __future__ import annotations

import hashlib

from unitrack.events import (
    Metrics,
    RunStarted,
    Status,
    WriterStarted,
)
from unitrack.journal import layout
from unitrack.journal.codec import encode_line
from unitrack.journal.writer import JournalWriter, WriterInfo

START = 1_700_000_000.0


def open_writer(store, run="r", **info):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run, **info))
    writer.append(RunStarted, project="p")
    return writer


def journal(store, writer, events, *, run="r", status="finished", start=START, **info):
    """Write a journal as bytes, with clocks of our choosing: events are (time, type, fields)."""
    lines = [WriterStarted(
        seq=1, time=start, schema=1, run=run, writer=writer, host=layout.hostname(), pid=1, started=start, **info
    )]  # fmt: skip
    for time, kind, fields in events:
        lines.append(kind(seq=len(lines) + 1, time=time, **fields))
    data = b"".join(map(encode_line, lines))
    if status is not None:
        time = lines[-1].time
        data += encode_line(
            Status(
                seq=len(lines) + 1,
                time=time,
                status=status,
                events=len(lines) + 1,
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    path = store / "runs" / run / "journal" / f"{writer}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def metrics(time, step=None, **values):
    return (time, Metrics, {"values": values, "step": step})
