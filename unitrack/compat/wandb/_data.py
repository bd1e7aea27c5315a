"""W&B's media types as what `Run.log` takes, and any value that W&B's `log` accepts as numbers and media."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unitrack import media
from unitrack.compat._support import Warned, refuse
from unitrack.model import number, plain

__all__ = ["Audio", "Histogram", "Html", "Image", "Plotly", "Shown", "Table", "Video", "rows_of"]

_LARGEST_LIST = 32  # W&B makes a histogram of a longer array


class Shown:
    """What all media types share: the value that unitrack shows."""

    shown: Any

    def parts(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield (name, media) of all that stands for this value under `name`."""
        yield name, self.shown


class Image(Shown):
    """A picture: a path, a PIL image, an array, a tensor (channels first), a matplotlib figure or pyplot itself."""

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Any = None,
        masks: Any = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        if boxes or masks or classes:
            raise refuse("wandb.Image(boxes=, masks=, classes=)", "draw them into the picture, or log them as a Table")
        if isinstance(data_or_path, Image):
            data_or_path = data_or_path.shown.value
        self.shown = media.Image(_picture(data_or_path, scale=normalize), None if caption is None else str(caption))


def _picture(value: Any, *, scale: bool) -> Any:
    if hasattr(value, "gcf"):  # pyplot, handed over as a module
        return value.gcf()
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu()
        if value.ndim > 3:
            raise refuse("wandb.Image of a batch of pictures", "log a list of images, one for each")
        value = (value.permute(1, 2, 0) if value.ndim == 3 else value).numpy()
    return _bytes_of(value, scale=scale) if hasattr(value, "dtype") and hasattr(value, "clip") else value


def _bytes_of(array: Any, *, scale: bool) -> Any:
    """Return an array as unitrack shows it: other integers clipped, floats beyond [0, 1] scaled from their range."""
    kind = array.dtype.kind
    if kind in "iu" and array.dtype.itemsize > 1 or kind == "i":
        return array.clip(0, 255).astype("uint8")
    if kind != "f" or not array.size:
        return array
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        return array
    if scale and -1 <= low < 0 and high <= 1:
        return (array + 1) / 2
    return array.clip(0, 255).astype("uint8")


class Plotly(Shown):
    """A plotly figure."""

    def __init__(self, val: Any) -> None:
        self.shown = media.Figure(val)


class Histogram(Shown):
    """A distribution: numbers to count, or `np_histogram=(counts, edges)`."""

    def __init__(self, sequence: Any = None, np_histogram: tuple[Any, Any] | None = None, num_bins: int = 64) -> None:
        if np_histogram is not None:
            counts, edges = np_histogram
            self.shown = media.Histogram.from_counts(edges, counts)
        else:
            self.shown = media.Histogram(sequence, num_bins)


class Video(Shown):
    """A film: a path, or a file object with its `format`."""

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: int | None = None, format: str | None = None
    ) -> None:
        if hasattr(data_or_path, "shape"):
            raise refuse("wandb.Video of an array", "encode it as mp4 or gif and give the path")
        data = data_or_path.read() if hasattr(data_or_path, "read") else data_or_path
        self.shown = media.Video(data, caption, format=format)


class Audio(Shown):
    """Sound: a path, or samples with their `sample_rate`."""

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self.shown = media.Audio(data_or_path, caption, sample_rate=sample_rate)


class Html(Shown):
    """A page: its text, a path, or a file object."""

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        text = data.read() if hasattr(data, "read") else data
        is_path = isinstance(text, os.PathLike) or isinstance(text, str) and len(text) < 4096 and os.path.isfile(text)
        self.shown = media.Html(Path(text) if is_path and not data_is_not_path else text)


class Table(Shown):
    """Rows under named columns; pictures in cells are kept as media of their own, named in the cell."""

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        frame = dataframe if dataframe is not None else data if hasattr(data, "columns") else None
        given = rows if rows is not None else data
        if frame is not None:
            columns, given = list(frame.columns), frame.values.tolist()
        self.columns = list(columns) if columns is not None else ["Input", "Output", "Expected"]
        self.data: list[list[Any]] = [list(row) for row in given] if given is not None else []

    def add_data(self, *data: Any) -> None:
        """Add a row. Raises ValueError if it isn't as wide as the table."""
        if len(data) != len(self.columns):
            raise ValueError(f"this table has {len(self.columns)} columns {self.columns}, not {len(data)}")
        self.data.append(list(data))

    def add_row(self, *row: Any) -> None:
        """Add a row."""
        self.add_data(*row)

    def add_column(self, name: str, data: Iterable[Any]) -> None:
        """Add a column, one value a row. Raises ValueError."""
        values = list(data)
        if self.columns and self.data and len(values) != len(self.data):
            raise ValueError(f"this table has {len(self.data)} rows, not {len(values)}")
        self.data = [[*row, value] for row, value in zip(self.data or [[] for _ in values], values, strict=True)]
        self.columns.append(name)

    def get_column(self, name: str, convert_to: str | None = None) -> list[Any]:
        """Return the values of a column."""
        if convert_to is not None:
            raise refuse("wandb.Table.get_column(convert_to=)", "convert the list that it returns")
        return [row[self.columns.index(name)] for row in self.data]

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield (index, row)."""
        yield from enumerate(self.data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "shown":
            raise AttributeError(name)
        raise refuse(f"wandb.Table.{name}", "use columns, data, add_data, add_column, get_column or iterrows")

    def parts(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield the media in cells, and the table that names them."""
        rows = []
        for index, row in enumerate(self.data):
            cells = []
            for column, cell in zip(self.columns, row, strict=True):
                if isinstance(cell, Shown) or media.recognises(cell):
                    inside = f"{name}/{column}/{index}"
                    yield from (cell if isinstance(cell, Shown) else _Recognised(cell)).parts(inside)
                    cells.append(inside)
                else:
                    cells.append(cell)
            rows.append(cells)
        yield name, media.Table(columns=self.columns, rows=rows)


class _Recognised(Shown):
    def __init__(self, value: Any) -> None:
        self.shown = value


# -- any value -----------------------------------------------------------------------------------


def rows_of(values: Mapping[str, Any], warned: Warned) -> list[dict[str, Any]]:
    """Return dicts that `Run.log` takes: the first has all the numbers, more hold further media of the same name."""
    if all(type(value) in (float, int) for value in values.values()):
        return [dict(values)] if values else []
    rows: list[dict[str, Any]] = [{}]
    for name, value in _flat(values, ""):
        for part, shown in _parts(name, value, warned):
            row = next((row for row in rows if part not in row), None)
            if row is None:
                rows.append(row := {})
            row[part] = shown
    return [row for row in rows if row]


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, value), nested names joined by a dot, as W&B shows them."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parts(name: str, value: Any, warned: Warned) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (bool, int, float, str)):
        yield name, value
    elif isinstance(value, Shown):
        yield from value.parts(name)
    elif value is None:
        warned.say(f"wandb.log: {name!r} is None and is not kept")
    elif isinstance(value, (list, tuple)) and value and all(isinstance(each, Shown) for each in value):
        for each in value:
            yield from each.parts(name)
    else:
        yield name, _other(value)


def _other(value: Any) -> Any:
    if media.recognises(value):
        return value
    if hasattr(value, "gcf"):
        return value.gcf()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    try:
        return number(value)
    except TypeError:
        pass
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        return media.Histogram(value) if _size(value) > _LARGEST_LIST else _words(value.tolist())
    return _words(value) if isinstance(value, (list, tuple, set)) else value


def _size(array: Any) -> int:
    size = 1
    for side in array.shape:
        size *= int(side)
    return size


def _words(value: Any) -> media.Text:
    return media.Text(json.dumps(plain(value), ensure_ascii=False))
