"""What MLflow's module remembers: the project that is set, and the open runs, a stack for each thread."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from unitrack.compat._support import Warned, begin, default_project, given
from unitrack.compat.mlflow.entities import Experiment, Run, RunData, RunInfo, milliseconds, run_of
from unitrack.config import load_settings
from unitrack.errors import RunNotFoundError, UsageError
from unitrack.events import FinalStatus
from unitrack.reader import open_store
from unitrack.run import Run as Written
from unitrack.session import Resume

__all__ = ["State", "state", "status_of"]

_STATUS: dict[str, FinalStatus] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}


def status_of(word: str | None) -> FinalStatus:
    """Return unitrack's word for MLflow's. Raises UsageError."""
    name = str(word or "FINISHED").upper()
    if name not in _STATUS:
        raise UsageError(f"status is FINISHED, FAILED or KILLED, not {word!r}")
    return _STATUS[name]


class State:
    """Where runs go, and which are open."""

    def __init__(self) -> None:
        self.uri: str | None = None
        self.project: str | None = None
        self.dir: str | None = None
        self.warned = Warned()
        self._open: dict[str, Written] = {}
        self._threads = threading.local()

    @property
    def stack(self) -> list[Any]:
        """The runs that this thread started and hasn't ended, innermost last."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        stack: list[Any] = self._threads.stack
        stack[:] = [run for run in stack if self._open.get(run.info.run_id) is not None]
        return stack

    def set_uri(self, uri: str | os.PathLike[str]) -> None:
        """Take `unitrack:///PATH` as the store; say of any other address where it belongs."""
        self.uri = os.fspath(uri)
        parts = urlsplit(self.uri)
        if parts.scheme == "unitrack":
            self.dir = unquote(parts.path) or None
        else:
            self.warned.say(
                f"mlflow.set_tracking_uri({self.uri!r}): runs are kept in {self.store}; to see them there too, "
                f"set tracking_uri = {self.uri!r} in [backends.mlflow] of unitrack.toml"
            )

    @property
    def store(self) -> Path:
        """The folder that runs are kept in."""
        return Path(self.dir) if self.dir is not None else load_settings().store

    def current_project(self) -> str:
        """Return the experiment that is set, else MLflow's variable, else unitrack's project."""
        return self.project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or default_project()

    def experiment(self, name: str) -> Experiment:
        """Return a project as an experiment."""
        return Experiment(experiment_id=name, name=name, artifact_location=self.store.absolute().as_uri())

    # -- runs ------------------------------------------------------------------------------------

    def begin(
        self, *, run_id: str | None = None, resume: Resume | None = None, parent: str | None = None, **options: Any
    ) -> Written:
        """Begin or continue a run."""
        run = begin(id=run_id, resume=resume, parent=parent, **given(dir=self.dir, **options))
        self._open[run.id] = run
        return run

    def written(self, run_id: str) -> Written:
        """Return the open run of that id, continuing it if this process hasn't opened it."""
        run = self._open.get(run_id)
        if run is None or run.status != "running":
            view = open_store(self.store).run(run_id)
            run = self.begin(run_id=run_id, resume="must", project=view.project)
        return run

    def end(self, run_id: str, status: FinalStatus, reason: str | None = None) -> None:
        """End a run."""
        run = self._open.pop(run_id, None)
        if run is not None:
            run.finish(status, reason=reason)

    def read(self, run_id: str) -> Run:
        """Return a run as it is now. Raises RunNotFoundError."""
        run = self._open.get(run_id)
        try:
            return run_of(open_store(run.spec.store if run is not None else self.store).run(run_id))
        except RunNotFoundError:
            if run is None:
                raise
            return _unkept(run)

    def known(self) -> list[str]:
        """Return the names of all projects in the store."""
        return sorted({row.project for row in open_store(self.store).rows()})


def _unkept(run: Written) -> Run:
    """Return what is known of a run of which nothing is kept (`mode="disabled"`)."""
    info = RunInfo(
        run_id=run.id, experiment_id=run.project, run_name=run.name or run.id, status=run.status.upper(),
        start_time=milliseconds(), end_time=None, artifact_uri=run.path.absolute().as_uri(),
    )  # fmt: skip
    return Run(info=info, data=RunData(metrics={}, params=dict(run.config), tags={}))


state = State()
