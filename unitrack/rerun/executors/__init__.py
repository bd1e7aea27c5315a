"""What runs a job: the interface of executors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from unitrack.rerun.job import Job

__all__ = ["Executor", "Exit", "Place", "never"]


def never() -> bool:
    """Say no: nobody cancels this job."""
    return False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job runs: its checkout, the project's folder in it, the store and run it logs into, its output.

    `inputs` are files and folders outside of the checkout that the job reads, by absolute path; links in the
    checkout lead there. `cancelled` is to be asked a few times a second: a job that is no longer wanted has to
    end soon, with a problem.
    """

    checkout: Path
    folder: Path
    store: Path
    run: str
    log: Path
    inputs: tuple[Path, ...] = ()
    cancelled: Callable[[], bool] = never


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How the command ended. `code` is negative for a signal, None if it was not started or was stopped.

    `image` is the digest of the image it ran in, None where there is none; `hardware` the class of the machine that it
    ran on (`unitrack.rerun.hardware`), which an executor over several machines knows for each job alone.
    """

    code: int | None
    seconds: float
    problem: str | None = None
    image: str | None = None
    hardware: str | None = None


class Executor(Protocol):
    """Runs jobs, each call one, also several at a time from threads of their own.

    Whether a run is evidence is judged by the caller, alike for all executors.
    """

    name: str

    def fingerprint(self) -> str:
        """Return what tells this place to train from another: software and machine. Raises EvidenceError."""
        ...

    def run(self, job: Job, place: Place) -> Exit:
        """Run the command to its end or its time limit and leave no process behind, also when interrupted."""
        ...
