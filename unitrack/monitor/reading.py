"""Read a sample of a data file: CSV with the standard library, Parquet and NumPy arrays with their own packages.

A file is taken as a stranger's. Columns are few enough, named once each, and cells no longer than anyone needs; what
is not as its name says is an EvidenceError that names the file. Rows are drawn without replacement, each alike, with a
fixed seed: the same file gives the same sample. A CSV's rows are all looked at, and only the drawn ones are kept;
of a Parquet file one row group is in memory at a time.
"""

from __future__ import annotations

import bisect
import csv
import functools
import importlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from unitrack.errors import EvidenceError, UsageError
from unitrack.model import text
from unitrack.monitor.samples import Column, Kind, Sample, kind_of_type

__all__ = ["MOST_COLUMNS", "SUFFIXES", "read_sample"]

MOST_COLUMNS: Final = 10_000
"""Columns beyond which a file is no table of features."""

_SEED: Final = 20_240_229
_LONGEST_CELL: Final = 1 << 20  # characters
_LONGEST_CATEGORY: Final = 200  # characters; longer texts are told apart by their beginning
_BATCH: Final = 16_384  # rows of a Parquet file at a time
_MISSING: Final = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"})
_TRUTHS: Final = {"true", "false"}


def read_sample(path: Path, *, most: int, names: Sequence[str] | None = None, suffix: str | None = None) -> Sample:
    """Return up to `most` rows of a file, by its ending or `suffix`; `names` are the columns of a NumPy array.

    Raises UsageError for a format that is none of these or a package that is not installed, EvidenceError for a file
    that can't be read.
    """
    kind = (suffix or path.suffix).lower()
    if kind not in _READERS:
        known = ", ".join(_READERS)
        raise UsageError(f"{path}: drift can't be tested in a {kind or 'folder or file without ending'}: use {known}")
    try:
        sample = _READERS[kind](path, most, names)
    except OSError as error:
        raise EvidenceError(f"{path}: can't be read: {error.strerror or error}") from error
    if not sample.rows:
        raise EvidenceError(f"{path}: it has no rows, so there is nothing to compare")
    return sample


def _checked(path: Path, names: Sequence[str]) -> list[str]:
    if not names:
        raise EvidenceError(f"{path}: it has no columns")
    if len(names) > MOST_COLUMNS:
        raise EvidenceError(f"{path}: {len(names):,} columns are no table of features: at most {MOST_COLUMNS:,}")
    found = [text(name) for name in names]
    twice = next((name for name, count in Counter(found).items() if count > 1), None)
    if twice is not None:
        raise EvidenceError(f"{path}: two columns are named {twice!r:.80}: give each a name of its own")
    return found


# -- CSV -----------------------------------------------------------------------------------------


def _csv(path: Path, most: int, _names: Sequence[str] | None, *, delimiter: str) -> Sample:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            names = _checked(path, next(rows, []))
            kept, total = _drawn(_whole(path, rows, len(names)), most)
    except (csv.Error, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path}: no CSV file in UTF-8: {error}") from error
    finally:
        csv.field_size_limit(before)
    columns = tuple(_texts(name, [row[at] for row in kept]) for at, name in enumerate(names))
    return Sample(source=str(path), columns=columns, rows=len(kept), total=total)


def _whole(path: Path, rows: Any, width: int) -> Iterator[list[str]]:
    for row in rows:
        if not row:
            continue  # an empty line
        if len(row) > width:
            raise EvidenceError(f"{path}:{rows.line_num}: {len(row)} cells under {width} columns")
        yield row if len(row) == width else [*row, *[""] * (width - len(row))]


def _drawn(rows: Iterator[list[str]], most: int) -> tuple[list[list[str]], int]:
    """Return a sample of rows that come one by one, and their number (Vitter 1985, algorithm R)."""
    draw, kept, total = random.Random(_SEED).random, list[list[str]](), 0
    for total, row in enumerate(rows, start=1):
        if total <= most:
            kept.append(row)
        elif (place := int(draw() * total)) < most:
            kept[place] = row
    return kept, total


def _texts(name: str, cells: Sequence[str]) -> Column:
    """Return a column of texts as numbers, if all of them are, or as categories."""
    there = [cell for cell in cells if cell.strip() not in _MISSING]
    missing = len(cells) - len(there)
    if not there:
        return Column(name=name, type="", kind="empty", missing=missing)
    numbers = _numbers_of(there)
    if numbers is not None:
        return _number_column(name, "number", numbers, len(cells))
    words = "bool" if {cell.strip().lower() for cell in there} <= _TRUTHS else "text"
    return Column(name=name, type=words, kind="category", missing=missing, counts=_counts(there))


def _numbers_of(cells: Sequence[str]) -> Any:
    import numpy as np

    if any("_" in cell for cell in cells):  # which Python's numbers may have
        return None
    try:
        return np.asarray([float(cell) for cell in cells])
    except ValueError:
        return None


def _number_column(name: str, kind: str, values: Any, rows: int) -> Column:
    import numpy as np

    finite = values[np.isfinite(values)]
    return Column(name=name, type=kind, kind="number" if len(finite) else "empty", missing=rows - len(finite),
                  numbers=finite)  # fmt: skip


def _counts(values: Sequence[Any]) -> dict[str, int]:
    return dict(Counter(text(str(value))[:_LONGEST_CATEGORY] for value in values))


# -- Parquet -------------------------------------------------------------------------------------


def _parquet(path: Path, most: int, _names: Sequence[str] | None) -> Sample:
    pyarrow, parquet = _package("pyarrow", path, "arrow"), _package("pyarrow.parquet", path, "arrow")
    try:
        file = parquet.ParquetFile(path)
        try:
            names = _checked(path, file.schema_arrow.names)
            total = file.metadata.num_rows
            table = _drawn_batches(pyarrow, file, most, total)
        finally:
            file.close()
        columns = tuple(_arrow_column(name, table.column(at)) for at, name in enumerate(names))
    except pyarrow.ArrowException as error:
        raise EvidenceError(f"{path}: no Parquet file that can be read: {str(error)[:300]}") from error
    return Sample(source=str(path), columns=columns, rows=table.num_rows, total=total)


def _drawn_batches(pyarrow: Any, file: Any, most: int, total: int) -> Any:
    chosen = sorted(random.Random(_SEED).sample(range(total), most)) if total > most else None
    kept, start = [], 0
    for batch in file.iter_batches(batch_size=_BATCH):
        end = start + batch.num_rows
        if chosen is None:
            kept.append(batch)
        else:
            mine = chosen[bisect.bisect_left(chosen, start) : bisect.bisect_left(chosen, end)]
            kept.append(batch.take(pyarrow.array([row - start for row in mine], pyarrow.int64())))
        start = end
    return pyarrow.Table.from_batches(kept, schema=file.schema_arrow)


def _arrow_column(name: str, column: Any) -> Column:
    kind: Kind = kind_of_type(str(column.type)) or "nested"
    there = column.drop_null()
    missing = len(column) - len(there)
    if not len(there):
        return Column(name=name, type=str(column.type), kind="empty", missing=missing)
    if kind == "number":
        return _number_column(name, str(column.type), _as_floats(there), len(column))
    if kind == "category":
        words = there.cast("string") if str(column.type).startswith("bool") else there
        pairs = words.value_counts().to_pylist()
        counts: Counter[str] = Counter()
        for pair in pairs:
            counts[text(str(pair["values"]))[:_LONGEST_CATEGORY]] += pair["counts"]
        return Column(name=name, type=str(column.type), kind=kind, missing=missing, counts=dict(counts))
    return Column(name=name, type=str(column.type), kind=kind, missing=missing)


def _as_floats(column: Any) -> Any:
    import numpy as np

    if str(column.type).startswith("decimal"):
        return np.asarray([float(value) for value in column.to_pylist()])
    return np.asarray(column.to_numpy(), dtype=np.float64)


# -- NumPy ---------------------------------------------------------------------------------------


def _numpy(path: Path, most: int, names: Sequence[str] | None) -> Sample:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise EvidenceError(f"{path}: no NumPy array that can be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
        raise EvidenceError(f"{path}: drift is tested in a NumPy array of two dimensions that holds numbers")
    found = _checked(path, names or [str(at) for at in range(array.shape[1])])
    if len(found) != array.shape[1]:
        raise EvidenceError(f"{path}: {array.shape[1]} columns, and {len(found)} names were logged for them")
    total = array.shape[0]
    rows = array[sorted(random.Random(_SEED).sample(range(total), most))] if total > most else array
    columns = tuple(
        _number_column(name, str(array.dtype), np.asarray(rows[:, at], dtype=np.float64), len(rows))
        for at, name in enumerate(found)
    )
    return Sample(source=str(path), columns=columns, rows=len(rows), total=total)


def _package(name: str, path: Path, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f'{path} needs a package that is not installed ({error}): pip install "unitrack[{extra}]"'
        ) from error


_READERS: dict[str, Callable[[Path, int, Sequence[str] | None], Sample]] = {
    ".csv": functools.partial(_csv, delimiter=","),
    ".tsv": functools.partial(_csv, delimiter="\t"),
    ".parquet": _parquet,
    ".pq": _parquet,
    ".npy": _numpy,
}

SUFFIXES: Final = tuple(_READERS)
"""The endings of files that can be read."""
