"""MLflow with its SQLite store and asynchronous logging; `finish` waits for the queue."""

from __future__ import annotations

from _tools import mlflow


class Adapter(mlflow.Adapter):
    """The same calls, queued."""

    synchronous = False
