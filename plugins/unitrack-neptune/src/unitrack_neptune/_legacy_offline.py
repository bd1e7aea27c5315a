"""neptune 1.x's offline files: one folder for a run, written with the client's own queue.

`neptune.Run` makes another folder each time it is opened, which `neptune sync` takes for another run, so what lies
below it is used: `DiskQueue`, `OperationStorage` and `MetadataFile`, which also are what `neptune sync` reads.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unitrack.backend import RunInfo
from unitrack_neptune._draft import digest8
from unitrack_neptune._legacy_protocol import operations
from unitrack_neptune._place import Sent
from unitrack_neptune._plan import Assign, Op, Upload

__all__ = ["LegacyOffline", "container"]

_PUT = "last_put_version"


def container(project: str, run_id: str) -> str:
    """Return the id that stands for a run in the client's files: always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"unitrack:{project}/{run_id}"))


class LegacyOffline:
    """Writes each run into `<folder>/offline/run__<id>__0__unitrack/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._queue: Any = None
        self._storage: Any = None
        self._at = self._folder
        self.target = f"neptune offline {self._folder}"

    def position(self, run: RunInfo) -> Path:
        """In the run's folder."""
        return self._path(run) / "unitrack.json"

    def _path(self, run: RunInfo) -> Path:
        return self._folder / "offline" / f"run__{container(run.project, run.id)}__0__unitrack"

    def begin(self, run: RunInfo, mark: tuple[int, ...]) -> tuple[int, ...]:
        """Open the run's folder and drop what a batch that was cut off had written."""
        from neptune.core.components.metadata_file import MetadataFile
        from neptune.core.components.operation_storage import OperationStorage
        from neptune.core.components.queue.disk_queue import DiskQueue
        from neptune.internal.container_type import ContainerType
        from neptune.internal.operation import Operation
        from neptune.internal.operation_processors.utils import common_metadata

        self._at = self._path(run)
        self._at.mkdir(parents=True, exist_ok=True)
        _cut(self._at, mark or (0, 1, 0))
        identity: Any = container(run.project, run.id)
        metadata = common_metadata(mode="offline", container_id=identity, container_type=ContainerType.RUN)
        MetadataFile(data_path=self._at, metadata=metadata)
        self._storage = OperationStorage(data_path=self._at)
        self._queue = DiskQueue(self._at, _to_dict, Operation.from_dict, threading.RLock())
        if not mark and run.name:
            return self.send([Assign("sys/name", run.name)]).mark
        return self._mark()

    def send(self, ops: Sequence[Op]) -> Sent:
        """Append operations; they are on the disk when this returns."""
        _, before, _ = self._mark()
        for operation in operations(ops, self._keep):
            self._queue.put(operation)
        self._queue.flush()
        for path in self._at.glob("data-*.log"):
            if _first(path) >= before:  # the queue begins another file when one is full
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        return Sent(mark=self._mark())

    def _mark(self) -> tuple[int, ...]:
        """The last version put, the first version of the newest file, and that file's size."""
        newest = max(self._at.glob("data-*.log"), key=_first)
        put = (self._at / _PUT).read_text()
        return int(put or 0), _first(newest), newest.stat().st_size

    def _keep(self, op: Upload) -> str:
        data = op.data or b""
        name = f"{digest8(op.path)}-{digest8(data)}-{op.name[-60:]}"
        (self._storage.upload_path / name).write_bytes(data)
        return name

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Close the files."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None


def _to_dict(operation: Any) -> dict[str, Any]:
    words: dict[str, Any] = operation.to_dict()
    return words


def _first(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _cut(folder: Path, mark: tuple[int, ...]) -> None:
    put, first, size = mark
    for path in folder.glob("data-*.log"):
        if _first(path) > first:
            path.unlink()
        elif _first(path) == first and path.stat().st_size > size:
            os.truncate(path, size)
    (folder / _PUT).write_text(str(put))
