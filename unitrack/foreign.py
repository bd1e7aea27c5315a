"""What a reader is: the contract by which runs of another system become runs of ours.

A reader turns what a tracker or its files hold into events, lazily. Writing the journal, numbering
the events, skipping what is there already, trying again and checking the result is unitrack's part
(`unitrack.importing`). A reader imports its client when it is called, never at import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from unitrack.backend import Lowering
from unitrack.events import Event, FinalStatus
from unitrack.objects import ObjectStore

__all__ = ["Counts", "ForeignInfo", "ForeignRun", "Reader", "ReadsBackend"]


class ForeignInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who a foreign run is. `id` can be a run id of ours; `origin` names it where it came from (a URI, a path).

    `started` and `ended` are epoch seconds; `status` is None for a run that still goes on. A run that
    unitrack wrote has the id it had. `origin` is the same each time the run is read: it tells a run that is
    imported already from another one of the same id. It holds no credentials. `argv` is its command line,
    `reason` why it ended as it did.
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
    reason: str | None = None
    argv: tuple[str, ...] = ()


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much a run holds, as a reader of the journal counts it at the end.

    `params`: leaves, nested names joined by `/`, each name once. `points`: values of all `Metrics` events,
    repeated ones included; those about the machine (`System`) don't count. `tags`: words and tags with text,
    those of `info` included, without the removed ones. `artifacts`, `media`: events of that kind.
    """

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

        The writer, run and status events are made from `info`. Files are put into `objects`. Events are
        written in the order they come in, which is that of a metric's points at the same time; a few at
        a time should be in memory. Called again, from the start, after a RetryableError.
        Raises RetryableError, FatalBackendError.
        """
        ...

    def expected(self) -> Counts:
        """Return how much the source says there is, asked apart from `events`, to check the result by.

        Called after `events` is exhausted, or alone.
        """
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

        The values of `options` are text when they come from the command line (`-o key=value`).
        Raises ConfigError for an option it doesn't know, FatalBackendError when the source can't be read.
        """
        ...


@runtime_checkable
class ReadsBackend(Protocol):
    """A reader that also reads what the backend of the same name wrote: `unitrack copy` checks its work by it."""

    def source_of(self, options: Mapping[str, Any], *, project: str, run: str) -> tuple[str, Mapping[str, Any]]:
        """Return the source and options for `runs` that yield the run that unitrack's `run` became.

        `options` are those of the backend's section, `project` is the run's. Runs with another `info.id`
        that are yielded too are passed over.
        """
        ...
