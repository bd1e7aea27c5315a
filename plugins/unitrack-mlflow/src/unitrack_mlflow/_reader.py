"""The reader `mlflow`: runs of MLflow as runs of unitrack, those that unitrack sent as they were logged.

unitrack import mlflow sqlite:///mlflow.db -o experiment=digits
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import Lowering
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.foreign import Counts, ForeignInfo
from unitrack_mlflow._errors import translated
from unitrack_mlflow._files import RunFiles
from unitrack_mlflow._history import History
from unitrack_mlflow._pieces import datasets, words
from unitrack_mlflow._undo import Names, Undone, undo

if TYPE_CHECKING:
    from unitrack.events import Event, FinalStatus
    from unitrack.objects import ObjectStore

__all__ = ["MlflowReader", "MlflowRun", "ReaderOptions"]

_PAGE = 500
_ID_TAG = "unitrack.run_id"
_HEX = re.compile(r"[0-9a-f]{32}")
_STATUS: Mapping[str, FinalStatus] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}


class ReaderOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `-o` takes."""

    experiment: str | None = None
    """Only the runs of this experiment, by its name."""
    run: str | None = None
    """Only these runs: MLflow's ids or unitrack's, with commas between."""


class MlflowReader:
    """Reads runs from a tracking URI."""

    name = "mlflow"

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[MlflowRun]:
        """Yield the active runs, parents first. Credentials come from the environment, as MLflow reads them."""
        try:
            chosen = msgspec.convert(dict(options), ReaderOptions)
        except msgspec.ValidationError as error:
            known = ", ".join(ReaderOptions.__struct_fields__)
            raise ConfigError(f"the reader mlflow: {error}; its options are: {known}") from None
        return _runs(source, chosen)

    def source_of(self, options: Mapping[str, Any], *, project: str, run: str) -> tuple[str, Mapping[str, Any]]:
        """Return where the backend put `run`."""
        import mlflow

        uri = options.get("tracking_uri") or mlflow.get_tracking_uri()
        return str(uri), {"experiment": options.get("experiment") or project, "run": run}


def _runs(source: str, options: ReaderOptions) -> Iterator[MlflowRun]:
    # unitrack tries again by itself: the client's own retries would hide a dead server for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=source)
    where = f"MLflow at {_without_credentials(source)}"
    with translated(where):
        experiments = _experiments(client, options.experiment, where)
        found = list(_found(client, list(experiments), options.run))
    ours = {run: ours for run, _, ours in found if ours}
    for run_id, parent, _ in _parents_first(found):
        with translated(where):
            run = client.get_run(run_id)
            parent_id = ours.get(parent or "") or _id_of(client, parent)
        yield MlflowRun(client, run, experiments.get(run.info.experiment_id, ""), parent_id, source)


def _experiments(client: Any, name: str | None, where: str) -> dict[str, str]:
    """Return the names of the experiments to read by their ids."""
    if name is not None:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise FatalBackendError(f"{where} has no experiment {name!r}")
        return {str(found.experiment_id): str(found.name)}
    known: dict[str, str] = {}
    token = None
    while True:
        page = client.search_experiments(max_results=_PAGE, page_token=token)
        known |= {str(each.experiment_id): str(each.name) for each in page}
        token = page.token
        if not token:
            return known


_Found = tuple[str, "str | None", "str | None"]  # MLflow's id, the parent's, unitrack's


def _found(client: Any, experiments: list[str], chosen: str | None) -> Iterator[_Found]:
    """Yield the runs to read, oldest first."""
    if chosen is None:
        yield from _search(client, experiments, "")
        return
    for word in filter(None, map(str.strip, chosen.split(","))):
        quoted = word.replace("'", "")
        # unitrack's ids first: a run that came from another MLflow has MLflow's id of there as its own.
        runs = list(_search(client, experiments, f"tags.`{_ID_TAG}` = '{quoted}'"))
        yield from runs or [_native(client, experiments, word)]


def _native(client: Any, experiments: list[str], word: str) -> _Found:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(word) if _HEX.fullmatch(word) else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.experiment_id not in experiments:
        raise FatalBackendError(f"MLflow at {_without_credentials(client.tracking_uri)} has no run {word!r} there")
    return _brief(run)


def _search(client: Any, experiments: list[str], wanted: str) -> Iterator[_Found]:
    token = None
    for start in range(0, len(experiments), _PAGE):
        while True:
            page = client.search_runs(
                experiments[start : start + _PAGE], wanted, max_results=_PAGE, page_token=token,
                order_by=["attributes.start_time ASC"],
            )  # fmt: skip
            yield from map(_brief, page)
            token = page.token
            if not token:
                break


def _brief(run: Any) -> _Found:
    tags = run.data.tags
    return run.info.run_id, tags.get("mlflow.parentRunId"), tags.get(_ID_TAG)


def _parents_first(found: list[_Found]) -> Iterator[_Found]:
    known = {each[0]: each for each in found}
    done: set[str] = set()
    for each in found:
        chain = []
        at: _Found | None = each
        while at is not None and at[0] not in done:
            done.add(at[0])
            chain.append(at)
            at = known.get(at[1] or "")
        yield from reversed(chain)


def _id_of(client: Any, parent: str | None) -> str | None:
    """Return the id that a parent which isn't read now would have."""
    from mlflow.exceptions import MlflowException

    if parent is None:
        return None
    try:
        return str(client.get_run(parent).data.tags.get(_ID_TAG) or parent)
    except MlflowException:
        return parent  # it was deleted, or is somewhere else


def _without_credentials(uri: str) -> str:
    return re.sub(r"(?<=://)[^/@\s]*@", "", uri)


class MlflowRun:
    """One run of MLflow."""

    def __init__(self, client: Any, run: Any, experiment: str, parent: str | None, source: str) -> None:
        self._client, self._run, self._experiment, self._parent = client, run, experiment, parent
        self._origin = f"{_without_credentials(source)}#{run.info.run_id}"
        self._where = f"MLflow at {_without_credentials(source)}"
        self._lowered: dict[tuple[str, str], Lowering] = {}
        self._known: Undone | None = None

    @property
    def _undone(self) -> Undone:
        if self._known is None:
            data = self._run.data
            with translated(self._where):
                self._known = undo(data.params, data.tags, self._files().text)
        return self._known

    def _files(self) -> RunFiles:
        return RunFiles(self._client, self._run, self._origin, self.lower)

    @property
    def info(self) -> ForeignInfo:
        """Who it is; runs that unitrack sent have the id they had."""
        info, undone = self._run.info, self._undone
        started = (info.start_time or 0) / 1000
        run_id = undone.ours or info.run_id
        return ForeignInfo(
            id=run_id, origin=self._origin, project=undone.project or self._experiment,
            name=None if info.run_name in (None, "", run_id) else info.run_name,
            group=undone.group, parent=self._parent, tags=tuple(undone.words), argv=undone.argv, started=started,
            ended=None if info.end_time is None else info.end_time / 1000, status=_STATUS.get(info.status),
        )  # fmt: skip

    def events(self, objects: ObjectStore) -> Iterator[Event]:
        """Yield all the run holds. Values keep MLflow's times; what has none has the run's start or end."""
        undone, info = self._undone, self._run.info
        started = (info.start_time or 0) / 1000
        ended = started if info.end_time is None else info.end_time / 1000
        with translated(self._where):
            yield from words(undone, started)
            yield from datasets(self._run.inputs, undone.digests, started)
            yield from self._history().events()
            yield from self._files().events(objects, undone, ended)

    def _history(self) -> History:
        return History(self._client, self._run, Names(self._run.data.tags))

    def expected(self) -> Counts:
        """Count what MLflow has, asked anew."""
        with translated(self._where):
            run = self._client.get_run(self._run.info.run_id)
            undone = undo(run.data.params, run.data.tags, self._files().text)
            artifacts, media = RunFiles(self._client, run, self._origin, self.lower).count(undone)
            points = History(self._client, run, Names(run.data.tags)).count()
        tags = len(undone.words) + len(undone.values)
        return Counts(params=len(run.data.params), points=points, tags=tags, artifacts=artifacts, media=media)

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What an event can't hold of it."""
        return tuple(self._lowered.values())

    def lower(self, kind: str, name: str, detail: str) -> None:
        """Take note of something that an event can't hold."""
        self._lowered.setdefault((kind, name), Lowering(kind=kind, name=name, detail=detail))
