"""Remember the digests of files that were hashed before, so that unchanged data costs a stat.

A file counts as unchanged while size, times of modification and of change, device and inode stay. A
file modified within the last seconds is not remembered: a second write in the same tick of the file
system's clock would not show. Nothing here raises: a cache that can't be used remembers nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

__all__ = ["DigestCache"]

_SETTLED = 2_000_000_000  # nanoseconds; the coarsest clock of a common file system (FAT) ticks every two seconds
_SECONDS = 2.0  # to wait for another process that writes
_SCHEMA = "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, stamp TEXT, digest TEXT, size INTEGER) STRICT"
_OLDER = _SCHEMA.removesuffix(" STRICT")

Known = tuple[str, int]
"""Digest `sha256:<hex>` and size in bytes."""


class DigestCache:
    """Digests by absolute path in a SQLite file, shared by all processes of a store.

    It saves work where nobody gains by a lie. Who judges others hashes anew: a job that can write to
    the store could write here, too.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def look_up(self, stamps: Mapping[str, str]) -> dict[str, Known]:
        """Return what is known of files by path, of those that still have the stamp."""
        import sqlite3  # 5 ms that only hashing needs

        found: dict[str, Known] = {}
        try:
            if not self._file.is_file():
                return found
            with closing(sqlite3.connect(self._file, timeout=_SECONDS)) as database:
                for path, stamp in stamps.items():
                    query = "SELECT digest, size FROM digests WHERE path = ? AND stamp = ?"
                    row = database.execute(query, (os.fsencode(path), stamp)).fetchone()
                    if row is not None:
                        found[path] = (str(row[0]), int(row[1]))
        except (sqlite3.Error, OSError):
            return found
        return found

    def remember(self, entries: Iterable[tuple[str, str, Known]]) -> None:
        """Keep (path, stamp, known) of files that were hashed."""
        import sqlite3

        rows = [(os.fsencode(path), stamp, digest, size) for path, stamp, (digest, size) in entries]
        if not rows:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=_SECONDS)) as database, database:
                database.execute(_SCHEMA if sqlite3.sqlite_version_info >= (3, 37) else _OLDER)
                database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError):
            return


def stamp_of(path: str) -> tuple[str, bool] | None:
    """Return what shows that a file was not written to, and whether that can be relied on yet; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    words = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)
    settled = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED
    return " ".join(map(str, words)), settled
