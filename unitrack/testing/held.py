"""What a test tells the kit of a tracker: where runs go, and what is found there, read past the plugin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from unitrack.backend import BackendFactory

__all__ = ["HeldRun", "Point", "Target"]

Point = tuple["float | None", float]
"""Step and value of a metric as a tracker holds it."""


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run as the tracker holds it.

    Names are the run's own: the test undoes the plugin's name map. `status` is None while the run goes on. `metrics`
    are in order of step, then time. `params` are named by their path, joined by `/`, with the values that the tracker
    gives. A tag that carries text is `name=text`, or `tags` is a mapping of name to text. `files` are artifacts and
    media by path, the files of a folder below its name; the report of what was lowered is one of them, if the backend
    keeps it. `parent` is unitrack's id of the parent.
    """

    status: str | None
    params: Mapping[str, Any]
    metrics: Mapping[str, Sequence[tuple[float | None, float]]]
    tags: Collection[str] = ()
    files: Mapping[str, bytes] = {}
    datasets: Collection[str] = ()
    """Names."""
    parent: str | None = None


class Target(Protocol):
    """A fresh, empty place in a tracker.

    It may also have `client_modules`, the names of what must not be imported before `open` (without it: every
    package beyond the plugin's own and unitrack's), and `secrets`, environment variables with credentials for this
    place, which the kit sets and then looks for where they must not be.
    """

    @property
    def factory(self) -> BackendFactory:
        """What makes the backend."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """The section `[backends.NAME]`."""
        ...

    def held(self, run_id: str) -> Sequence[HeldRun]:
        """Return every run in the tracker that stands for `run_id`: with the tracker's own client, files, SQL."""
        ...
