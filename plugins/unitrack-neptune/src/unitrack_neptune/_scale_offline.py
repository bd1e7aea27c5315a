"""neptune-scale's offline files: the client's own database, one for a run, written through the client's own class.

`neptune_scale.Run` makes another database each time it is opened and can't go on with one, so what lies below it is
used: `OperationsRepository`, which also is what `neptune sync` reads.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from unitrack.backend import RunInfo
from unitrack_neptune._place import Sent
from unitrack_neptune._plan import Op, Upload
from unitrack_neptune._scale_protocol import create_run, destination, snapshots

__all__ = ["ScaleOffline"]

_DATABASE = "run_operations.sqlite3"


class ScaleOffline:
    """Writes each run into `<folder>/<project>_<run>/run_operations.sqlite3`."""

    def __init__(self, folder: Path, project: str | None) -> None:
        self._folder = folder.absolute()
        self._project = project
        self._repository: Any = None
        self._run = ""
        self._at = self._folder
        self.target = f"neptune-scale offline {self._folder}"

    def position(self, run: RunInfo) -> Path:
        """Beside the database."""
        return self._path(run) / "unitrack.json"

    def _path(self, run: RunInfo) -> Path:
        word = re.sub(r"[^\w.-]+", "_", self._project or f"unitrack/{run.project}")
        return self._folder / f"{word[:100]}_{run.id}"

    def begin(self, run: RunInfo, mark: tuple[int, ...]) -> tuple[int, ...]:
        """Open the run's database; one that is gone was synced, and what follows goes into a new one."""
        from neptune_scale.sync.operations_repository import OperationsRepository

        self._at, self._run = self._path(run), run.id
        database = self._at / _DATABASE
        if mark and database.exists():
            _cut(database, mark)
        elif not mark:
            for path in self._at.glob(f"{_DATABASE}*"):
                path.unlink()  # of a position that is lost: what it held can't be told from what comes again
        self._repository = OperationsRepository(db_path=database)
        self._repository.init_db()
        if self._repository.get_metadata() is None:
            self._repository.save_metadata(self._project or f"unitrack/{run.project}", run.id)
            self._repository.save_create_run(create_run(run.id, run.name, run.started))
        return _mark(database)

    def send(self, ops: Sequence[Op]) -> Sent:
        """Append operations; what a kill cuts off is dropped by the next `begin`."""
        uploads = [op for op in ops if isinstance(op, Upload)]
        if uploads:
            self._repository.save_file_upload_requests([self._request(op) for op in uploads])
        self._repository.save_update_run_snapshots(list(snapshots(ops, self._run, time.time())))
        return Sent(mark=_mark(self._at / _DATABASE))

    def _request(self, op: Upload) -> Any:
        from neptune_scale.sync.operations_repository import FileUploadRequest

        path = op.file or self._keep(op)
        return FileUploadRequest(
            source_path=str(path.absolute()),
            destination=destination(op, self._run),
            mime_type=op.mime[:128],
            size_bytes=path.stat().st_size,
            is_temporary=op.file is None,
        )

    def _keep(self, op: Upload) -> Path:
        path = self._at / destination(op, "files").replace("/", "-")
        path.write_bytes(op.data or b"")
        return path

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Close the database."""
        if self._repository is not None:
            self._repository.close(cleanup_files=False)
            self._repository = None


def _mark(database: Path) -> tuple[int, ...]:
    with closing(sqlite3.connect(database)) as connection:
        rows = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    return int(rows.get("run_operations", 0)), int(rows.get("file_upload_requests", 0))


def _cut(database: Path, mark: tuple[int, ...]) -> None:
    """Drop what a batch that was cut off had written."""
    operations, files = mark
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("DELETE FROM run_operations WHERE sequence_id > ?", (operations,))
        connection.execute("DELETE FROM file_upload_requests WHERE id > ?", (files,))
