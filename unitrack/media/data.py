"""Describe data a run reads: where it is, a digest that tells versions apart, columns in order, rows."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from unitrack.media.files import Columns, arrow_columns, shape_of
from unitrack.media.foreign import as_numpy, data_kind, is_array, package_of
from unitrack.media.tables import pandas_with_index
from unitrack.model import plain, text

__all__ = ["DataDescription", "DataProgress", "Hasher", "describe_data"]

DataProgress = Callable[[int, int], object]
"""Is told (bytes hashed, bytes in all)."""

_CHUNK = 1 << 20
_FILE = "file:///"
_MOST_STATS = 100_000
_ACCEPTED = "a path, a URI, an array, a pandas or polars frame, an Arrow table, or a Hugging Face dataset"


class _Hashed(Protocol):
    @property
    def digest(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def files(self) -> tuple[Any, ...]: ...


class Hasher(Protocol):
    """What hashes a file or folder without keeping it: an `ObjectStore`."""

    def digest(
        self, path: Path, *, exclude: Iterable[Path] = (), cached: bool = False, progress: DataProgress | None = None
    ) -> _Hashed:
        """Return what has the path's digest; raise UsageError if it can't be read."""
        ...


class DataDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of data: a name, where it is, `sha256:<hex>` of its content, its shape."""

    name: str
    uri: str | None = None
    digest: str | None = None
    version: str | None = None
    rows: int | None = None
    columns: Columns | None = None
    metadata: dict[str, Any] = {}


def describe_data(
    data: Any, hasher: Hasher, *, exclude: Iterable[Path] = (), progress: DataProgress | None = None
) -> DataDescription:
    """Describe data without changing or copying it: paths are hashed, URIs are taken as they are.

    Raises TypeError for what is no data, UsageError for a path that can't be read.
    """
    if isinstance(data, str) and data.startswith(_FILE):
        data = Path(unquote(data.removeprefix(_FILE.removesuffix("/"))))
    if isinstance(data, str) and "://" in data:
        uri = text(data)
        return DataDescription(name=uri.rstrip("/").rpartition("/")[2] or uri, uri=uri)
    if isinstance(data, (str, os.PathLike)):
        return _path(Path(data).absolute(), hasher, exclude, progress)
    kind = data_kind(data)
    if kind in ("pandas", "polars"):
        return _frame(data, kind)
    if kind == "arrow":
        return _arrow(data)
    if kind == "hugging face":
        return _hugging_face(data)
    if is_array(data):
        return _array(data)
    raise TypeError(f"data is {_ACCEPTED}, not {type(data).__name__}{_several(data)}")


def _several(data: Any) -> str:
    return ": log each of its splits" if package_of(type(data)) == "datasets" and isinstance(data, dict) else ""


def _path(path: Path, hasher: Hasher, exclude: Iterable[Path], progress: DataProgress | None) -> DataDescription:
    hashed, shape = hasher.digest(path, exclude=exclude, cached=True, progress=progress), shape_of(path)
    about: dict[str, Any] = {"size": hashed.size, "files": len(hashed.files), "modified": _modified(path, hashed.files)}
    return DataDescription(
        name=text(path.name or "data"), uri=text(str(path)), digest=hashed.digest, rows=shape.rows,
        columns=shape.columns, metadata={key: value for key, value in about.items() if value is not None},
    )  # fmt: skip


def _modified(path: Path, files: tuple[Any, ...]) -> str | None:
    """Return when the newest of the files was written, as ISO 8601 in UTC."""
    if len(files) > _MOST_STATS:
        return None
    paths = [path / file.path for file in files] if path.is_dir() else [path]
    try:
        newest = max(os.stat(name).st_mtime for name in paths)
        return datetime.datetime.fromtimestamp(newest, datetime.timezone.utc).isoformat(timespec="seconds")
    except (OSError, ValueError, OverflowError):  # gone, escaped, none, or a clock gone wild
        return None


def _array(data: Any) -> DataDescription:
    array = as_numpy(data, what="the data")
    sha = _sha256()
    _add_array(sha, array)
    columns = [[name, str(array.dtype[name])] for name in array.dtype.names] if array.dtype.names else None
    rows = array.shape[0] if array.ndim else None
    return DataDescription(name="array", digest=f"sha256:{sha.hexdigest()}", rows=rows, columns=columns)


def _arrow(data: Any) -> DataDescription:
    """Hash names, types and values column by column, whatever the chunks and slices they stand in."""
    pyarrow = sys.modules["pyarrow"]
    sha, columns = _sha256(), arrow_columns(data.schema)
    for index, words in enumerate(columns):
        _add_words(sha, words)
        column = data.column(index)
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        whole = pyarrow.concat_arrays(chunks) if chunks else pyarrow.array([], data.schema.field(index).type)
        if pyarrow.types.is_dictionary(whole.type):
            whole = whole.dictionary_decode()
        _add_arrow(sha, whole)
    return DataDescription(name="table", digest=f"sha256:{sha.hexdigest()}", rows=data.num_rows, columns=columns)


def _add_arrow(sha: Any, column: Any) -> None:
    """Add a column: which values are there, and the values, what lies under a null left out."""
    pyarrow = sys.modules["pyarrow"]
    if column.null_count:
        _add_array(sha, column.is_valid().to_numpy(zero_copy_only=False))
        column = column.drop_null()
    kind = column.type
    if pyarrow.types.is_nested(kind):
        _add_words(sha, plain(column.to_pylist()))
        return
    sink = pyarrow.BufferOutputStream()
    batch = pyarrow.record_batch([column], names=["column"])
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    sha.update(sink.getvalue())


def _hugging_face(data: Any) -> DataDescription:
    """Take the fingerprint, which the package makes of the source and every transform; the bytes are not read."""
    info, features = getattr(data, "info", None), getattr(data, "features", None) or {}
    names = ("builder_name", "config_name", "version")
    about = {name: str(found) for name in names if (found := getattr(info, name, None))}
    return DataDescription(
        name=text(about.get("builder_name") or "dataset"), version=text(f"fingerprint:{data._fingerprint}"),
        rows=data.num_rows, columns=[[text(str(name)), _feature(kind)] for name, kind in features.items()] or None,
        metadata={**about, **({"split": str(data.split)} if getattr(data, "split", None) else {})},
    )  # fmt: skip


def _feature(kind: Any) -> str:
    return text(str(getattr(kind, "dtype", None) or type(kind).__name__))


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
