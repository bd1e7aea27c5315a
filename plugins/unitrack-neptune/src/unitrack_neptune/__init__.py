"""Neptune for unitrack: the backend `[backends.neptune]`, and the reader `neptune-parquet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_neptune._backend import NeptuneBackend, NeptuneFactory
from unitrack_neptune._parquet import NeptuneParquetReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader

__all__ = [
    "NeptuneBackend",
    "NeptuneFactory",
    "NeptuneParquetReader",
    "unitrack_register_backends",
    "unitrack_register_readers",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `neptune`."""
    return [NeptuneFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the reader `neptune-parquet`: `unitrack import neptune-parquet DIR`."""
    return [NeptuneParquetReader()]
