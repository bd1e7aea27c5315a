"""All that is done in MLflow, through `MlflowClient` alone: no active run, no global state of MLflow's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import FatalBackendError, Rejection, RunInfo
from unitrack_mlflow._errors import translated
from unitrack_mlflow._models import Models
from unitrack_mlflow._names import to_path
from unitrack_mlflow._plan import DatasetUse, Held, Plan, Upload

if TYPE_CHECKING:
    from unitrack.events import FinalStatus

__all__ = ["Limits", "Tracker"]

_ID_TAG = "unitrack.run_id"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one `log_batch` may hold, by MLflow's own limits or less."""

    metrics: int = 1000
    params: int = 100
    tags: int = 100
    size: int = 800_000
    """Bytes of JSON, roughly; the server refuses a megabyte."""


class Tracker:
    """One run in one MLflow. Every call leaves the same trace when it is made again."""

    def __init__(
        self, uri: str | None, experiment: str | None, limits: Limits, *, register: bool | Mapping[str, str] = False
    ) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=uri)
        self._experiment = experiment
        self._limits, self._register = limits, register
        self._models: Models | None = None
        self.run_id = ""
        self.held = Held()

    @property
    def uri(self) -> str:
        """Where it goes."""
        return str(self._client.tracking_uri)

    # -- the run ---------------------------------------------------------------------------------

    def open(self, run: RunInfo) -> dict[str, str]:
        """Find the run or make it; return what tells it from any other."""
        with translated(f"MLflow at {self.uri}"):
            experiment = self._find_experiment(self._experiment or run.project)
            found = self._find_run(experiment, run.id)
            if found is None:
                found = self._create(experiment, run)
            self.run_id = found.info.run_id
            self.held = Held(params=dict(found.data.params), tags=dict(found.data.tags))
            self._complete(experiment, run)
            self._models = Models(self._client, experiment, self.run_id, register=self._register)
        return {"target": f"{self.uri}#{experiment}/{self.run_id}", "run_id": self.run_id, "experiment_id": experiment}

    def _find_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self._client.get_experiment_by_name(name)  # another worker was faster
        if experiment.lifecycle_stage != "active":
            raise FatalBackendError(
                f"the experiment {name!r} was deleted in MLflow at {self.uri}: restore it "
                f"(`mlflow experiments restore -x {experiment.experiment_id}`) or set another in [backends.mlflow]"
            )
        return str(experiment.experiment_id)

    def _find_run(self, experiment: str, run_id: str) -> Any:
        """Return the run that carries unitrack's id, the oldest if there are several."""
        found = self._client.search_runs(
            [experiment], f"tags.`{_ID_TAG}` = '{run_id}'", max_results=1, order_by=["attributes.start_time ASC"]
        )
        return found[0] if found else None

    def _create(self, experiment: str, run: RunInfo) -> Any:
        tags = {_ID_TAG: run.id, "unitrack.project": run.project, "mlflow.source.type": "LOCAL"}
        started = int(run.started * 1000)
        return self._client.create_run(experiment, start_time=started, tags=tags, run_name=run.name or run.id)

    def _complete(self, experiment: str, run: RunInfo) -> None:
        """Set what a run that stood in as a parent lacks: its name, group and own parent."""
        wanted = {"unitrack.group": run.group, "unitrack.project": run.project}
        if run.name:
            wanted["mlflow.runName"] = run.name
        if run.parent is not None:
            wanted["mlflow.parentRunId"] = self._parent(experiment, run)
        for key, value in wanted.items():
            if value is not None and self.held.tags.get(key) != value:
                self._client.set_tag(self.run_id, key, value)
                self.held.tags[key] = value

    def _parent(self, experiment: str, run: RunInfo) -> str:
        """Return MLflow's id of the parent, which stands in for itself until it is sent."""
        assert run.parent is not None
        found = self._find_run(experiment, run.parent)
        if found is None:
            parent = msgspec.structs.replace(run, id=run.parent, name=None, group=None, parent=None)
            found = self._create(experiment, parent)
        return str(found.info.run_id)

    def resume(self) -> None:
        """Let a run that had ended run again."""
        with translated(f"MLflow at {self.uri}"):
            self._client.update_run(self.run_id, status="RUNNING")

    def end(self, status: FinalStatus, ended: float | None) -> None:
        """Tell how and when the run ended."""
        with translated(f"MLflow at {self.uri}"):
            at = None if ended is None else int(ended * 1000)
            self._client.set_terminated(self.run_id, status=_STATUS[status], end_time=at)

    # -- what is logged --------------------------------------------------------------------------

    def apply(self, plan: Plan, objects: Path) -> list[Rejection]:
        """Carry out a plan; return the records whose files are not to be had. Safe to repeat."""
        with translated(f"MLflow at {self.uri}"):
            rejected = self._upload(plan, objects)
            self._log_datasets(plan.datasets)
            self._log_values(plan)
            for key in [key for key, value in plan.tags.items() if value is None]:
                self._remove_tag(key)
        if plan.resumed:
            self.resume()
        return rejected

    def _log_values(self, plan: Plan) -> None:
        from mlflow.entities import Metric, Param, RunTag

        held = self.held
        params = {key: value for key, value in plan.params.items() if key not in held.params}
        tags = {key: value for key, value in plan.tags.items() if value is not None and held.tags.get(key) != value}
        for some in _chunks(list(params.items()), self._limits.params, self._limits.size):
            self._client.log_batch(self.run_id, params=[Param(key, value) for key, value in some])
            held.params.update(some)
        for some in _chunks(list(tags.items()), self._limits.tags, self._limits.size):
            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in some])
            held.tags.update(some)
        for start in range(0, len(plan.points), self._limits.metrics):
            points = plan.points[start : start + self._limits.metrics]
            self._client.log_batch(self.run_id, metrics=[Metric(*point) for point in points])

    def _remove_tag(self, key: str) -> None:
        if key in self.held.tags:
            self._client.delete_tag(self.run_id, key)
            del self.held.tags[key]

    def _log_datasets(self, uses: Sequence[DatasetUse]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not uses:
            return
        inputs = [
            DatasetInput(
                Dataset(use.name, use.digest, use.source_type, use.source, use.schema, use.profile),
                [InputTag("mlflow.data.context", use.context)] if use.context else [],
            )
            for use in uses
        ]
        self._client.log_inputs(self.run_id, datasets=inputs)

    def probe(self) -> None:
        """Write what is there already. Raises if MLflow can't write at all."""
        from mlflow.entities import RunTag

        with translated(f"MLflow at {self.uri}"):
            self._client.log_batch(self.run_id, tags=[RunTag(_ID_TAG, self.held.tags[_ID_TAG])])

    # -- files -----------------------------------------------------------------------------------

    def _upload(self, plan: Plan, objects: Path) -> list[Rejection]:
        rejected = []
        for upload in plan.uploads:
            try:
                with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
                    self._upload_one(upload, objects, Path(scratch))
                if upload.model is not None:
                    self._log_model(upload, plan, objects)
            except _Missing as error:
                rejected.append(Rejection(record=upload.record, reason=str(error)))
                plan.tags.pop(upload.tag or "", None)
        return rejected

    def _upload_one(self, upload: Upload, objects: Path, scratch: Path) -> None:
        """Lay the file out under its own name, since MLflow takes the name from the path, and send it."""
        if upload.tree:
            self._upload_tree(upload.path, _object(objects, upload.digest), objects, scratch)
            return
        folder, _, name = upload.path.rpartition("/")
        local = scratch / name
        if upload.data is not None:
            local.write_bytes(upload.data)
        else:
            _link(_object(objects, upload.digest), local)
        self._client.log_artifact(self.run_id, str(local), folder or None)

    def _log_model(self, upload: Upload, plan: Plan, objects: Path) -> None:
        """Make a model of an artifact that was sent; its files are sent again, into the model's own place."""
        assert upload.model is not None
        assert self._models is not None

        def send(log: Callable[[str], None]) -> None:
            with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
                files = Path(scratch)
                if upload.tree:
                    _lay_tree(_object(objects, upload.digest), objects, files)
                else:
                    _link(_object(objects, upload.digest), files / upload.path.rpartition("/")[2])
                log(scratch)

        self._models.log(upload.model, plan, send)

    def keep(self, path: str, data: bytes) -> None:
        """Put a document among the run's artifacts, in place of an earlier one."""
        folder, _, name = path.rpartition("/")
        with translated(f"MLflow at {self.uri}"), tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            (Path(scratch) / name).write_bytes(data)
            self._client.log_artifact(self.run_id, str(Path(scratch) / name), folder)

    def _upload_tree(self, path: str, manifest: Path, objects: Path, scratch: Path) -> None:
        files = scratch / "files"
        files.mkdir()
        odd = _lay_tree(manifest, objects, files)
        self._client.log_artifacts(self.run_id, str(files), path)
        if odd:  # the files alone don't tell the folder's digest
            _link(manifest, scratch / f"{manifest.name}.json")
            self._client.log_artifact(self.run_id, str(scratch / f"{manifest.name}.json"), "unitrack/folders")


class _Missing(Exception):  # noqa: N818 - told as a rejection, never raised out of here
    """An object is not in the store."""


def _object(objects: Path, digest: str | None) -> Path:
    word = (digest or "").removeprefix("sha256:")
    path = objects / word[:2] / word
    if not word.isalnum() or not path.is_file():
        raise _Missing(f"the object {digest} is not in the store {objects}")
    return path


def _lay_tree(manifest: Path, objects: Path, files: Path) -> bool:
    """Lay a folder's files out; return whether they alone don't tell its digest."""
    held = json.loads(manifest.read_bytes())
    odd = bool(held.get("folders") or held.get("skipped"))
    for entry in held["files"]:
        name = to_path(entry["path"])
        odd = odd or name.mark is not None
        local = files / name.text
        local.parent.mkdir(parents=True, exist_ok=True)
        _link(_object(objects, entry["digest"]), local)
    return odd


def _link(source: Path, target: Path) -> None:
    """Name a file without copying it; every store of MLflow's reads through links."""
    target.symlink_to(source.absolute())


def _chunks(items: list[tuple[str, str]], most: int, size: int) -> Iterator[list[tuple[str, str]]]:
    """Yield runs of items within the number and the bytes of one request."""
    chunk: list[tuple[str, str]] = []
    room = size
    for item in items:
        need = 40 + sum(len(json.dumps(text)) for text in item)
        if chunk and (len(chunk) == most or need > room):
            yield chunk
            chunk, room = [], size
        chunk.append(item)
        room -= need
    if chunk:
        yield chunk
