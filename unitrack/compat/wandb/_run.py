"""A W&B run over one of unitrack's."""

from __future__ import annotations

import atexit
import glob as _glob
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from unitrack import run as core
from unitrack._run_data import outcome_of
from unitrack.compat._support import Warned, files_below, last_steps, refuse
from unitrack.compat.wandb import _artifacts
from unitrack.compat.wandb._config import Config, Summary
from unitrack.compat.wandb._data import rows_of
from unitrack.compat.wandb._metrics import Definitions

__all__ = ["Run"]

_LEVELS: dict[str, Literal["info", "warning", "error"]] = {
    "INFO": "info", "WARN": "warning", "WARNING": "warning", "ERROR": "error",
}  # fmt: skip


def _is_python(path: str) -> bool:
    return path.endswith(".py")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


class Run:
    """What `wandb.init` returns. Thread-safe, and a context manager as W&B's is."""

    def __init__(self, run: core.Run, about: Mapping[str, str | None], *, disabled: bool = False) -> None:
        self._run, self._about = run, dict(about)
        self._name, self._tags = run.name, tuple(run.spec.tags)
        self._lock = threading.RLock()
        self._warned = Warned()
        self._live: dict[str, Path] = {}
        self._kept: dict[str, tuple[int, int]] = {}
        self._metrics = Definitions(run, self._warned)
        self.disabled, self.start_time = disabled, time.time()
        self.config = Config(run.config)
        self.summary = Summary(run.summary)
        earlier = {} if disabled else last_steps(run)
        self.resumed = bool(earlier)
        self.step: int = int(max(earlier.values())) + 1 if earlier else 0
        if not disabled:
            atexit.register(self._keep_files)

    # -- who it is -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, unitrack's too."""
        return self._run.id

    @property
    def name(self) -> str:
        """The name to show; W&B makes one up, here it is the id."""
        return self._name or self.id

    @name.setter
    def name(self, value: str) -> None:
        self._run.rename(value)
        self._name = value

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags; assign to change them."""
        return self._tags

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        gone = [tag for tag in self._tags if tag not in value]
        fresh = [tag for tag in value if tag not in self._tags]
        if fresh:
            self._run.set_tags(fresh)
        if gone:
            self._run.remove_tags(gone)
        self._tags = tuple(value)

    @property
    def notes(self) -> str | None:
        """A longer description; assign to change it."""
        return self._about.get("notes")

    @notes.setter
    def notes(self, value: str) -> None:
        self._about["notes"] = value
        self._run.set_tags(notes=value)

    @property
    def project(self) -> str:
        """The project."""
        return self._run.project

    @property
    def entity(self) -> str:
        """What `init` was given; kept as a tag."""
        return self._about.get("entity") or ""

    @property
    def group(self) -> str:
        """The group, or nothing."""
        return self._run.group or ""

    @property
    def job_type(self) -> str:
        """What `init` was given; kept as a tag."""
        return self._about.get("job_type") or ""

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return "/".join(word for word in (self.entity, self.project, self.id) if word)

    @property
    def url(self) -> str:
        """The run's folder; `unitrack ui` and the trackers it is sent to have pages."""
        return self._run.path.absolute().as_uri()

    @property
    def project_url(self) -> str:
        """The store's folder."""
        return self._run.spec.store.absolute().as_uri()

    @property
    def offline(self) -> bool:
        """Always True: training talks to no server."""
        return True

    def get_url(self) -> str:
        """Return `url`."""
        return self.url

    @property
    def dir(self) -> str:
        """A folder whose files are kept with the run when it finishes."""
        folder = self._run.path / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def sweep_id(self) -> None:
        """Always None: sweeps are not unitrack's business."""

    # -- logging ---------------------------------------------------------------------------------

    def log(
        self, data: Mapping[str, Any], step: float | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Log at `step`, or at W&B's own counter; every call is in the journal when it returns.

        With `commit=False`, or a `step` and no `commit`, the counter stays: what follows is of the same step.
        Raises TypeError for what is no dict or no value that can be logged.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"wandb.log takes a dict, not {type(data).__name__}")
        if any(not isinstance(key, str) for key in data):
            raise TypeError("the names of what wandb.log logs are strings")
        rows = rows_of(data, self._warned)
        with self._lock:
            at = self.step if step is None else step
            if step is not None and step > self.step:
                self.step = int(step)
            if (step is None and commit is None) or commit:
                self.step += 1
            for row in rows:
                self._metrics.define_new(row)
                self._run.log(row, at)
                self.summary.note(row)

    def define_metric(
        self,
        name: str,
        step_metric: str | Any | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
        *,
        goal: str | None = None,
    ) -> Any:
        """Say what a metric means. A name ending in `*` holds for each metric it fits, from its first value on."""
        self._warned.ignored("wandb.define_metric", {"hidden": hidden or None})
        return self._metrics.define(name, getattr(step_metric, "name", step_metric), summary, goal)

    def alert(self, title: str, text: str, level: Any = None, wait_duration: Any = None) -> None:
        """Tell people; `wait_duration` has no effect: every alert is kept."""
        word = str(getattr(level, "value", level) or "INFO").upper()
        if word not in _LEVELS:
            raise ValueError(f"level is one of INFO, WARN, ERROR, not {level!r}")
        self._run.alert(title, text, level=_LEVELS[word])

    def watch(self, models: Any = None, *_args: Any, **_options: Any) -> None:
        """Do nothing, once with a warning: gradients and weights are not recorded."""
        self._warned.say("wandb.watch records nothing here: log the histograms you want with wandb.Histogram")

    def unwatch(self, models: Any = None) -> None:
        """Do nothing: nothing is watched."""

    def mark_preempting(self) -> None:
        """Do nothing: a run that is cut off reads as killed, and its id continues it."""

    # -- files and artifacts ---------------------------------------------------------------------

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
        glob: bool = True,
    ) -> list[str]:
        """Keep files now, and again at the end if they changed (`policy` other than `now`). Returns their paths."""
        root, pattern = Path(base_path) if base_path is not None else None, os.fspath(glob_str)
        matching = sorted(_glob.glob(pattern, recursive=True)) if glob else [pattern]
        found = [Path(path) for path in matching if os.path.isfile(path)]
        if not found:
            self._warned.say(f"wandb.save: no file matches {os.fspath(glob_str)!r}")
        for path in found:
            name = self._name_of(path, root)
            if policy != "now":
                self._live[name] = path
            self._keep(name, path)
        return [str(path) for path in found]

    def _name_of(self, path: Path, root: Path | None) -> str:
        if root is not None:
            return path.relative_to(root).as_posix()
        for base in (self._run.path / "files", Path.cwd()):
            if path.absolute().is_relative_to(base.absolute()):
                return path.absolute().relative_to(base.absolute()).as_posix()
        return path.name

    def _keep(self, name: str, path: Path) -> None:
        """Log a file unless it was logged as it is."""
        found = path.stat()
        mark = (found.st_size, found.st_mtime_ns)
        if self._kept.get(name) != mark:
            self._kept[name] = mark
            self._run.log_artifact(path, name=name, kind="file")

    def _keep_files(self) -> None:
        """Keep what is in `dir` and what was saved to be kept as it is in the end."""
        if self._run.status != "running":
            return
        for name, path in [*self._live.items(), *files_below(self._run.path / "files")]:
            if path.is_file():
                self._keep(name, path)

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
    ) -> _artifacts.Artifact:
        """Log an artifact, a file, a folder or a URI."""
        artifact = artifact_or_path
        if not isinstance(artifact, _artifacts.Artifact):
            artifact = _artifacts.wrapped(artifact, name, type, self._run)
        words = [aliases] if isinstance(aliases, str) else list(aliases or [])
        artifact._log_to(self._run, [*words, *(tags or [])])
        return artifact

    def log_model(self, path: str, name: str | None = None, aliases: list[str] | None = None) -> None:
        """Log a model's file or folder."""
        self.log_artifact(path, name=name, type="model", aliases=aliases)

    def log_code(
        self,
        root: str | None = ".",
        name: str | None = None,
        include_fn: Callable[[str], bool] = _is_python,
        exclude_fn: Callable[[str], bool] = _is_hidden,
    ) -> _artifacts.Artifact:
        """Log the files below `root` that are wanted, by default Python's, as an artifact of type `code`."""
        artifact = _artifacts.Artifact(name or f"source-{self.project.replace('/', '-')}", "code")
        for path, file in files_below(root or "."):
            if include_fn(path) and not exclude_fn(path):
                artifact.add_file(file, path)
        return self.log_artifact(artifact)

    def use_artifact(
        self, artifact_or_name: Any, type: str | None = None, aliases: Any = None, use_as: str | None = None
    ) -> Any:
        """Record that the run reads an artifact of the store, and return it for `download()`."""
        if isinstance(artifact_or_name, _artifacts.Artifact):
            artifact_or_name = artifact_or_name.name
        used = _artifacts.find(self._run, artifact_or_name)
        if type is not None and type != used.type:
            raise ValueError(f"artifact {used.name} is of type {used.type!r}, not {type!r}")
        return used

    def use_model(self, name: str) -> str:
        """Return the path of a logged model."""
        return self.use_artifact(name).download()  # type: ignore[no-any-return]  # a str

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run; an `exit_code` other than 0 means failed."""
        self._end("failed" if exit_code else "finished", f"exit code {exit_code}" if exit_code else None)

    join = finish

    def _end(self, status: core.Status, reason: str | None) -> None:
        self._keep_files()
        self._run.finish(status, reason=reason)
        atexit.unregister(self._keep_files)

    @property
    def finished(self) -> bool:
        """It has ended."""
        return self._run.status != "running"

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(*outcome_of(error))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"wandb.Run.{name}", "see docs/compat.md for what a run can do")
