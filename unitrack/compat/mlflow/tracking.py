"""`mlflow.tracking`, where older code imports the client from."""

from unitrack.compat.mlflow._fluent import get_tracking_uri, set_tracking_uri
from unitrack.compat.mlflow.client import MlflowClient

__all__ = ["MlflowClient", "get_tracking_uri", "set_tracking_uri"]
