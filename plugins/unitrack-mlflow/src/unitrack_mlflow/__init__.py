"""The MLflow backend of unitrack: `[backends.mlflow]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_mlflow._backend import MlflowBackend, MlflowFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory

__all__ = ["MlflowBackend", "MlflowFactory", "unitrack_register_backends"]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `mlflow`."""
    return [MlflowFactory()]
