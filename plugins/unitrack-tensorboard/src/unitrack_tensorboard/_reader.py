"""The reader `tensorboard`: the runs of a logdir, ours as they were and others as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from unitrack.errors import ConfigError, FatalBackendError
from unitrack.foreign import ForeignRun
from unitrack_tensorboard._folder import OWN, Description

__all__ = ["Options", "TensorboardReader"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `unitrack import tensorboard` may be told."""

    project: str | None = None
    """The project of runs that don't say theirs: the logdir's name unless given."""


class TensorboardReader:
    """Reads the runs below a folder, as TensorBoard finds them: every folder that holds event files."""

    name = "tensorboard"

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the runs of the logdir `source`, ours with parents before children.

        Raises ConfigError for an option it doesn't know, FatalBackendError when there is no such folder.
        """
        try:
            checked = msgspec.convert(dict(options), Options)
        except msgspec.ValidationError as error:
            known = ", ".join(Options.__struct_fields__)
            raise ConfigError(f"the reader tensorboard: {error}; the options are: {known}") from None
        root = Path(os.path.abspath(source))
        if not root.is_dir():
            raise FatalBackendError(f"{root} is no folder: give the folder that `tensorboard --logdir` is given")
        return _runs(root, checked.project or root.name)

    def source_of(self, options: Mapping[str, Any], *, project: str, run: str) -> tuple[str, Mapping[str, Any]]:
        """Return where the backend put `run`: `unitrack copy` reads it back from there."""
        return str(options.get("logdir", "tensorboard")), {}


def _runs(root: Path, project: str) -> Iterator[ForeignRun]:
    from unitrack_tensorboard._foreign import OtherRun
    from unitrack_tensorboard._own import OwnRun

    folders = list(_folders(root))
    own = {at: told for at in folders if (told := _description(at)) is not None}
    for folder in _parents_first(own):
        yield OwnRun(folder, own[folder])
    for folder in folders:
        if folder not in own:
            yield OtherRun(folder, root, project)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders with event files, by path; what runs of ours keep beside theirs is no run."""
    for at, names, files in os.walk(root):
        ours = OWN in names and _description(Path(at)) is not None
        names[:] = sorted(name for name in names if not (ours and name == OWN))
        if any("tfevents" in file for file in files):
            yield Path(at)


def _description(folder: Path) -> Description | None:
    try:
        return msgspec.json.decode((folder / OWN / "run.json").read_bytes(), type=Description)
    except (OSError, ValueError):
        return None


def _parents_first(own: Mapping[Path, Description]) -> list[Path]:
    by_id = {told.id: folder for folder, told in own.items()}
    order: dict[Path, None] = {}

    def visit(folder: Path, seen: tuple[Path, ...]) -> None:
        parent = by_id.get(own[folder].parent or "")
        if parent is not None and parent not in (*seen, folder):
            visit(parent, (*seen, folder))
        order[folder] = None

    for folder in own:
        visit(folder, ())
    return list(order)
