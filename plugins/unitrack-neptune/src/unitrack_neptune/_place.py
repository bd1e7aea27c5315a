"""What the backend asks of a place that takes operations: offline files or a server, for either client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from unitrack.backend import RunInfo
    from unitrack_neptune._plan import Op

__all__ = ["Place", "Sent"]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of operations: how long offline files are now, and how many points a server had already."""

    mark: tuple[int, ...] = ()
    refused: int = 0
    """Points a server took for repeated or too late; they are what was sent before, if anything was."""


class Place(Protocol):
    """Takes the operations of one run at a time; all of it is durable when a call returns."""

    target: str
    """What tells this place from every other, credentials left out."""

    def position(self, run: RunInfo) -> Path:
        """Return where the run's position is kept."""
        ...

    def begin(self, run: RunInfo, mark: tuple[int, ...]) -> tuple[int, ...]:
        """Make the run or find it, and drop what lies beyond `mark`; return the mark that holds now."""
        ...

    def send(self, ops: Sequence[Op]) -> Sent:
        """Carry out operations in order. Raises RetryableError, FatalBackendError; ValueError for what is refused."""
        ...

    def end(self) -> None:
        """Let go of the run."""
        ...
