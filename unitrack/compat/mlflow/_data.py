"""`mlflow.data`: data with a name and a source."""

from __future__ import annotations

from typing import Any

__all__ = ["Dataset", "load"]


class Dataset:
    """Data a run reads, as `mlflow.data.from_pandas` and its like return it."""

    def __init__(
        self, data: Any, source: Any = None, name: str | None = None, digest: str | None = None, **about: Any
    ) -> None:
        self.data, self.name, self.digest = data, name, digest
        self.source = None if source is None else str(source)
        self.about = about


def load(data: Any, source: Any = None, **about: Any) -> Dataset:
    """Return data with its source and name."""
    return Dataset(data, source, **about)
