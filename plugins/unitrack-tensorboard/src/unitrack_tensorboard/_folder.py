"""The folder of one run: an event file that is true up to a known length, and what stands beside it.

TensorBoard appends, so what is written twice shows twice. `position.json` says for each writer what is
in the event file, and up to which byte that is so: whatever stands behind it, after a kill, is cut off on opening.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from unitrack.backend import Lowering
from unitrack.files import sync_directory, write_atomic
from unitrack.objects import ObjectStore

__all__ = ["OWN", "Description", "Position", "RunFolder"]

OWN = "unitrack"
_MOST_MISSED = 100_000


class Position(msgspec.Struct, kw_only=True):
    """What the event file `file` holds up to `length`; `missed` are events before a writer's last that it lacks."""

    file: str
    length: int = 0
    token: str
    writers: dict[str, int] = {}
    missed: dict[str, set[int]] = {}

    def has(self, writer: str, seq: int) -> bool:
        """Tell whether an event is in the file."""
        return seq <= self.writers.get(writer, 0) and seq not in self.missed.get(writer, ())

    def add(self, writer: str, seq: int) -> None:
        """Count an event as being in the file; those that were passed over may come later."""
        last = self.writers.get(writer, 0)
        if seq <= last:
            self.missed.get(writer, set()).discard(seq)
            return
        if last + 1 < seq <= last + _MOST_MISSED:
            self.missed.setdefault(writer, set()).update(range(last + 1, seq))
        self.writers[writer] = seq

    def miss(self, writer: str, seq: int) -> None:
        """Count an event as passed over."""
        self.add(writer, seq)
        self.missed.setdefault(writer, set()).add(seq)


class Description(msgspec.Struct, kw_only=True):
    """Who the run is, and its state as of the position; `params` are flat."""

    version: int = 1
    id: str
    project: str
    name: str | None = None
    group: str | None = None
    parent: str | None = None
    started: float
    ended: float | None = None
    status: str | None = None
    tags: dict[str, str] = {}
    params: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    lowered: list[Lowering] = []


class RunFolder:
    """One run in a logdir."""

    def __init__(self, path: Path, *, started: float) -> None:
        self.path, self.own = path, path / OWN
        self.own.mkdir(parents=True, exist_ok=True)
        fresh = Position(file=f"events.out.tfevents.{int(started):010d}.unitrack", token=uuid.uuid4().hex)
        self.position = self._sound(self.read("position.json", Position)) or fresh
        self.is_new = self.position is fresh

    def _sound(self, position: Position | None) -> Position | None:
        """Return the position if the event file is as long as it says."""
        if position is None:
            return None
        try:
            size = (self.path / position.file).stat().st_size
        except FileNotFoundError:
            return None
        return position if size >= position.length else None

    def restart(self) -> None:
        """Forget what the event file holds: another, which never saw the run, takes its place."""
        self.position = Position(file=self.position.file, token=uuid.uuid4().hex)
        self.is_new = True

    # -- the event file --------------------------------------------------------------------------

    def begin(self, header: bytes) -> None:
        """Cut off what no position vouches for, or write the header of a new event file."""
        if self.is_new:
            self.append(header)
            sync_directory(self.path)
            self.is_new = False
        else:
            os.truncate(self.path / self.position.file, self.position.length)

    def write(self, data: bytes) -> int:
        """Write behind the position, durably, without moving it; return where that ends. Raises OSError."""
        handle = os.open(self.path / self.position.file, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(handle, "r+b") as file:
            file.truncate(self.position.length)
            file.seek(self.position.length)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return self.position.length + len(data)

    def append(self, data: bytes) -> None:
        """Write records and move the position behind them, in this order."""
        if data:
            self.position.length = self.write(data)
        self.keep("position.json", self.position)

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file beside the event file; TensorBoard would read a scratch file there, by its name."""
        whole = self.own / "whole.tmp"
        write_atomic(whole, data)
        os.replace(whole, self.path / name)
        sync_directory(self.path)

    # -- documents -------------------------------------------------------------------------------

    def keep(self, name: str, document: Any) -> None:
        """Replace a document under `unitrack/`."""
        write_atomic(self.own / name, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")

    def read(self, name: str, kind: type[Any]) -> Any:
        """Return a document, None if it isn't there or is no such document."""
        try:
            return msgspec.json.decode((self.own / name).read_bytes(), type=kind)
        except (FileNotFoundError, ValueError):
            return None

    # -- files -----------------------------------------------------------------------------------

    def place(self, path: str, digest: str, objects: ObjectStore, *, tree: bool) -> None:
        """Put an object at `path` under `unitrack/`, in place of what is there.

        Raises UsageError when it isn't in the store.
        """
        target = self.own / path
        scratch = self.own / f".{uuid.uuid4().hex}.tmp"
        try:
            _lay(digest, objects, scratch, tree=tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                shutil.rmtree(target)
            elif tree:
                target.unlink(missing_ok=True)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with suppress(OSError):
                scratch.unlink()

    def sweep(self) -> None:
        """Remove what a killed worker left half laid out."""
        for path in self.own.glob(".*.tmp"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _lay(digest: str, objects: ObjectStore, target: Path, *, tree: bool) -> None:
    if not tree:
        _link(objects.get(digest), target)
        return
    manifest = objects.manifest(digest)
    target.mkdir()
    for folder in manifest.folders:
        (target / _inside(folder)).mkdir(parents=True, exist_ok=True)
    for entry in manifest.files:
        file = target / _inside(entry.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        _link(objects.get(entry.digest), file)


def _inside(path: str) -> str:
    """Return the name of a manifest's path, which was checked when the manifest was parsed."""
    from unitrack.objects.tree import check_path

    return check_path(path)


def _link(source: Path, target: Path) -> None:
    """Share the object, which nobody changes; copy it where the file system can't."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
