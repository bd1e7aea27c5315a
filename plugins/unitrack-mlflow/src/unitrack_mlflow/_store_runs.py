"""The runs of one store that this process writes, shared by MLflow's tracking store and its artifact repositories."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

import unitrack
from unitrack.config import load_settings
from unitrack.errors import RunExistsError, RunNotFoundError, UsageError
from unitrack.model import new_run_id
from unitrack.reader import open_store
from unitrack.session import attach

__all__ = ["MODELS", "RUN", "Place", "Writers", "parse", "root_of", "writers"]

RUN = "mlflow"
"""The capture that holds what MLflow knows of a run and unitrack has no field for."""
MODELS = "mlflow.models"
"""The capture that holds MLflow's logged models by their id."""


class Place:
    """A run's or logged model's artifacts: the run, the model if it is one, and a path inside."""

    def __init__(self, root: Path, run_id: str, model_id: str | None, prefix: str) -> None:
        self.root, self.run_id, self.model_id, self.prefix = root, run_id, model_id, prefix


def parse(artifact_uri: str) -> Place:
    """Return what `unitrack:///STORE/runs/RUN/artifacts/...` or `.../models/MODEL/NAME/...` names."""
    path = unquote(urlsplit(artifact_uri).path)
    root, found, rest = path.rpartition("/runs/")
    run_id, _, rest = rest.partition("/")
    kind, _, inside = rest.partition("/")
    if not found or kind not in ("artifacts", "models"):
        raise MlflowException.invalid_parameter_value(f"{artifact_uri!r} names no artifacts of a unitrack store")
    if kind == "artifacts":
        return Place(Path(root), run_id, None, inside.strip("/"))
    model_id, _, inside = inside.partition("/")
    return Place(Path(root), run_id, model_id, inside.strip("/"))


class Writers:
    """The open runs of a store. Thread-safe; any number at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._open: dict[str, unitrack.Run] = {}
        self._earlier: dict[str, dict[str, Any]] = {}  # params of runs that were taken up after their end

    @property
    def uri(self) -> str:
        """The store as MLflow names it."""
        return f"unitrack://{quote(str(self.root))}"

    def begin(self, project: str, name: str, parent: str | None, about: Mapping[str, Any]) -> unitrack.Run:
        """Begin a run. It is nobody's part unless `parent` says so."""
        run_id = new_run_id()
        run = unitrack.init(project, id=run_id, name=name, parent=parent or run_id, dir=self.root)
        run.capture(RUN, about)
        with self._lock:
            self._open[run.id] = run
        return run

    def run(self, run_id: str) -> unitrack.Run:
        """Return the run to log into. One that has ended, or that another process writes, gets a further writer."""
        with self._lock:
            run = self._open.get(run_id)
            if run is None or run.status != "running":
                self._earlier[run_id] = dict(self.view(run_id).params)
                run = self._open[run_id] = attach(str(self.root), run_id)
            return run

    def params(self, run_id: str) -> dict[str, Any]:
        """Return the params of a run that is written."""
        with self._lock:
            return {**self._earlier.get(run_id, {}), **self.run(run_id).config}

    def resume(self, run_id: str) -> unitrack.Run:
        """Let a run that had ended run again."""
        with self._lock:
            along = self._open.get(run_id)
            if along is not None and along.status == "running" and not along.is_worker:
                return along
            view = self.view(run_id)
            try:
                run = unitrack.init(view.project, id=run_id, parent=view.parent or run_id, resume="must", dir=self.root)
            except RunExistsError:
                return self.run(run_id)  # another process has it open: write along
            if along is not None:
                along.finish()  # it wrote what came after the end, and would stay the current run
            self._open[run_id] = run
            return run

    def open_ids(self) -> list[str]:
        """Return the ids of the runs this process writes, newest first."""
        with self._lock:
            return list(reversed(self._open))

    def end(self, run_id: str, status: str) -> None:
        """End a run; one that this process doesn't write is taken up for it."""
        words = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
        with self._lock:
            run = self._open.get(run_id)
            if run is None or run.status != "running" or run.is_worker:
                run = self.resume(run_id)
            run.finish(words[status])  # type: ignore[arg-type]  # one of the three
            self._open.pop(run_id, None)

    def view(self, run_id: str) -> unitrack.RunView:
        """Return a run as it is now. Raises MlflowException if there is none."""
        run = self._open.get(run_id)
        root = run.spec.store if run is not None else self.root
        try:
            return open_store(root).run(run_id)
        except (RunNotFoundError, UsageError) as error:
            raise MlflowException(f"Run '{run_id}' not found: {error}", RESOURCE_DOES_NOT_EXIST) from None


@functools.cache
def writers(root: Path) -> Writers:
    """Return the writers of a store: one for each store and process, since MLflow makes the rest anew."""
    return Writers(root)


def root_of(store_uri: str) -> Path:
    """Return the folder of `unitrack:` (the configured store) or `unitrack:///path`."""
    parts = urlsplit(store_uri)
    if parts.netloc:
        raise MlflowException.invalid_parameter_value(
            f"{store_uri!r} names a host: a store is a folder, unitrack:///path/to/store"
        )
    return (Path(unquote(parts.path)) if parts.path else load_settings().store).absolute()
