"""What a reader is: the contract by which runs of another system become runs of ours.

A reader turns what a tracker or its files hold into events, lazily. Writing the journal, numbering
the events, skipping what is there already and checking the result is unitrack's part. A reader imports its
client when it is called, never at import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from unitrack.backend import Lowering
from unitrack.events import Event, FinalStatus
from unitrack.objects import ObjectStore

__all__ = ["Counts", "ForeignInfo", "ForeignRun", "Reader"]


class ForeignInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who a foreign run is. `id` can be a run id of ours; `origin` names it where it came from (a URI, a path).

    `started` and `ended` are epoch seconds; `status` is None for a run that still goes on.
    """

    id: str
    origin: str
    project: str
    started: float
    name: str | None = None
    group: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    ended: float | None = None
    status: FinalStatus | None = "finished"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much a run holds: leaves of its params, points of its metrics, tags, artifacts and media."""

    params: int = 0
    points: int = 0
    tags: int = 0
    artifacts: int = 0
    media: int = 0


@runtime_checkable
class ForeignRun(Protocol):
    """One run of another system."""

    @property
    def info(self) -> ForeignInfo:
        """Who it is."""
        ...

    def events(self, objects: ObjectStore) -> Iterator[Event]:
        """Yield what the run holds, each event with its own time and any `seq`: Params, Metrics, Artifact ...

        The writer, run and status events are made from `info`. Files are put into `objects`.
        Raises RetryableError, FatalBackendError.
        """
        ...

    def expected(self) -> Counts:
        """Return how much the source says there is, asked apart from `events`, to check the result by."""
        ...

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What an event can't hold of the run, known once `events` is exhausted."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads the runs of one system: `unitrack import NAME SOURCE`."""

    name: str

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the runs of `source` (a URI, a folder), parents before children.

        Raises ConfigError for an option it doesn't know, FatalBackendError when the source can't be read.
        """
        ...
