"""Read what the head of a data file tells: columns and their types in order, and the number of rows.

A table's own package is used where it is installed; where it isn't, or where a file is not what its
name says, nothing is told.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from unitrack.model import text

__all__ = ["Columns", "Shape", "arrow_columns", "shape_of"]

Columns = list[list[str]]
"""[name, type] of each column, in the order of the data."""

_LONGEST_HEADER = 1 << 20
_MOST_PARTS = 1000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a table's shape."""

    rows: int | None = None
    columns: Columns | None = None


def shape_of(path: Path) -> Shape:
    """Return the shape of a CSV, Parquet, Arrow or NumPy file, or of a folder of Parquet or Arrow files."""
    with suppress(Exception):  # foreign files read by foreign code: a broken header costs the shape only
        return _shape_of_folder(path) if path.is_dir() else _shape_of_file(path)
    return Shape()


def arrow_columns(schema: Any) -> Columns:
    """Return the columns of a pyarrow schema."""
    return [[text(str(field.name)), text(str(field.type))] for field in schema]


def _shape_of_file(path: Path) -> Shape:
    reader = _READERS.get(path.suffix.lower())
    return Shape() if reader is None else reader(path)


def _shape_of_folder(folder: Path) -> Shape:
    """Return the columns of the first part and the rows of all, if every part has the same columns."""
    parts = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PARTS and path.is_file())
    if not parts or len(parts) > _MOST_PARTS:
        return Shape()
    shapes = [_shape_of_file(path) for path in parts]
    if any(shape.columns != shapes[0].columns for shape in shapes):
        return Shape()
    counts = [shape.rows for shape in shapes if shape.rows is not None]
    return Shape(rows=sum(counts) if len(counts) == len(shapes) else None, columns=shapes[0].columns)


def _csv(path: Path) -> Shape:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline(_LONGEST_HEADER)
    names = next(csv.reader([head], delimiter="\t" if path.suffix.lower() == ".tsv" else ","), [])
    return Shape(columns=[[text(name), "text"] for name in names]) if names else Shape()


def _parquet(path: Path) -> Shape:
    file = importlib.import_module("pyarrow.parquet").ParquetFile(path)
    try:
        return Shape(rows=file.metadata.num_rows, columns=arrow_columns(file.schema_arrow))
    finally:
        file.close()


def _arrow(path: Path) -> Shape:
    pyarrow, ipc = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.ipc")
    with pyarrow.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            file = ipc.open_file(source)
            rows = sum(file.get_batch(index).num_rows for index in range(file.num_record_batches))
            return Shape(rows=rows, columns=arrow_columns(file.schema))
        source.seek(0)
        stream = ipc.open_stream(source)
        return Shape(rows=sum(batch.num_rows for batch in stream), columns=arrow_columns(stream.schema))


def _numpy(path: Path) -> Shape:
    array = importlib.import_module("numpy").load(path, mmap_mode="r", allow_pickle=False)
    return Shape(rows=int(array.shape[0]) if array.ndim else None)


_READERS: dict[str, Callable[[Path], Shape]] = {
    ".arrow": _arrow,
    ".csv": _csv,
    ".feather": _arrow,
    ".npy": _numpy,
    ".parquet": _parquet,
    ".tsv": _csv,
}
_PARTS = (".arrow", ".parquet")
