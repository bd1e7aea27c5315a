"""Wide tables of a run's metrics: one row an event, `step`, `time` and a column a metric."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

from unitrack.errors import UsageError

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from unitrack._columns import Columns

__all__ = ["arrow_table", "data_frame", "rows"]


def rows(columns: Columns) -> list[dict[str, Any]]:
    """Return a dict an event: whole steps as int, no step as None, only the metrics that it logged."""
    table: list[dict[str, Any]] = [
        {"step": _step(step), "time": time} for step, time in zip(columns.steps, columns.times, strict=True)
    ]
    for name, points in columns.points.items():
        for row, value in zip(points.rows, points.values, strict=True):
            table[row][name] = value
    return table


def _step(step: float) -> int | float | None:
    if math.isnan(step):
        return None
    return int(step) if step.is_integer() else step


def data_frame(columns: Columns) -> pandas.DataFrame:
    """Return a pandas DataFrame; NaN where a row has no such metric. Raises UsageError without pandas."""
    try:
        import numpy as np
        import pandas as pd
    except ImportError as error:
        raise _missing("to_pandas()", "pandas", error) from error

    data = {"step": np.array(columns.steps), "time": np.array(columns.times)}
    for name, points in columns.points.items():
        data[name] = np.full(len(columns), math.nan)
        data[name][np.frombuffer(points.rows, dtype=np.int64)] = points.values
    return pd.DataFrame(data)


def arrow_table(columns: Columns) -> pyarrow.Table:
    """Return a pyarrow Table; null where a row has no such metric or step, so that a logged NaN is told from it.

    Raises UsageError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
    except ImportError as error:
        raise _missing("to_arrow()", "arrow", error) from error

    def packed(values: array[Any], kind: Any) -> Any:
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])

    all_rows = packed(array("q", range(len(columns))), pa.int64())
    steps = packed(columns.steps, pa.float64())
    data = {
        "step": pc.if_else(pc.is_nan(steps), pa.scalar(None, pa.float64()), steps),
        "time": packed(columns.times, pa.float64()),
    }
    for name, points in columns.points.items():
        values = packed(points.values, pa.float64())
        if len(values) < len(columns):
            values = values.take(pc.index_in(all_rows, value_set=packed(points.rows, pa.int64())))
        data[name] = values
    return pa.table(data)


def _missing(call: str, extra: str, error: ImportError) -> UsageError:
    return UsageError(f'{call} needs a package that is not installed ({error}): pip install "unitrack[{extra}]"')
