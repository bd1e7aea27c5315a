"""The reader `neptune-parquet`: what neptune-exporter saved of Neptune before it was shut down.

`<data>/<project>/<run>_part_<n>.parquet`, one long table with a row for each value, and the files in a tree of
their own beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from unitrack.backend import FatalBackendError, Lowering
from unitrack.errors import ConfigError, UnitrackError
from unitrack.events import Capture, Event
from unitrack.foreign import Counts, ForeignInfo, ForeignRun
from unitrack.lowering import Lowerings
from unitrack.model import check_run_id, plain
from unitrack.objects import ObjectStore
from unitrack_neptune._draft import digest8
from unitrack_neptune._parquet_events import SYSTEM, Exported, step_of
from unitrack_neptune._parquet_rows import FILES, PARAMS, DamagedError, Row, counted, earliest, identity, rows

__all__ = ["NeptuneParquetReader", "NeptuneParquetRun"]

_PART = re.compile(r"(?P<run>.+)_part_(?P<number>\d+)\.parquet")
_NOT_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")


class ReaderOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the reader takes besides the folder."""

    files: str | None = None
    """The folder of the exported files; beside the data, named `files`, unless given."""
    project: str | None = None
    """Only this project: `workspace/name`."""


class NeptuneParquetReader:
    """Reads the runs of an export, parents before their forks."""

    name = "neptune-parquet"

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the runs in the folder `source`: the export's, or that of its parquet files.

        Raises ConfigError for an unknown option, FatalBackendError when there is no export.
        """
        try:
            checked = msgspec.convert(dict(options), ReaderOptions)
        except msgspec.ValidationError as error:
            known = ", ".join(ReaderOptions.__struct_fields__)
            raise ConfigError(f"neptune-parquet: {error}; the options are: {known}") from None
        found = list(_found(Path(source), checked))
        if not found:
            raise FatalBackendError(f"{source}: no <project>/<run>_part_<n>.parquet in it: is this neptune-exporter's?")
        _name(found)
        yield from _parents_first(found)


class NeptuneParquetRun:
    """One run of an export: a handle, which reads its files when it is asked."""

    def __init__(self, parts: tuple[Path, ...], numbers: tuple[int, ...], roots: tuple[Path, ...]) -> None:
        self._parts, self._numbers, self._roots = parts, numbers, roots
        self._lowerings = Lowerings()
        self.ids: Mapping[str, str] = {}
        """Ids of ours of the runs in the same project, by all of Neptune's."""
        self.id = ""

    @cached_property
    def source(self) -> tuple[str, str]:
        """Neptune's project and run id, as the first row has them. Raises DamagedError."""
        if self._numbers != tuple(range(len(self._numbers))):
            raise DamagedError(
                f"{self._parts[0].parent}: of a run there are the parts {list(self._numbers)} only, "
                f"so its export was cut off: {self._parts[0].name}"
            )
        return identity(self._parts[0])

    def is_of(self, project: str) -> bool:
        """Tell whether it is a run of the project, as far as its files can be read."""
        try:
            return self.source[0] == project
        except DamagedError:
            return True  # told when the run is asked for itself

    @cached_property
    def system(self) -> dict[str, Row]:
        """What Neptune itself kept of the run, by path."""
        _, run_id = self.source
        return {row.path: row for row in rows(self._parts, run_id, SYSTEM) if row.value is not None}

    def _value(self, *paths: str) -> Any:
        return next((self.system[path].value for path in paths if path in self.system), None)

    @property
    def names(self) -> list[str]:
        """All ids by which Neptune's other runs may name this one."""
        known = [self._value("sys/custom_run_id"), self._value("sys/id"), self.source[1]]
        return [str(one) for one in known if one]

    @property
    def parent(self) -> str | None:
        """Neptune's id of the run it was forked from."""
        found = self._value("sys/forking/parent")
        return str(found) if found else None

    @property
    def info(self) -> ForeignInfo:
        """Who it is; of a run whose files are damaged what their names say, so that the others can be read."""
        try:
            return self._info()
        except DamagedError:
            first = self._parts[0]
            stem, folder = first.name.rpartition("_part_")[0], first.parent.name
            origin, started = f"neptune-export:{folder}/{stem}", first.stat().st_mtime
            return ForeignInfo(id=_clean(stem, folder), origin=origin, project=folder, started=started)

    def _info(self) -> ForeignInfo:
        project, run_id = self.source
        groups = sorted(self._value("sys/group_tags") or [])
        ended = self._value("sys/modification_time", "sys/ping_time")
        return ForeignInfo(
            id=self.id,
            origin=f"neptune:{project}/{run_id}",
            project=project,
            started=self._started,
            name=self._value("sys/name", "sys/experiment/name", "sys/custom_run_id"),
            group=groups[0] if groups else None,
            parent=None if self.parent is None else self.ids.get(self.parent, _clean(self.parent, project)),
            tags=tuple(self._value("sys/tags") or ()),
            ended=None if ended is None else max(ended / 1000, self._started),
            status="failed" if self._value("sys/failed") else "finished",
        )

    @cached_property
    def _started(self) -> float:
        created = self._value("sys/creation_time")
        return float(earliest(self._parts) if created is None else created) / 1000

    def events(self, objects: ObjectStore) -> Iterator[Event]:
        """Yield all it holds. Files are put into `objects`."""
        project, run_id = self.source
        yield self._capture("neptune", {"project": project, "run_id": run_id, **self._system_values()})
        if self.parent is not None:
            yield self._capture("neptune-fork", self._fork())
        if len(self._value("sys/group_tags") or ()) > 1:
            self._lowerings.tell("group", "sys/group_tags", "a run has one group: the first; the capture has all")
        exported = Exported(self._roots, objects, self._started, self._lowerings)
        yield from exported.events(rows(self._parts, run_id))

    def _capture(self, name: str, values: Mapping[str, Any]) -> Capture:
        return Capture(seq=0, time=self._started, name=name, values=plain(values))

    def _system_values(self) -> dict[str, Any]:
        """Return what Neptune kept, times as epoch seconds; lists sorted, since sets have no order."""
        values: dict[str, Any] = {}
        for path, row in sorted(self.system.items()):
            value = row.value / 1000 if row.kind == "datetime" else row.value
            values[path] = sorted(value) if row.kind == "string_set" else value
        return values

    def _fork(self) -> dict[str, Any]:
        step = self._value("sys/forking/step")
        return {"parent": self.parent, "step": step if step is None else step_of(round(float(step) * 1_000_000))}

    def expected(self) -> Counts:
        """Count what the files hold by type, without the way through events."""
        _ = self.source  # a run that lacks a part is refused, not counted
        return Counts(
            params=counted(self._parts, PARAMS, without=SYSTEM),
            points=counted(self._parts, ("float_series",), without=SYSTEM, null=True),
            tags=len(set(self._value("sys/tags") or ())),
            artifacts=counted(self._parts, FILES, without=SYSTEM),
            media=counted(self._parts, ("string_series", "histogram_series", "file_series"), without=SYSTEM),
        )

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What an event can't hold of the run."""
        return self._lowerings.all


# -- finding -------------------------------------------------------------------------------------


def _found(source: Path, options: ReaderOptions) -> Iterator[NeptuneParquetRun]:
    data = source / "data" if (source / "data").is_dir() else source
    files = Path(options.files) if options.files else data.parent / "files"
    if not data.is_dir():
        raise FatalBackendError(f"{source}: no such folder")
    for project in sorted(path for path in data.iterdir() if path.is_dir()):
        for parts in _grouped(project).values():
            numbers = tuple(sorted(parts))
            run = NeptuneParquetRun(tuple(parts[number] for number in numbers), numbers, (files / project.name, files))
            if options.project is None or run.is_of(options.project):
                yield run


def _grouped(project: Path) -> dict[str, dict[int, Path]]:
    """Return the parts of each run by number."""
    runs: dict[str, dict[int, Path]] = {}
    for path in sorted(project.iterdir()):
        match = _PART.fullmatch(path.name)
        if match:
            runs.setdefault(match["run"], {})[int(match["number"])] = path
    return runs


def _name(found: list[NeptuneParquetRun]) -> None:
    """Give each run an id: Neptune's own where it can be one of ours and no other project has it too."""
    taken: set[str] = set()
    projects: dict[str, dict[str, str]] = {}
    for run in found:
        try:
            project, run_id = run.source
            run.id = _clean(run_id, project)
            if run.id in taken:
                run.id = f"{run.id[:119]}-{digest8(f'{project}/{run_id}')}"
            taken.add(run.id)
            ids = projects.setdefault(project, {})
            for name in run.names:
                ids.setdefault(name, run.id)
            run.ids = ids
        except DamagedError:
            continue  # told when the run is asked for itself


def _clean(run_id: str, project: str) -> str:
    try:
        return check_run_id(run_id)
    except UnitrackError:
        mark = hashlib.sha256(f"{project}/{run_id}".encode()).hexdigest()[:8]
        word = _NOT_AN_ID.sub("-", run_id).replace("..", ".").strip("._-")[:100]
        return f"{word or 'run'}-{mark}"


def _parents_first(found: list[NeptuneParquetRun]) -> Iterator[NeptuneParquetRun]:
    by_id = {run.id: run for run in found if run.id}
    done: set[int] = set()
    for run in found:
        chain: list[NeptuneParquetRun] = []
        here: NeptuneParquetRun | None = run
        while here is not None and id(here) not in done:
            done.add(id(here))
            chain.append(here)
            here = by_id.get(here.ids.get(here.parent or "", "")) if here.id else None
        yield from reversed(chain)
