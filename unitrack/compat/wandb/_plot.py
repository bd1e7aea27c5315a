"""`wandb.plot`: each chart as the table it is drawn from, with its title as the caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from unitrack import media
from unitrack.compat.wandb._data import Shown, Table

__all__ = ["Chart", "bar", "confusion_matrix", "histogram", "line", "line_series", "scatter"]


class Chart(Shown):
    """A table with a title."""

    def __init__(self, table: Table, title: str | None) -> None:
        self.table, self._title = table, title or None

    def parts(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield the table under the chart's name."""
        for part, shown in self.table.parts(name):
            if isinstance(shown, media.Table):
                yield part, media.Table(caption=self._title, columns=shown.columns, rows=shown.rows)
            else:
                yield part, shown


def line(table: Table, x: str, y: str, stroke: str | None = None, title: str = "", **_: Any) -> Chart:
    """Return the table of a line."""
    return Chart(_only(table, x, y, stroke), title)


def scatter(table: Table, x: str, y: str, title: str = "", **_: Any) -> Chart:
    """Return the table of points."""
    return Chart(_only(table, x, y), title)


def bar(table: Table, label: str, value: str, title: str = "", **_: Any) -> Chart:
    """Return the table of bars."""
    return Chart(_only(table, label, value), title)


def histogram(table: Table, value: str, title: str = "", **_: Any) -> Chart:
    """Return the table of values."""
    return Chart(_only(table, value), title)


def _only(table: Table, *columns: str | None) -> Table:
    """Return the table itself. Raises ValueError for a column it hasn't got."""
    for column in columns:
        if column is not None and column not in table.columns:
            raise ValueError(f"the table has no column {column!r}; it has {table.columns}")
    return table


def line_series(
    xs: Sequence[Any], ys: Sequence[Sequence[Any]], keys: Sequence[Any] | None = None, title: str = "",
    xname: str = "x", **_: Any,
) -> Chart:  # fmt: skip
    """Return the table of several lines: x, the line's name, y. One list of x serves all lines."""
    shared = not xs or not hasattr(xs[0], "__len__")
    names = list(keys) if keys is not None else [f"line_{index}" for index in range(len(ys))]
    table = Table(columns=[xname, "lineKey", "lineVal"])
    for index, (name, line_) in enumerate(zip(names, ys, strict=True)):
        for x, y in zip(xs if shared else xs[index], line_, strict=False):
            table.add_data(x, name, y)
    return Chart(table, title)


def confusion_matrix(
    probs: Any = None, y_true: Any = None, preds: Any = None, class_names: Sequence[str] | None = None,
    title: str = "", **_: Any,
) -> Chart:  # fmt: skip
    """Return the table of Actual, Predicted, nPredictions. Raises ValueError unless probs or preds are given."""
    if (probs is None) == (preds is None) or y_true is None:
        raise ValueError("confusion_matrix takes y_true and either preds or probs")
    found = [int(each) for each in preds] if preds is not None else [_highest(row) for row in probs]
    truth = [int(each) for each in y_true]
    if len(found) != len(truth):
        raise ValueError(f"{len(truth)} true classes and {len(found)} predictions are not of one length")
    names = list(class_names) if class_names is not None else None
    count = len(names) if names is not None else max([*found, *truth], default=-1) + 1
    names = names if names is not None else [f"Class_{index + 1}" for index in range(count)]
    pairs = list(zip(truth, found, strict=True))
    rows = [[names[a], names[b], pairs.count((a, b))] for a in range(count) for b in range(count)]
    return Chart(Table(columns=["Actual", "Predicted", "nPredictions"], data=rows), title)


def _highest(row: Any) -> int:
    values = [float(each) for each in row]
    return values.index(max(values))
