"""Whose run it is: the one that is given or open, which is left open, or one of our own, which is finished."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import unitrack
from unitrack import Run, UnitrackError

__all__ = ["Loan", "log_model", "numbers"]


class Loan:
    """A run to log into. It is begun by the first look at `run`, with what `init` takes."""

    def __init__(self, run: Run | None = None, **init: Any) -> None:
        if run is not None and init:
            raise TypeError(f"give a run, or what a new one is begun with ({', '.join(init)}), not both")
        self._run, self._init, self._own = run, init, False

    @property
    def begun(self) -> bool:
        """Tell whether there is a run by now."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """Return the run: the one given, else the current one unless a new one was described, else a new one."""
        if self._run is None:
            self._run = None if self._init else _current()
        if self._run is None:
            self._own = True
            self._run = unitrack.init(**self._init)
        return self._run

    def finish(self, status: Any = "finished", reason: str | None = None) -> None:
        """Finish a run that was begun here; it is continued if there is more to log."""
        if self._run is not None and self._own:
            self._run.finish(status, reason=reason)
            self._init = {"id": self._run.id, "project": self._run.project, "resume": "allow", **_place(self._init)}
            self._run, self._own = None, False


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are numbers, also tensors and arrays of one; frameworks mix in texts."""
    scalars = {name: _scalar(value) for name, value in values.items()}
    return {name: value for name, value in scalars.items() if isinstance(value, (int, float))}


def log_model(run: Run, filename: str, save: Callable[[Path], Any], **described: Any) -> None:
    """Log as a model what `save` writes to a path of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, filename)
        save(path)
        run.log_model(path, **described)


def _scalar(value: Any) -> Any:
    count = value.numel() if callable(getattr(value, "numel", None)) else getattr(value, "size", None)
    return value.item() if count == 1 and hasattr(value, "item") else value


def _place(init: Mapping[str, Any]) -> dict[str, Any]:
    return {key: init[key] for key in ("dir", "mode", "strict") if key in init}


def _current() -> Run | None:
    try:
        return unitrack.current()
    except UnitrackError:
        return None
