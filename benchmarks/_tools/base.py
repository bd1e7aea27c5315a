"""What the harness asks of a tool."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["Log", "Tool"]


class Log(Protocol):
    """One logging call, as a user of the tool would write it."""

    def __call__(self, values: dict[str, float], *, step: int) -> object:
        """Log all of `values` at `step`."""
        ...


class Tool(Protocol):
    """A tool in a fresh folder. `log` may appear with `start`, so that it can be the tool's own bound method."""

    log: Log

    def start(self, folder: Path) -> None:
        """Begin a run that keeps everything under `folder`."""
        ...

    def finish(self) -> None:
        """End the run; on return all that was logged is where the tool keeps it."""
        ...

    def count_left(self, folder: Path) -> int:
        """Return how many values of the metric `loss` the tool's own reader or format holds, in a fresh process."""
        ...
