"""The MLflow backend of unitrack, `[backends.mlflow]`, and its reader, `unitrack import mlflow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_mlflow._backend import MlflowBackend, MlflowFactory
from unitrack_mlflow._reader import MlflowReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader

__all__ = [
    "MlflowBackend",
    "MlflowFactory",
    "MlflowReader",
    "unitrack_register_backends",
    "unitrack_register_readers",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `mlflow`."""
    return [MlflowFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the reader `mlflow`."""
    return [MlflowReader()]
