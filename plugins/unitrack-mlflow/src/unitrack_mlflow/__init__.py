"""MLflow for unitrack: backend `[backends.mlflow]`, reader `unitrack import mlflow`, registry `[registries.mlflow]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_mlflow._backend import MlflowBackend, MlflowFactory
from unitrack_mlflow._reader import MlflowReader
from unitrack_mlflow._registry import MlflowRegistry, MlflowRegistryFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader
    from unitrack.hookspecs import RegistryFactory

__all__ = [
    "MlflowBackend",
    "MlflowFactory",
    "MlflowReader",
    "MlflowRegistry",
    "MlflowRegistryFactory",
    "unitrack_register_backends",
    "unitrack_register_readers",
    "unitrack_register_registries",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `mlflow`."""
    return [MlflowFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the reader `mlflow`."""
    return [MlflowReader()]


@hookimpl
def unitrack_register_registries() -> Iterable[RegistryFactory]:
    """Offer the registry `mlflow`."""
    return [MlflowRegistryFactory()]
