"""The CSV files: all the I/O of the backend, and what makes a replay leave one of everything."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unitrack_example._mapping import COLUMNS

__all__ = ["CsvRun"]


class CsvRun:
    """One run's folder: `values.csv`, and `run.json` with who it is and how it ended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._about = folder / "run.json"
        self._values = folder / "values.csv"
        self._cut, self._names = ("", 0), set[str]()  # the last event in the file, and the names it has there
        self._known = self._recover()

    def _recover(self) -> dict[str, int]:
        """Cut a row that a kill left half-written; return the last `seq` of each writer."""
        if not self._values.exists():
            self._append([COLUMNS])
            return {}
        whole = _whole_rows(self._values.read_bytes())
        os.truncate(self._values, len(whole))
        last: dict[str, int] = {}
        for row in csv.DictReader(io.StringIO(whole.decode(), newline="")):
            writer, seq = row["writer"], int(row["seq"])
            self._names = {*(self._names if self._cut == (writer, seq) else ()), row["name"]}
            self._cut = writer, seq
            last[writer] = max(last.get(writer, 0), seq)
        return last

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Append the rows that aren't there yet. One event's rows are written together, durably."""
        fresh = [row for row in rows if row[1] > self._known.get(row[0], 0) or self._is_cut_off(row)]
        self._append(fresh)
        for row in fresh:
            self._known[row[0]] = max(self._known.get(row[0], 0), row[1])

    def _is_cut_off(self, row: tuple[Any, ...]) -> bool:
        """Tell whether a kill kept the row out of a file that has others of its event: the last in the file."""
        return row[:2] == self._cut and row[4] not in self._names

    def describe(self, **fields: Any) -> None:
        """Set fields of `run.json`."""
        about = json.loads(self._about.read_text()) if self._about.exists() else {}
        scratch = self._about.with_suffix(".tmp")
        scratch.write_text(json.dumps({**about, **fields}, indent=2))
        scratch.replace(self._about)

    def _append(self, rows: Iterable[Iterable[Any]]) -> None:
        with self._values.open("a", newline="", encoding="utf-8") as file:
            # A lone carriage return is quoted only if it is part of the line's end, and ends a row for readers.
            csv.writer(file).writerows(rows)
            file.flush()
            os.fsync(file.fileno())


def _whole_rows(data: bytes) -> bytes:
    """Return the data up to its last whole row; a newline inside quotes ends none."""
    whole = data[: data.rfind(b"\n") + 1]
    while whole.count(b'"') % 2:
        whole = whole[: whole.rfind(b"\n", 0, -1) + 1]
    return whole
