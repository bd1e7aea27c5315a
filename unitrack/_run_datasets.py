"""What `Run.log_dataset` makes of data: its description, its version where some system knows it, its bytes if kept."""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from unitrack import media
from unitrack.errors import UsageError
from unitrack.media.foreign import as_numpy, data_kind, is_array
from unitrack.model import check_artifact_name, plain, text
from unitrack.objects import ObjectStore, SourceError

__all__ = ["Given", "Version", "describe", "keep"]

_PATIENCE = 2.0  # seconds of hashing before a person is told
_EVERY = 0.5


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What a system says of data it keeps."""

    version: str
    digest: str | None = None
    metadata: Mapping[str, Any] = {}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What training code says of its data, which wins over what is found out."""

    name: str | None = None
    split: str | None = None
    version: str | None = None
    digest: str | None = None
    columns: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = {}


def describe(
    data: Any,
    given: Given,
    objects: ObjectStore,
    *,
    resolve: Callable[[str], Version | None],
    exclude: Iterable[Path],
    progress: media.DataProgress | None,
) -> dict[str, Any]:
    """Return the fields of the event.

    Data that isn't here is described by the system that knows its version, if one does. Raises TypeError, UsageError.
    """
    told = progress or (_TerminalProgress() if sys.stderr is not None and sys.stderr.isatty() else None)
    missing: SourceError | None = None
    try:
        found = media.describe_data(data, objects, exclude=exclude, progress=told)
    except SourceError as error:
        path = Path(data).absolute()
        if path.exists():
            raise
        missing, found = error, media.DataDescription(name=path.name or "data", uri=text(str(path)))
    known = resolve(found.uri) if found.uri is not None and given.version is None else None
    if missing is not None and known is None and given.digest is None and given.version is None:
        raise missing
    return {**_fields(given, found, known), "columns": _columns(given.columns, found.columns, data)}


def _fields(given: Given, found: media.DataDescription, known: Version | None) -> dict[str, Any]:
    about = {**found.metadata, **(known.metadata if known else {})}
    digest = given.digest or found.digest or (known.digest if known else None)
    if known and known.digest and known.digest != digest:
        about["version_digest"] = known.digest  # the system's own, of what it keeps under that version
    return {
        "name": text(given.name or found.name),
        "uri": found.uri,
        "digest": digest,
        "version": given.version or (known.version if known else found.version),
        "split": given.split,
        "rows": found.rows,
        "metadata": plain({**about, **given.metadata}),
    }


def _columns(given: tuple[str, ...] | None, found: media.Columns | None, data: Any) -> media.Columns | None:
    """Return the columns with the names that were given, in that order, and the types that were found."""
    if given is None:
        return found
    if not all(isinstance(name, str) for name in given):
        raise TypeError("columns are names (str), in the order of the data")
    if found is not None:
        kinds = [kind for _, kind in found]
    elif is_array(data) and len(data.shape) == 2:
        kinds = [str(data.dtype)] * data.shape[1]
    else:
        kinds = [""] * len(given)
    if len(kinds) != len(given):
        raise UsageError(f"columns= names {len(given)} columns, and the data has {len(kinds)}")
    return [[text(name), kind] for name, kind in zip(given, kinds, strict=True)]


def _bytes_of(data: Any) -> tuple[str, bytes]:
    """Return a suffix and the bytes to keep of an array or a frame. Raises TypeError, UsageError."""
    kind, buffer = data_kind(data), io.BytesIO()
    if kind == "polars":
        data.write_parquet(buffer)
    elif kind == "pandas":
        _need("pyarrow")
        data.to_parquet(buffer)
    elif kind == "arrow":
        table = data if hasattr(data, "combine_chunks") else sys.modules["pyarrow"].Table.from_batches([data])
        _need("pyarrow.parquet").write_table(table, buffer)
    elif is_array(data):
        importlib.import_module("numpy").save(buffer, as_numpy(data, what="the data"), allow_pickle=False)
        return ".npy", buffer.getvalue()
    else:
        raise TypeError(
            f"keep=True takes a path, an array or a frame, not {type(data).__name__}: save it, log the path"
        )
    return ".parquet", buffer.getvalue()


def _need(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"keep=True writes this as Parquet and needs pyarrow: {error}") from error


def keep(
    data: Any, fields: Mapping[str, Any], log_artifact: Callable[..., str | None], store: Callable[..., str | None]
) -> str | None:
    """Store a copy of data as an artifact named after it and its split; return the artifact's digest."""
    words = [fields["name"].replace("/", "-"), *([fields["split"]] if fields["split"] else [])]
    name = check_artifact_name(f"data/{'-'.join(words)}")
    if _is_path(data):
        return log_artifact(data, name=name, kind="dataset")
    suffix, kept = _bytes_of(data)
    return store(kept, name + suffix, {"kind": "dataset"})


def _is_path(data: Any) -> bool:
    """Tell whether data is named by a path."""
    return isinstance(data, os.PathLike) or isinstance(data, str) and "://" not in data


class _TerminalProgress:
    """Tells a person who waits how far hashing is, on one line that goes when it is done."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._told = self._begun + _PATIENCE - _EVERY
        self._shown = False

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if done >= whole:
            if self._shown:
                sys.stderr.write("\r\033[K")
            return
        if now - self._told < _EVERY:
            return
        self._told, self._shown = now, True
        rate = done / (now - self._begun) / 1e6
        sys.stderr.write(f"\rhashing data: {done / 1e9:.1f} of {whole / 1e9:.1f} GB, {rate:.0f} MB/s\033[K")
        sys.stderr.flush()
