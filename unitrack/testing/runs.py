"""Runs for tests, written with unitrack's own journal writer as training writes them."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from unitrack.backend import Record, RunInfo
from unitrack.dispatch.source import RunSource
from unitrack.events import (
    Artifact,
    DatasetUsed,
    FinalStatus,
    Media,
    Metrics,
    Params,
    Role,
    RunStarted,
    Step,
    Tags,
    Unknown,
)
from unitrack.journal import layout
from unitrack.journal.cursor import Cursor
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.model import metric_value, plain
from unitrack.objects import ObjectStore

__all__ = ["RunBuilder", "png", "read_info", "read_records"]

_TICK = 0.002
"""Seconds between events: trackers that keep milliseconds can tell any two apart."""


class RunBuilder:
    """One writer of one run. Ends it as finished when used as a context manager and not ended before.

    Each builder is a writer of its own, so a second one of the same id resumes the run or, with another `rank`,
    writes beside the first. `fields` are those of `RunStarted`. Times are two milliseconds apart, and
    begin now, or after what the run holds.
    """

    def __init__(
        self, store: Path, run_id: str = "one", *, rank: int | None = None, role: Role = "primary", **fields: Any
    ) -> None:
        layout.create_store(store)
        self.id, self.store = run_id, store
        self.folder = layout.run_dir(store, run_id)
        self.objects = self.objects_of(store)
        before = [path.stem for path in layout.journals(self.folder)] if rank is None else []
        latest = max((record.event.time for record in read_records(self.folder)), default=0.0)
        info = WriterInfo(run=run_id, rank=rank, role=role)
        self.writer = JournalWriter(self.folder, info, durability="finish")
        self._now = max(self.writer.path.stat().st_mtime, latest)
        if role == "primary":
            self.append(RunStarted, **{"project": "conformance", "resumed": before, **fields})

    def __enter__(self) -> RunBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish("finished" if kind is None else "failed")

    @staticmethod
    def objects_of(store: Path) -> ObjectStore:
        """Return the objects of a store."""
        return ObjectStore(layout.objects_dir(store), durable=False)

    def append(self, kind: Callable[..., Any], /, **fields: Any) -> RunBuilder:
        """Write an event of any type."""
        self._now += _TICK
        self.writer.append(lambda seq, _now: kind(seq=seq, time=self._now, **fields))
        return self

    # -- what training logs ----------------------------------------------------------------------

    def log(self, values: Mapping[str, float], step: Step | None = None) -> RunBuilder:
        """Log metrics."""
        return self.append(Metrics, values={name: metric_value(value) for name, value in values.items()}, step=step)

    def params(self, values: Mapping[str, Any]) -> RunBuilder:
        """Set params, nested as given."""
        return self.append(Params, values=plain(values))

    def tags(
        self, add: list[str] | None = None, remove: list[str] | None = None, values: dict[str, str] | None = None
    ) -> RunBuilder:
        """Add and remove tags."""
        return self.append(Tags, add=add or [], remove=remove or [], values=values or {})

    def artifact(self, name: str, data: bytes | Mapping[str, bytes], *, kind: str = "file") -> RunBuilder:
        """Log bytes as a file, or paths with bytes as a folder."""
        if not isinstance(data, bytes):
            digest, size = self._put_tree(data)
            return self.append(Artifact, name=name, kind=kind, digest=digest, size=size, tree=True)
        stored = self.objects.put_bytes(data)
        return self.append(Artifact, name=name, kind=kind, digest=stored.digest, size=stored.size)

    def _put_tree(self, files: Mapping[str, bytes]) -> tuple[str, int]:
        with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            for path, data in files.items():
                file = Path(scratch, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            stored = self.objects.put_tree(scratch)
        return stored.digest, stored.size

    def lost_artifact(self, name: str) -> RunBuilder:
        """Log an artifact whose bytes are in no store: what no tracker can be sent."""
        return self.append(Artifact, name=name, kind="file", digest=f"sha256:{os.urandom(32).hex()}", size=3)

    def image(self, name: str, data: bytes, step: Step | None = None) -> RunBuilder:
        """Log a PNG."""
        stored = self.objects.put_bytes(data)
        return self.append(
            Media, name=name, kind="image", format="png", step=step, digest=stored.digest, size=stored.size
        )

    def text(self, name: str, text: str, step: Step | None = None) -> RunBuilder:
        """Log text to be shown."""
        return self.append(Media, name=name, kind="text", format="txt", step=step, inline=text)

    def dataset(self, name: str, **fields: Any) -> RunBuilder:
        """Name data that the run reads."""
        return self.append(DatasetUsed, name=name, **fields)

    def later_event(self, kind: str = "hologram", **fields: Any) -> RunBuilder:
        """Write an event of a type that this version doesn't know."""
        return self.append(partial(_unknown, kind, fields))

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, status: FinalStatus = "finished") -> RunBuilder:
        """Seal the journal; nothing if it ended before."""
        if not self.writer.closed:
            self.writer.seal(status)
        return self

    def die(self) -> RunBuilder:
        """End as SIGKILL would: no seal, and the lock is free."""
        self.writer._keeper.stop()
        os.close(self.writer.fd)
        self.writer.fd, self.writer.closed = -1, True
        return self


def _unknown(kind: str, fields: Mapping[str, Any], *, seq: int, time: float) -> Unknown:
    return Unknown(type=kind, seq=seq, time=time, raw={"type": kind, "seq": seq, "time": time, **fields})


def read_records(folder: Path) -> list[Record]:
    """Return all records of a run's folder, in the order in which a worker sends them."""
    found: list[Record] = []
    for tail in RunSource(folder, Cursor()).tails():
        for chunk in tail.records():
            tail.ack(chunk[-1].event.seq)
            found += chunk
    return found


def read_info(folder: Path, state: Mapping[str, Any] | None = None) -> RunInfo:
    """Return who a run is, as a worker tells the backend."""
    info = RunSource(folder, Cursor()).info(layout.objects_dir(folder.parents[1]), dict(state or {}))
    assert info is not None, f"{folder} holds no run"
    return info


def png(shade: int) -> bytes:
    """Return an image of 4 x 4 pixels, as gray as `shade` (0 to 255)."""
    rows = b"".join(b"\0" + bytes([shade, 0, 255] * 4) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
