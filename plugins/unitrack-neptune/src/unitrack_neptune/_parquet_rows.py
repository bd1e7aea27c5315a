"""neptune-exporter's parquet parts, read a few thousand rows at a time. pyarrow is imported when called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from unitrack.errors import FatalBackendError, UnitrackError

__all__ = ["CELLS", "FILES", "PARAMS", "DamagedError", "Row", "counted", "earliest", "identity", "rows"]

CELLS: Mapping[str, str] = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
    "float_series": "float_value",
    "string_series": "string_value",
    "histogram_series": "histogram_value",
    "file": "file_value",
    "file_set": "file_value",
    "artifact": "file_value",
    "file_series": "file_value",
}
"""The column that holds a value, by the attribute's type. A type that isn't here is unknown."""
PARAMS = ("float", "int", "string", "bool", "datetime", "string_set")
FILES = ("file", "file_set", "artifact")
_ROWS = 4096
_TEXT = ("string", "large_string")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "project_id": _TEXT,
    "run_id": _TEXT,
    "attribute_path": _TEXT,
    "attribute_type": _TEXT,
    "step": ("decimal128(18, 6)",),
    "timestamp": ("timestamp[ms, tz=UTC]",),
    "int_value": ("int64",),
    "float_value": ("double",),
    "string_value": _TEXT,
    "bool_value": ("bool",),
    "datetime_value": ("timestamp[ms, tz=UTC]",),
    "string_set_value": ("list<",),
    "file_value": ("struct<path:",),
    "histogram_value": ("struct<type:",),
}


class DamagedError(UnitrackError):
    """The files of one run can't be read or trusted; those of the others may be."""


class Row(NamedTuple):
    """One row: the step in millionths, the time in milliseconds, the value as Python has it."""

    path: str
    kind: str
    step: int | None
    time: int | None
    value: Any


def identity(part: Path) -> tuple[str, str]:
    """Return Neptune's project and run id, as the first row has them. Raises DamagedError."""
    with _reading(part):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(part)
        _check(part, file.schema_arrow)
        for batch in file.iter_batches(batch_size=1, columns=["project_id", "run_id"]):
            (row,) = batch.to_pylist()
            return str(row["project_id"]), str(row["run_id"])
    raise DamagedError(f"{part}: holds no row, so it can't be told which run it is")


def earliest(parts: Sequence[Path]) -> int:
    """Return the first time of any value in milliseconds, 0 if none has one. Raises DamagedError."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: list[int | None] = []
    for part in parts:
        with _reading(part):
            batches = pq.ParquetFile(part).iter_batches(columns=["timestamp"])
            found += [pc.min(batch.column(0).cast(pa.int64())).as_py() for batch in batches]
    return min((time for time in found if time is not None), default=0)


def rows(parts: Sequence[Path], run_id: str, prefix: str | None = None) -> Iterator[Row]:
    """Yield the rows of a run's parts in order, only those under `prefix` if it is given.

    Raises DamagedError for a part that is cut off, of another schema, or of another run.
    """
    for part in parts:
        with _reading(part):
            yield from _rows_of(part, run_id, prefix)


def _rows_of(part: Path, run_id: str, prefix: str | None) -> Iterator[Row]:
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    _check(part, pq.read_schema(part))
    field = ds.field("attribute_path")
    where = None if prefix is None else (field >= prefix) & (field < prefix + "\U0010ffff")
    # One row group at a time, without reading ahead: parts may be larger than memory is spare.
    options = ds.ParquetFragmentScanOptions(pre_buffer=False)
    scanner = ds.dataset(part, format="parquet").scanner(
        filter=where,
        batch_size=_ROWS,
        batch_readahead=1,
        fragment_readahead=1,
        fragment_scan_options=options,
        use_threads=False,
    )
    for batch in scanner.to_batches():
        others = pc.unique(batch.column("run_id")).to_pylist() if batch.num_rows else []
        if others not in ([], [run_id]):
            raise DamagedError(f"{part}: holds rows of the runs {others[:3]}, not of {run_id!r} alone")
        yield from _decoded(batch)


def _decoded(batch: Any) -> Iterator[Row]:
    """Yield the rows of a batch; a column is turned into Python values only if it has any."""
    import pyarrow.compute as pc

    empty = [None] * batch.num_rows
    cells = {
        column: batch.column(column).to_pylist() if batch.column(column).null_count < batch.num_rows else empty
        for column in set(CELLS.values()) - {"datetime_value"}
    }
    cells["datetime_value"] = _integers(batch.column("datetime_value"))
    steps = _integers(pc.multiply(batch.column("step"), _million()))
    times = _integers(batch.column("timestamp"))
    paths, kinds = batch.column("attribute_path").to_pylist(), batch.column("attribute_type").to_pylist()
    for at, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        column = CELLS.get(kind)
        yield Row(path, kind, steps[at], times[at], None if column is None else cells[column][at])


def _integers(column: Any) -> list[int | None]:
    import pyarrow as pa

    values: list[int | None] = column.cast(pa.int64()).to_pylist()
    return values


def _million() -> Any:
    from decimal import Decimal

    import pyarrow as pa

    return pa.scalar(Decimal(1_000_000), pa.decimal128(7, 0))


def counted(parts: Sequence[Path], kinds: Sequence[str], *, without: str | None = None, null: bool = False) -> int:
    """Return how many rows of these types have a value (or, with `null`, none as well), asked of the files alone."""
    import pyarrow.dataset as ds

    total = 0
    for part in parts:
        with _reading(part):
            data = ds.dataset(part, format="parquet")
            for kind in kinds:
                where = ds.field("attribute_type") == kind
                if not null:
                    where &= ds.field(CELLS[kind]).is_valid()
                if without is not None:
                    path = ds.field("attribute_path")
                    where &= (path < without) | (path >= without + "\U0010ffff")
                total += data.count_rows(filter=where)
    return total


def _check(part: Path, schema: Any) -> None:
    for name, wanted in _COLUMNS.items():
        at = schema.get_field_index(name)
        if at < 0:
            raise DamagedError(f"{part}: has no column {name!r}: no part written by neptune-exporter")
        found = str(schema.field(at).type)
        if not found.startswith(wanted):
            raise DamagedError(f"{part}: the column {name!r} is {found}, where neptune-exporter writes {wanted[0]}")


@contextmanager
def _reading(part: Path) -> Iterator[None]:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise FatalBackendError("reading parquet needs pyarrow: pip install pyarrow") from error
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"{part}: is cut off or no parquet file: {error!s:.300}") from error
