"""Describe data a run reads: where it is, and a digest that tells versions apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import msgspec

from unitrack.media.foreign import as_numpy, foreign_kind, is_array
from unitrack.media.tables import pandas_with_index
from unitrack.model import plain, text

__all__ = ["DataDescription", "describe_data"]

_CHUNK = 1 << 20


class _Digested(Protocol):
    @property
    def digest(self) -> str: ...


class Hasher(Protocol):
    """What hashes a file or folder without keeping it: an `ObjectStore`."""

    def digest(self, path: Path) -> _Digested:
        """Return what has the path's digest; raise UsageError if it can't be read."""
        ...


class DataDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of data: a name, where it is, `sha256:<hex>` of its content, its shape."""

    name: str
    uri: str | None = None
    digest: str | None = None
    rows: int | None = None
    columns: list[list[str]] | None = None  # [name, type], in the order of the data


def describe_data(data: Any, hasher: Hasher) -> DataDescription:
    """Describe a path (hashed), a URI (taken as it is), an array, or a pandas or polars frame. Raises TypeError."""
    if isinstance(data, str) and "://" in data:
        uri = text(data)
        return DataDescription(name=uri.rstrip("/").rpartition("/")[2] or uri, uri=uri)
    if isinstance(data, (str, os.PathLike)):
        path = Path(data).absolute()
        return DataDescription(name=text(path.name or "data"), uri=text(str(path)), digest=hasher.digest(path).digest)
    kind = foreign_kind(data)
    if kind in ("pandas", "polars"):
        return _frame(data, kind)
    if is_array(data):
        array = as_numpy(data, what="the data")
        sha = _sha256()
        _add_array(sha, array)
        rows = array.shape[0] if array.ndim else None
        return DataDescription(name="array", digest=f"sha256:{sha.hexdigest()}", rows=rows)
    raise TypeError(f"data is a path, a URI, an array, or a pandas or polars frame, not {type(data).__name__}")


def _frame(data: Any, kind: str) -> DataDescription:
    """Hash names, types and values column by column, so that memory stays that of one column."""
    frame = pandas_with_index(data) if kind == "pandas" else data
    sha = _sha256()
    columns: list[list[str]] = []
    for index, name in enumerate(frame.columns):
        column = frame.iloc[:, index] if kind == "pandas" else frame.to_series(index)
        columns.append([text(str(name)), str(column.dtype)])
        _add_words(sha, columns[-1])
        if kind == "polars" and column.null_count():
            _add_words(sha, plain(column.to_list()))  # as numbers its nulls would look like NaN
        else:
            _add_array(sha, column.to_numpy())
    return DataDescription(name="frame", digest=f"sha256:{sha.hexdigest()}", rows=len(frame), columns=columns)


def _sha256() -> Any:
    from hashlib import sha256  # loads OpenSSL, which takes 3 ms

    return sha256()


def _add_array(sha: Any, array: Any) -> None:
    if array.dtype.hasobject:
        _add_words(sha, ["object", list(array.shape), plain(array.tolist())])
        return
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    _add_words(sha, [array.dtype.str, list(array.shape)])
    flat = array.reshape(-1)
    step = max(1, _CHUNK // max(1, array.dtype.itemsize))
    for start in range(0, flat.size, step):
        sha.update(flat[start : start + step].tobytes())


def _add_words(sha: Any, words: Any) -> None:
    data = msgspec.json.encode(words)
    sha.update(f"{len(data)}:".encode() + data)
