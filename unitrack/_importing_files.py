"""The files of an import: what is there already, the scratch folder, and a journal with times of the source's own."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from unitrack.content import IMPORT
from unitrack.errors import RunExistsError
from unitrack.events import SCHEMA_VERSION, Capture, Event, Metrics, RunStarted, Status, System, Unknown, WriterStarted
from unitrack.files import sync_directory
from unitrack.foreign import ForeignInfo
from unitrack.journal import _lock, layout
from unitrack.journal.codec import decode_line, encode_line
from unitrack.model import metric_value

__all__ = ["ForeignJournal", "clean", "place", "scratch_folder", "standing"]

_SCRATCH = ".importing"
_TAIL = 1 << 18


# -- what is there already -----------------------------------------------------------------------


def standing(folder: Path, reader: str, origin: str) -> Literal["absent", "whole", "partial"]:
    """Tell what the store has of a foreign run. Raises RunExistsError if the id is another run's."""
    journals = layout.journals(folder)
    if not journals:
        return "absent"
    for journal in journals:
        mark = _import_mark(journal)
        if mark is not None and (mark.get("reader"), mark.get("origin")) == (reader, origin):
            # A run that somebody went on with is theirs, whatever the source says by now.
            return "whole" if mark.get("complete") or len(journals) > 1 else "partial"
    raise RunExistsError(
        f"the store has a run {folder.name} that isn't from {origin}: if that is another run, import this one "
        "under another id with --id-prefix"
    )


def _import_mark(journal: Path) -> dict[str, Any] | None:
    """Return the account that stands before the seal of an imported journal."""
    with journal.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        lines = file.read().splitlines()[-2:]
    try:
        found = [decode_line(line) for line in lines]
    except ValueError:
        return None
    capture = found[0] if len(found) == 2 and isinstance(found[1], Status) else None
    return capture.values if isinstance(capture, Capture) and capture.name == IMPORT else None


# -- the scratch folder --------------------------------------------------------------------------


@contextmanager
def scratch_folder(store: Path) -> Iterator[Path]:
    """Make a folder in the store that is removed in the end; its lock file tells that it is in use."""
    root = store / _SCRATCH
    root.mkdir(exist_ok=True)
    lock = root / f"{os.urandom(8).hex()}.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    folder = lock.with_suffix("")
    try:
        _lock.try_acquire(handle)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


def clean(store: Path) -> None:
    """Remove what imports left that were killed."""
    for lock in (store / _SCRATCH).glob("*.lock"):
        try:
            if time.time() - lock.stat().st_mtime < 1.0 or _lock.is_held(lock) is not False:
                continue  # just made, in use, or on a file system that can't tell
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
        except OSError:
            continue  # another import was quicker


def place(folder: Path, target: Path) -> None:
    """Give a written run its place, durably. Raises OSError; RunExistsError if somebody was quicker."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder, target)
    except OSError as error:
        if layout.journals(target):
            raise RunExistsError(f"run {target.name} was begun by somebody else meanwhile: import again") from error
        raise
    sync_directory(target.parent)


class ForeignJournal:
    """Writes a whole journal with times of the source's own."""

    def __init__(self, folder: Path, info: ForeignInfo) -> None:
        self.seq = 0
        self._folder = folder
        self._last = info.started
        self._digest = hashlib.sha256()
        writer = layout.new_writer_id()
        self._path = layout.journal_dir(folder) / f"{writer}.jsonl"
        self._path.parent.mkdir(parents=True)
        self._file: BinaryIO = self._path.open("xb", buffering=1 << 20)
        started = info.started
        self.put(WriterStarted(
            seq=1, time=started, schema=SCHEMA_VERSION, run=info.id, writer=writer, host=layout.hostname(),
            pid=os.getpid(), started=started, boot=layout.boot_id(),
        ))  # fmt: skip
        self.put(RunStarted(
            seq=2, time=started, project=info.project, name=info.name, group=info.group, parent=info.parent,
            tags=list(info.tags), argv=list(info.argv),
        ))  # fmt: skip

    def __enter__(self) -> ForeignJournal:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def put(self, event: Event) -> None:
        """Write an event under the next `seq`."""
        self.seq += 1
        event.seq = self.seq
        if isinstance(event, Unknown):
            event.raw["seq"] = self.seq
        elif isinstance(event, (Metrics, System)):
            event.values = _spelled(event.values)
        self._last = max(self._last, event.time)
        line = encode_line(event)
        self._digest.update(line)
        self._file.write(line)

    def flushed(self) -> Path:
        """Return the run's folder, in which all that was put can be read."""
        self._file.flush()
        return self._folder

    def seal(self, info: ForeignInfo, account: Mapping[str, Any]) -> None:
        """Write the account and the status, durably."""
        ended = self._last if info.ended is None else info.ended
        self.put(Capture(seq=0, time=ended, name=IMPORT, values=dict(account)))
        goes_on = f"it still ran when it was imported from {info.origin}" if info.status is None else None
        self.put(Status(
            seq=0, time=ended, status=info.status or "killed", events=self.seq + 1, sha256=self._digest.hexdigest(),
            reason=goes_on or info.reason,
        ))  # fmt: skip
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_directory(self._path.parent)


def _spelled(values: dict[str, Any]) -> dict[str, Any]:
    """Spell non-finite numbers, which JSON has no word for."""
    if all(type(value) in (int, float) and math.isfinite(value) for value in values.values()):
        return values
    return {name: value if isinstance(value, str) else metric_value(value) for name, value in values.items()}
