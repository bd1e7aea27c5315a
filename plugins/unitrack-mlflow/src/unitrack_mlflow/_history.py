"""The points of a run's metrics out of MLflow, in order of time and a page of each metric at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import nextafter
from typing import Any, NamedTuple

from unitrack.events import Metrics, Summary, System
from unitrack_mlflow._undo import Names, number

__all__ = ["History", "seconds"]

_LARGEST_PAGE = 25_000  # what a server gives at once
_SMALLEST_PAGE = 200
_IN_MEMORY = 100_000


class _Point(NamedTuple):
    """A value with what it is merged by; no two metrics have the same `place`."""

    timestamp: int
    step: int
    kind: str
    place: int
    name: str
    value: float


class History:
    """All metrics of one run."""

    def __init__(self, client: Any, run: Any, names: Names) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._keys = sorted(run.data.metrics)
        self._names = names

    def events(self) -> Iterator[Metrics | System | Summary]:
        """Yield what was logged, values of the same time and step together."""
        page = max(_SMALLEST_PAGE, min(_LARGEST_PAGE, _IN_MEMORY // max(1, len(self._keys))))
        streams = [self._points(place, key, page) for place, key in enumerate(self._keys)]
        group: dict[str, float] = {}
        at: tuple[int, int, str] | None = None
        for point in heapq.merge(*streams):
            now = point[:3]
            if at is not None and (now != at or point.name in group):
                yield _event(at, group)
                group = {}
            at = now
            group[point.name] = point.value
        if at is not None:
            yield _event(at, group)

    def count(self) -> int:
        """Return how many values of metrics there are, those of the machine and the summary left out."""
        counted = [key for key in self._keys if self._names.metric(key).kind == "metric"]
        return sum(1 for key in counted for _ in self._rows(key, _LARGEST_PAGE))

    def _points(self, place: int, key: str, page: int) -> Iterator[_Point]:
        kind, name = self._names.metric(key)
        for row in self._rows(key, page):
            # The step of what is about the machine is its time, and a summary has none.
            step = row.step if kind == "metric" else 0
            yield _Point(row.timestamp, step, kind, place, name, number(row.value))

    def _rows(self, key: str, page: int) -> Iterator[Any]:
        # The client's public call holds a whole history in memory.
        store = self._client._tracking_client.store
        token = None
        while True:
            rows = store.get_metric_history(self._run_id, key, max_results=page, page_token=token)
            yield from rows
            token = rows.token
            if not token:
                return


def _event(at: tuple[int, int, str], group: dict[str, float]) -> Metrics | System | Summary:
    timestamp, step, kind = at
    time = seconds(timestamp)
    if kind == "metric":
        return Metrics(seq=0, time=time, values=dict(group), step=step)
    if kind == "system":
        return System(seq=0, time=time, values=dict(group))
    return Summary(seq=0, time=time, values=_summary(group))


def _summary(group: dict[str, float]) -> dict[str, Any]:
    from unitrack.model import plain

    return {name: plain(value) for name, value in group.items()}


def seconds(milliseconds: int) -> float:
    """Return a time that comes to the same millisecond when it is sent back."""
    time = milliseconds / 1000
    return time if int(time * 1000) >= milliseconds else nextafter(time, float("inf"))
