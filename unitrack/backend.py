"""What a backend is: the contract between unitrack and a tracker.

A backend is driven by one worker process and one thread, so it needs no locks. It imports
its client in `open`, never at import. Its calls raise `RetryableError` for what may pass
(the worker waits and calls again with the same records) and `FatalBackendError` for what
won't; any other exception counts as retryable until the worker gives the record up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from unitrack.errors import FatalBackendError, RetryableError
from unitrack.events import Event, FinalStatus

__all__ = [
    "Backend",
    "BackendFactory",
    "Capabilities",
    "ExportResult",
    "FatalBackendError",
    "KeepsReport",
    "Lowering",
    "Record",
    "Rejection",
    "RetryableError",
    "RunInfo",
]


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The run a backend is opened for. `started` is epoch seconds; `folder` is the run's own, `objects` its store's.

    `state` is what the backend returned as `state` from its last `open`: its own id of the run, say.
    """

    id: str
    project: str
    name: str | None
    group: str | None
    parent: str | None
    tags: tuple[str, ...]
    started: float
    folder: Path
    objects: Path
    state: Mapping[str, Any] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its writer: (run id, writer, event.seq) is its identity."""

    writer: str
    event: Event
    rank: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells this record from all others of its run."""
        return self.writer, self.event.seq


class Lowering(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the tracker holds less than the journal: told to the user once per `kind` and `name`.

    `kind` is a short stable word (`name`, `step`, `non-finite`, `param-length` ...), `name` what it
    happened to, `detail` how it was mapped.
    """

    kind: str
    name: str
    detail: str


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A record the tracker will never take, with the reason: it goes to the dead letters."""

    record: Record
    reason: str


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the records of one `export`.

    `acked` counts the leading records that are done with, durable in the tracker or rejected:
    they are never offered again. The rest is offered again.
    """

    acked: int
    rejected: tuple[Rejection, ...] = ()
    lowered: tuple[Lowering, ...] = ()


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracker can hold; the conformance kit skips what is declared absent."""

    artifacts: bool = False
    media: bool = False
    datasets: bool = False
    nested_runs: bool = False
    non_finite: bool = False
    fractional_steps: bool = False
    batch: int = 1000
    """Records worth offering at once."""


@runtime_checkable
class Backend(Protocol):
    """A tracker behind the neutral model. One object serves one run at a time, several one after another."""

    capabilities: Capabilities

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Make or find the run in the tracker; return the state to be handed in next time.

        `acked` maps each writer to the last `seq` that is done with. Opening the same run
        again, even after a kill before the state was kept, must find the same run.

        The state may hold `target`, a text that tells this place for this run from every other.
        When it changes, the tracker can't have what was acked: the worker opens again with
        `acked` empty and sends the whole run.
        """
        ...

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Send records, in order; the same record may come again after a kill and must leave one trace."""
        ...

    def flush(self, timeout: float) -> None:
        """Return when all that was exported is durable in the tracker; RetryableError after `timeout` seconds."""
        ...

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Let go of the run; tell the tracker its end if it has one (None: it goes on)."""
        ...


@runtime_checkable
class KeepsReport(Protocol):
    """A backend whose tracker can keep a document: it is given the report of what was lowered, before `close`."""

    def keep_report(self, report: bytes) -> None:
        """Put the report (JSON, see `unitrack.lowering.report`) with the run, in place of an earlier one."""
        ...


@runtime_checkable
class BackendFactory(Protocol):
    """Makes a backend from its section of the configuration; imports no client."""

    name: str

    def create(self, options: Mapping[str, Any]) -> Backend:
        """Return a backend; raise ConfigError naming the option that is wrong."""
        ...
