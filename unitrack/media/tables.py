"""Encode tables as JSON: `{"columns": [...], "data": [[...], ...]}`, cells spelled as parameters are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from unitrack.media.foreign import foreign_kind
from unitrack.model import plain, text

__all__ = ["columns_and_rows", "pandas_with_index", "table_json"]

_MISSING = frozenset({"NaTType", "NAType"})  # pandas' words for no value
_ACCEPTED = "a pandas or polars frame, a list of dicts, or columns= and rows="


def table_json(
    value: Any, columns: Sequence[Any] | None = None, rows: Iterable[Sequence[Any]] | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Return the JSON and its counts of rows and columns. Raises TypeError or ValueError for what is no table."""
    names, cells = columns_and_rows(value, columns, rows)
    data = [[_cell(cell) for cell in row] for row in cells]
    uneven = next((index for index, row in enumerate(data) if len(row) != len(names)), None)
    if uneven is not None:
        raise ValueError(f"row {uneven} of the table has {len(data[uneven])} cells for {len(names)} columns")
    return msgspec.json.encode({"columns": names, "data": data}), {"rows": len(data), "columns": len(names)}


def columns_and_rows(
    value: Any, columns: Sequence[Any] | None = None, rows: Iterable[Sequence[Any]] | None = None
) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Return a table's column names and its rows."""
    kind = foreign_kind(value)
    if value is not None and (columns is not None or rows is not None):
        raise TypeError("a table is one value, or columns= and rows=, not both")
    if kind == "pandas":
        frame = pandas_with_index(value)
        return [_column(name) for name in frame.columns], frame.itertuples(index=False, name=None)
    if kind == "polars":
        return list(value.columns), value.iter_rows()
    if value is None and columns is not None and rows is not None and not isinstance(columns, str):
        return [_column(name) for name in columns], _sequences(rows)
    if isinstance(value, (list, tuple)) and all(isinstance(row, Mapping) for row in value):
        names = list(dict.fromkeys(key for row in value for key in row))
        return [_column(name) for name in names], ([row.get(name) for name in names] for row in value)
    given = type(value).__name__ if value is not None else f"columns={columns is not None}, rows={rows is not None}"
    raise TypeError(f"a table is {_ACCEPTED}, not {given}")


def pandas_with_index(frame: Any) -> Any:
    """Return the frame with an index that says something as its first columns."""
    if type(frame.index).__name__ == "RangeIndex" and frame.index.name is None:
        return frame
    return frame.reset_index(allow_duplicates=True)


def _column(name: Any) -> str:
    return "/".join(text(str(part)) for part in name) if isinstance(name, tuple) else text(str(name))


def _sequences(rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    for index, row in enumerate(rows):
        if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Iterable):
            raise TypeError(f"row {index} of the table is no sequence of cells but {type(row).__name__}")
        yield list(row)


def _cell(value: Any) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int or (kind is float and math.isfinite(value)):
        return value
    return None if kind.__name__ in _MISSING else plain(value)
