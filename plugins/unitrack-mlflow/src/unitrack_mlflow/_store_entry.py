"""What MLflow finds by its own entry points: `mlflow.set_tracking_uri("unitrack:")` or `unitrack:///path/to/store`.

MLflow loads these as it is imported, so each imports what it needs when it is called.
"""

from __future__ import annotations

from typing import Any

__all__ = ["artifact_repository", "registry_store", "tracking_store"]


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the store that writes MLflow's calls into journals."""
    from unitrack_mlflow._store import UnitrackStore

    return UnitrackStore(store_uri)


def artifact_repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """Return the artifacts of a run or of a logged model."""
    from unitrack_mlflow._store_artifacts import UnitrackArtifacts

    return UnitrackArtifacts(artifact_uri, tracking_uri, registry_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None, **_: Any) -> Any:
    """Refuse: the models of a unitrack store are registered by unitrack. Raises MlflowException."""
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(
        "a unitrack store has no MLflow model registry: `unitrack models register NAME --run RUN` gives a logged "
        "model a version, or name another registry with mlflow.set_registry_uri(...)"
    )
