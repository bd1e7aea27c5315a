"""`neptune_scale.types`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["File", "Histogram"]


class File:
    """A file by its path or bytes; where Neptune would store it has no meaning here."""

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        mime_type: str | None = None,
        size: int | None = None,
        destination: str | None = None,
    ) -> None:
        self.source = source if isinstance(source, bytes) else Path(source)
        self.mime_type = mime_type


class Histogram:
    """A distribution counted elsewhere."""

    def __init__(
        self,
        bin_edges: Sequence[float],
        counts: Sequence[int] | None = None,
        densities: Sequence[float] | None = None,
    ) -> None:
        if (counts is None) == (densities is None):
            raise ValueError("a histogram has either counts or densities")
        self.bin_edges = [float(edge) for edge in bin_edges]
        self.counts = [float(each) for each in (counts if counts is not None else densities or ())]
