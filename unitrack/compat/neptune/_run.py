"""Neptune 1.x: a run is a tree of fields, `run["path"]`; single values are parameters, series are metrics."""

from __future__ import annotations

import glob
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from unitrack import run as core
from unitrack._run_data import outcome_of
from unitrack.compat._support import Warned, files_below, last_steps, refuse
from unitrack.compat.neptune.types import File, shown

__all__ = ["Handler", "Run"]

_TAGS = ("sys/tags", "sys/group_tags")
_READ = "read runs back with unitrack.get_run(id): params, series(), artifacts"
_STAYS = "what was logged stays; set a parameter to None"
_REMEDIES = {"pop": _STAYS, "clear": "remove() the tags one by one", "delete_files": _STAYS}


class Run:
    """What `init_run` returns. Thread-safe, and a context manager."""

    def __init__(self, run: core.Run) -> None:
        self._run = run
        self._lock = threading.RLock()
        self._steps: dict[str, float] | None = None
        self._warned = Warned()
        self._failed = False

    def __getitem__(self, path: str) -> Handler:
        return Handler(self, path)

    def __setitem__(self, path: str, value: Any) -> None:
        Handler(self, path).assign(value)

    def __delitem__(self, path: str) -> None:
        raise refuse(f"del run[{path!r}]", _STAYS)

    def assign(self, value: Mapping[str, Any], *, wait: bool = False) -> None:
        """Set the fields of a dict."""
        for path, each in value.items():
            self[path] = each

    def next_step(self, path: str, step: float | None) -> float:
        """Return the step to log at: the one given, else one more than the field's last, from 0."""
        with self._lock:
            if self._steps is None:
                self._steps = last_steps(self._run)
            at = step if step is not None else self._steps.get(path, -1) + 1
            self._steps[path] = at
            return at

    # -- the run ---------------------------------------------------------------------------------

    def get_url(self) -> str:
        """Return the run's folder as a URL."""
        return self._run.path.absolute().as_uri()

    get_run_url = get_url

    def sync(self, *, wait: bool = True) -> None:
        """Make all that was logged durable; it is in the journal already."""
        self._run.flush()

    def wait(self, *, disk_only: bool = False) -> None:
        """Return at once: what was logged is in the journal."""

    def stop(self, *, seconds: float | None = None) -> None:
        """End the run."""
        self._run.finish("failed" if self._failed else "finished", timeout=seconds)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, reason = outcome_of(error)
        self._run.finish("failed" if self._failed else status, reason=reason)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"neptune.Run.{name}", _REMEDIES.get(name, _READ))


class Handler:
    """A field, or a namespace of fields, of a run."""

    def __init__(self, owner: Run, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"a field is named by a str, not {type(path).__name__}")
        self._owner, self._path = owner, path.strip("/")

    def __getitem__(self, path: str) -> Handler:
        return Handler(self._owner, f"{self._path}/{path}")

    def __setitem__(self, path: str, value: Any) -> None:
        self[path].assign(value)

    def __delitem__(self, path: str) -> None:
        raise refuse(f"del run[{self._path}/{path}]", _STAYS)

    # -- single values ---------------------------------------------------------------------------

    def assign(self, value: Any, *, wait: bool = False) -> None:
        """Set a field, or those of a dict: numbers, texts and the like are parameters, files artifacts or media."""
        if isinstance(value, File) or shown(value) is not None:
            self.upload(value)
        elif isinstance(value, Mapping) and value:
            for name, each in value.items():
                self[str(name)].assign(each)
        elif self._path.startswith("sys/"):
            self._assign_system(value)
        else:
            values: Any = value
            for name in reversed(self._path.split("/")):
                values = {name: values}
            self._owner._run.config.update(values)

    def _assign_system(self, value: Any) -> None:
        run = self._owner._run
        if self._path == "sys/name":
            run.rename(str(value))
        elif self._path in _TAGS:
            run.set_tags([value] if isinstance(value, str) else value)
        elif self._path == "sys/description":
            run.set_tags(description=str(value))
        elif self._path == "sys/failed":
            self._owner._failed = bool(value)
        else:
            raise refuse(f"run[{self._path!r}] =", "unitrack records it by itself")

    def add(self, values: str | Iterable[str], *, wait: bool = False) -> None:
        """Add tags."""
        self._need_tags("add")
        self._owner._run.set_tags([values] if isinstance(values, str) else values)

    def remove(self, values: str | Iterable[str], *, wait: bool = False) -> None:
        """Take tags off."""
        self._need_tags("remove")
        self._owner._run.remove_tags([values] if isinstance(values, str) else values)

    def _need_tags(self, call: str) -> None:
        if self._path not in _TAGS:
            raise refuse(f"run[{self._path!r}].{call}()", "only sys/tags and sys/group_tags are sets; assign a list")

    # -- series ----------------------------------------------------------------------------------

    def append(
        self, value: Any, *, step: float | None = None, timestamp: float | None = None, wait: bool = False, **_: Any
    ) -> None:
        """Log one value of a series, or of each series of a dict: a number, a text, a picture."""
        if isinstance(value, Mapping):
            for name, each in value.items():
                self[str(name)].append(each, step=step, timestamp=timestamp)
            return
        run, at = self._owner._run, self._owner.next_step(self._path, step)
        if shown(value) is not None or isinstance(value, str):
            self._untimed(timestamp)
            run.log({self._path: value if isinstance(value, str) else shown(value)}, at)
        elif isinstance(value, File):
            self._untimed(timestamp)
            self._log_file(value, at)
        elif timestamp is not None:
            run.log_at(timestamp, {self._path: value}, at)
        else:
            run.log({self._path: value}, at)

    def _untimed(self, timestamp: float | None) -> None:
        if timestamp is not None:
            self._owner._warned.say(
                f"run[{self._path!r}]: texts and files have the time of the call, not the one given"
            )

    def _log_file(self, file: File, step: float) -> None:
        run = self._owner._run
        if file.path is not None:
            run.log_file(self._path, file.path, step=step)
            return
        _with_content(file, run, lambda path: run.log_file(self._path, path, step=step))

    def extend(self, values: Any, *, steps: Any = None, timestamps: Any = None, wait: bool = False, **_: Any) -> None:
        """Log several values of a series, or of each series of a dict."""
        if isinstance(values, Mapping):
            for name, each in values.items():
                self[str(name)].extend(each, steps=steps, timestamps=timestamps)
            return
        items = list(values)
        at = list(steps) if steps is not None else [None] * len(items)
        times = list(timestamps) if timestamps is not None else [None] * len(items)
        for value, step, timestamp in zip(items, at, times, strict=True):
            self.append(value, step=step, timestamp=timestamp)

    def log(self, value: Any, step: float | None = None, timestamp: float | None = None, **_: Any) -> None:
        """Log one value or a list of them, as older code does."""
        if isinstance(value, (list, tuple)):
            for each in value:
                self.append(each, step=step, timestamp=timestamp)
        else:
            self.append(value, step=step, timestamp=timestamp)

    # -- files -----------------------------------------------------------------------------------

    def upload(self, value: Any, *, wait: bool = False) -> None:
        """Keep a file as an artifact named by the field, or show a picture, figure, frame or page."""
        run, picture = self._owner._run, shown(value)
        if picture is not None:
            run.log({self._path: picture})
            return
        file = value if isinstance(value, File) else File(value)
        if file.path is not None:
            run.log_artifact(file.path, name=_named(self._path, file.ending or file.path.suffix), kind="file")
            return
        name = _named(self._path, file.ending)
        _with_content(file, run, lambda path: run.log_artifact(path, name=name, kind="file"))

    def upload_files(self, value: str | Iterable[str], *, wait: bool = False) -> None:
        """Keep all files that fit one or several patterns as one artifact, a folder named by the field."""
        patterns = [value] if isinstance(value, (str, os.PathLike)) else list(value)
        try:
            with tempfile.TemporaryDirectory(prefix="unitrack-") as folder:
                for name, path in _matching(patterns):
                    place = Path(folder) / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(Path(path).absolute())
                self._owner._run.log_artifact(folder, name=self._path, kind="files")
        except OSError as error:  # a full disk costs the files, not the training
            self._owner._run._writer.lose(error)

    def track_files(self, path: str, *, destination: str | None = None, wait: bool = False) -> None:
        """Name data by where it is: hashed if it is local, not copied."""
        self._owner._run.log_dataset(path.removeprefix("file://"), name=self._path)

    # -- reading ---------------------------------------------------------------------------------

    def fetch(self) -> Any:
        """Return `sys/id`, `sys/name` or `sys/custom_run_id`; all else is read from the run's view."""
        run = self._owner._run
        known = {"sys/id": run.id, "sys/custom_run_id": run.id, "sys/name": run.name or run.id}
        if self._path in known:
            return known[self._path]
        raise refuse(f"run[{self._path!r}].fetch()", _READ)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"run[{self._path!r}].{name}", _REMEDIES.get(name, _READ))


def _named(path: str, ending: str) -> str:
    """Return a field's path with the file's ending, unless it has one."""
    ending = ending.removeprefix(".")
    return path if not ending or path.endswith(f".{ending}") else f"{path}.{ending}"


def _with_content(file: File, run: core.Run, use: Callable[[Path], object]) -> None:
    """Call `use` with a path that holds a file's content; a full disk costs the file, not the training."""
    try:
        with tempfile.TemporaryDirectory(prefix="unitrack-") as folder:
            path = Path(folder) / _named("content", file.ending)
            path.write_bytes(file.data or b"")
            use(path)
    except OSError as error:
        run._writer.lose(error)


def _matching(patterns: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, path) of the files that fit, named from the folder training runs in."""
    for pattern in patterns:
        for path in sorted(glob.glob(os.fspath(pattern), recursive=True)):
            if os.path.isfile(path):
                inside = os.path.relpath(path)
                yield os.path.basename(path) if inside.startswith("..") else inside, path
            elif os.path.isdir(path):
                for name, file in files_below(path):
                    yield f"{os.path.basename(path.rstrip('/'))}/{name}", str(file)
