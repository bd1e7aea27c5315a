"""What the second names share: how they refuse, how they warn, and how they begin runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unitrack import events, session
from unitrack.config import load_settings
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.journal import layout
from unitrack.model import new_run_id
from unitrack.reader import get_run
from unitrack.run import Run

__all__ = [
    "Namespace", "UnsupportedError", "Warned", "begin", "default_project", "files_below", "given", "last_steps",
    "refuse", "refusing",
]  # fmt: skip


class UnsupportedError(UsageError, AttributeError):
    """A call or attribute of a tracker's client that unitrack doesn't stand in for.

    It is an AttributeError too, so `hasattr` and `getattr` with a default say that it isn't there.
    """


def refuse(name: str, remedy: str) -> UnsupportedError:
    """Return the error for the call `name` (`wandb.sweep`), with what to do instead."""
    return UnsupportedError(f"unitrack.compat has no {name}: {remedy}")


def refusing(module: str, table: Mapping[str, str], remedy: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__`: every name it hasn't got is refused, those of `table` with their own remedy."""

    def missing(name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(f"module has no attribute {name!r}")
        raise refuse(f"{module}.{name}", table.get(name, remedy))

    return missing


class Namespace:
    """A part of a client's module, `wandb.plot` say: what it holds, and refusals for all else."""

    def __init__(self, name: str, remedy: str, **members: Any) -> None:
        self._name, self._remedy = name, remedy
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise refuse(f"{self._name}.{name}", self._remedy)


class Warned:
    """Says each thing once: one of these belongs to each run or module."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Warn, unless the same was said before."""
        if message not in self._said:
            self._said.add(message)
            warnings.warn(message, UnitrackWarning, stacklevel=4)

    def ignored(self, call: str, options: Mapping[str, Any]) -> None:
        """Warn of options that have no effect here; None and False ask for nothing."""
        names = sorted(name for name, value in options.items() if value is not None and value is not False)
        if names:
            self.say(f"{call} takes no notice of {', '.join(names)}: see docs/compat.md for what it does")


def given(**options: Any) -> dict[str, Any]:
    """Return the options that aren't None."""
    return {name: value for name, value in options.items() if value is not None}


def begin(
    *, id: str | None = None, parent: str | None = None, resume: session.Resume | None = None, **options: Any
) -> Run:
    """Begin a run as `unitrack.init` does, but not as a part of the one that happens to be open."""
    if id is None and parent is None and not _is_open():  # the launcher's id, if there is one, is for all ranks
        return session.init(resume=resume, **options)
    run_id = id or new_run_id()
    # A run named as its own parent has none.
    parent = parent or os.environ.get("UNITRACK_PARENT") or run_id
    return session.init(id=run_id, parent=parent, resume=resume, **options)


def _is_open() -> bool:
    try:
        session.current()
    except UsageError:
        return False
    return True


def default_project() -> str:
    """Return the project that the settings give."""
    return session._project(load_settings())


def files_below(folder: str | os.PathLike[str]) -> Iterator[tuple[str, Path]]:
    """Yield (path with `/`, file) of all files of a folder, links followed, in order."""
    root = Path(folder)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path


def last_steps(run: Run) -> dict[str, float]:
    """Return the highest step of each metric and media that a continued run logged before."""
    found: dict[str, float] = {}
    if len(layout.journals(run.path)) < 2:
        return found
    for _, event in get_run(run.id, dir=run.spec.store, salvage=True).events():
        step = getattr(event, "step", None)
        if isinstance(step, (int, float)):
            names = event.values if isinstance(event, events.Metrics) else [getattr(event, "name", "")]
            found |= {name: max(step, found.get(name, step)) for name in names}
    return found
