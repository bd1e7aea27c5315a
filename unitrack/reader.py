"""Read runs back: find them in a store, and see one as its journals tell it.

    for run in unitrack.runs(project="digits", status="finished"):
        print(run.id, run.params["lr"], run.summary["val/accuracy"])

    loss = unitrack.get_run("20260102-030405-abcdef").series("loss")

A view reads at first use and keeps what it read: ask for the run again to see what came since.
"""

from __future__ import annotations

import datetime
import difflib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import msgspec

from unitrack import _frames, _merge
from unitrack._columns import RunColumns, Series
from unitrack._journals import RunState, damaged, is_run_id, merged_events, read_header, read_run
from unitrack._merge import Details, Header, MetricInfo, RunStatus, WriterView
from unitrack.errors import RunNotFoundError, UnitrackWarning, UsageError
from unitrack.events import System
from unitrack.journal import layout
from unitrack.objects import ObjectStore

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from unitrack.events import Alert, Artifact, DatasetUsed, Event, Media
    from unitrack.index import Row
    from unitrack.media.predictions import Predictions

__all__ = ["MetricInfo", "RunStatus", "RunView", "Series", "Store", "WriterView", "get_run", "open_store", "runs"]

Moment = Union[float, datetime.datetime]
Words = Union[str, Iterable[str]]


class RunView:
    """One run, all its writers merged: every event counts once, in order of time.

    What identifies a run and how it stands can always be read. What it logged raises
    JournalError if a journal is damaged before its tail, unless the view was made with
    `salvage`; `problems` tells of damage, torn tails and losses either way.
    """

    def __init__(self, path: Path, *, salvage: bool = False, header: bytes | None = None) -> None:
        self.path = path
        self.id = path.name
        self._salvage = salvage
        self._packed = header
        self._columns = RunColumns(path, salvage=salvage)

    def __repr__(self) -> str:
        return f"<RunView {self.id} {self.status}>"

    # -- reading, once ---------------------------------------------------------------------------

    @cached_property
    def _state(self) -> RunState:
        return read_run(self.path)

    @cached_property
    def _header(self) -> Header:
        if self._packed is not None:
            try:
                return msgspec.msgpack.decode(self._packed, type=Header)
            except msgspec.DecodeError:
                self._packed = None  # the index is no truth: the journals are
        return read_header(self.path, self._state)

    @property
    def _whole(self) -> Header:
        self._check()
        return self._header

    def _check(self) -> None:
        if self._header.damage and not self._salvage:
            name, _, problem = self._header.damage[0].partition(": ")
            raise damaged(layout.journal_dir(self.path) / name, problem)

    @cached_property
    def _details(self) -> Details:
        self._check()
        return _merge.details(self._state.states, self._state.writers)

    # -- who and how -----------------------------------------------------------------------------

    @property
    def project(self) -> str:
        """The project; empty if nobody wrote it down."""
        return self._header.project

    @property
    def name(self) -> str | None:
        return self._header.name

    @property
    def group(self) -> str | None:
        return self._header.group

    @property
    def parent(self) -> str | None:
        """The id of the run this one belongs to."""
        return self._header.parent

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self._header.tags)

    @property
    def tag_values(self) -> dict[str, str]:
        """Tags that carry text."""
        return self._header.tag_values

    @property
    def status(self) -> RunStatus:
        """`running`, `finished`, `failed` or `killed`, as the latest primary writer of each rank left it."""
        return self._header.status

    @property
    def reason(self) -> str | None:
        """Why the run ended as it did, if that was said."""
        return self._header.reason

    @property
    def started(self) -> float:
        """Epoch seconds."""
        return self._header.started

    @property
    def ended(self) -> float | None:
        """Epoch seconds of the last sign of life; None while it runs."""
        return self._header.ended

    @property
    def writers(self) -> tuple[WriterView, ...]:
        """Its processes, oldest first."""
        return tuple(self._header.writers)

    @property
    def lost(self) -> int:
        """Events that its writers could not write."""
        return sum(writer.lost for writer in self.writers)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is missing or odd: damage, torn last lines, losses, copies."""
        return tuple(self._header.problems)

    @property
    def damaged(self) -> bool:
        """Tell whether a journal is bad before its tail."""
        return bool(self._header.damage)

    # -- what it logged --------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Any]:
        """Parameters, nested as given; later values replaced earlier ones key by key."""
        return self._whole.params

    @property
    def summary(self) -> dict[str, Any]:
        """Values set by hand, and for every other metric what its definition asks for, else its last value."""
        return self._whole.summary

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """What each metric's values come to: count, first, last, min, max, mean, and its goal."""
        return self._whole.metrics

    @property
    def system(self) -> dict[str, MetricInfo]:
        """The same for what was recorded about the machine."""
        return self._whole.system

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return self._details.artifacts

    @property
    def datasets(self) -> tuple[DatasetUsed, ...]:
        return self._details.datasets

    @property
    def media(self) -> tuple[Media, ...]:
        return self._details.media

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return self._details.alerts

    @property
    def captures(self) -> dict[str, dict[str, Any]]:
        """What collectors found, such as `captures["git"]["commit"]`."""
        return self._details.captures

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line of the first process."""
        return self._details.argv

    def best(self, name: str) -> float | None:
        """Return the best value of a metric by its goal; None if no goal is defined. Raises UsageError."""
        return self._known(name, self.metrics).best

    def series(self, name: str) -> Series:
        """Return the points of a metric in order of time. Raises UsageError if there is none of that name."""
        points = self._columns.series(name)
        return points if points else self._columns.series(self._known(name, self.metrics).name)

    def system_series(self, name: str) -> Series:
        """Return the points of a number recorded about the machine. Raises UsageError."""
        points = self._columns.series(name, System)
        return points if points else self._columns.series(self._known(name, self.system).name, System)

    def history(self) -> list[dict[str, Any]]:
        """Return one dict for each logging call: `step`, `time` and the metrics it logged, as floats."""
        return _frames.rows(self._columns.table())

    def to_pandas(self) -> pandas.DataFrame:
        """Return `history()` as a DataFrame, NaN where a row lacks a metric. Raises UsageError without pandas."""
        return _frames.data_frame(self._columns.table())

    def to_arrow(self) -> pyarrow.Table:
        """Return `history()` as a Table, null where a row lacks a metric. Raises UsageError without pyarrow."""
        return _frames.arrow_table(self._columns.table())

    def predictions(self, name: str = "predictions") -> Predictions:
        """Return what `Run.log_predictions` kept under a name, the latest of it.

        Raises UsageError if there is none, UnitrackError if its bytes are gone, damaged or hold something else.
        """
        from unitrack.media import predictions

        wanted = predictions.artifact_name(name)
        found = [each for each in self.artifacts if each.kind == predictions.KIND and each.use == "output"]
        latest = next((each for each in reversed(found) if each.name == wanted), None)
        if latest is None or latest.digest is None:
            names = ", ".join(repr(each.name) for each in found)[:300]
            raise UsageError(f"run {self.id} has no predictions {name!r}; it has {names or 'none'}")
        objects = ObjectStore(layout.objects_dir(self.path.parents[1]))
        data = objects.read(latest.digest, largest=predictions.LARGEST)
        return predictions.unpack(data, source=f"run {self.id}, {wanted}")

    def events(self) -> Iterator[tuple[str, Event]]:
        """Yield (writer, event) for all the run logged, in order of time, a little at a time."""
        return merged_events(self.path, salvage=self._salvage)

    def _known(self, name: str, metrics: dict[str, MetricInfo]) -> MetricInfo:
        if name in metrics:
            return metrics[name]
        near = difflib.get_close_matches(name, metrics, n=1) or sorted(metrics)[:5]
        raise UsageError(f"run {self.id} has no metric {name!r}; it has {', '.join(map(repr, near)) or 'none'}")


class Store:
    """The runs in a store folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, run_id: str, *, salvage: bool = False) -> RunView:
        """Return the view of a run; its journals are read, not the index. Raises RunNotFoundError, UsageError."""
        path = layout.run_dir(self.root, run_id)
        if not layout.journals(path):
            raise RunNotFoundError(f"no run {run_id!r} in {self.root}: `unitrack runs` lists what there is")
        return RunView(path, salvage=salvage)

    def ids(self) -> list[str]:
        """Return the ids of all runs, sorted; they begin with the time, unless users chose them."""
        try:
            with os.scandir(layout.runs_dir(self.root)) as entries:
                names = sorted(entry.name for entry in entries if is_run_id(entry.name))
            return [name for name in names if os.path.isdir(layout.journal_dir(layout.run_dir(self.root, name)))]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def resolve(self, prefix: str) -> str:
        """Return the id that is `prefix` or alone begins with it. Raises RunNotFoundError, UsageError."""
        ids = self.ids()
        found = [prefix] if prefix in ids else [run_id for run_id in ids if prefix and run_id.startswith(prefix)]
        if len(found) > 1:
            shown = ", ".join(found[:5])
            raise UsageError(f"{len(found)} runs begin with {prefix!r}: {shown}{', ...' if len(found) > 5 else ''}")
        if not found:
            raise RunNotFoundError(f"no run {prefix!r} in {self.root}: `unitrack runs` lists what there is")
        return found[0]

    def rows(self, *, progress: Callable[[int, int], None] | None = None) -> list[Row]:
        """Return what the index tells of all runs, newest first; runs that changed are read again.

        `progress` is told (done, all) of the runs to read. An index that can't be used is a warning.
        """
        from unitrack.index import Index

        listing = Index(self.root).rows(progress=progress)
        if listing.problem:
            warnings.warn(
                f"the index of {self.root} can't be used ({listing.problem}): runs are read one by one, which is slow",
                UnitrackWarning,
                stacklevel=3,
            )
        return listing.rows


def get_run(run_id: str, dir: Path | str | None = None, *, salvage: bool = False) -> RunView:
    """Return the run `run_id` of the store `dir` (the configured one); `salvage` reads past damage.

    Raises RunNotFoundError, UsageError for what can't be an id.
    """
    return open_store(dir).run(run_id, salvage=salvage)


def runs(
    *,
    project: Words | None = None,
    status: Words | None = None,
    tags: Words = (),
    group: Words | None = None,
    name: Words | None = None,
    parent: Words | None = None,
    since: Moment | None = None,
    where: Callable[[RunView], bool] | None = None,
    limit: int | None = None,
    dir: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[RunView]:
    """Return the runs of a store that fit all that is asked, newest first.

    Several words for one field mean any of them, except `tags`: a run must have all. `since` is
    epoch seconds or a datetime. `where` is asked last and sees what can be read of a damaged run.
    """
    store = open_store(dir)
    asked = {"project": project, "status": status, "group": group, "name": name, "parent": parent}
    wanted = {field: _words(words) for field, words in asked.items() if words is not None}
    needed = _words(tags)
    earliest = since.timestamp() if isinstance(since, datetime.datetime) else since
    found: list[RunView] = []
    for row in store.rows(progress=progress):
        if limit is not None and len(found) >= limit:
            break
        fits = all(getattr(row, field) in words for field, words in wanted.items()) and needed <= set(row.tags)
        if not fits or (earliest is not None and row.started < earliest):
            continue
        path = layout.runs_dir(store.root) / row.id
        if where is None or where(RunView(path, salvage=True, header=row.header)):
            found.append(RunView(path, header=row.header))
    return found


def _words(words: Words) -> set[str]:
    return {words} if isinstance(words, str) else set(words)


def open_store(dir: Path | str | None = None) -> Store:
    """Return the store in the folder `dir`, or the configured one."""
    if dir is not None:
        return Store(Path(dir))
    from unitrack.config import load_settings

    return Store(load_settings().store)
