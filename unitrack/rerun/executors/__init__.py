"""What runs a job: the interface of executors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from unitrack.rerun.job import Job

__all__ = ["Executor", "Exit", "Place"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job runs: its checkout, the project's folder in it, the store and run it logs into, its output."""

    checkout: Path
    folder: Path
    store: Path
    run: str
    log: Path


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How the command ended. `code` is negative for a signal, None if it was not started or was stopped."""

    code: int | None
    seconds: float
    problem: str | None = None


class Executor(Protocol):
    """Runs jobs one at a time. Whether a run is evidence is judged by the caller, alike for all executors."""

    name: str

    def fingerprint(self) -> str:
        """Return what tells this place to train from another: software and machine. Raises EvidenceError."""
        ...

    def run(self, job: Job, place: Place) -> Exit:
        """Run the command to its end or its time limit and leave no process behind, also when interrupted."""
        ...
