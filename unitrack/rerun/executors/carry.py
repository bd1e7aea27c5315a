"""Carry a run out of a store that untrusted code wrote, file by file, into the store that counts.

A job sees a store of its own. Nothing of it is believed: links and special files are refused, and an object
counts only under the SHA-256 of its bytes.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from unitrack.errors import UnitrackError
from unitrack.journal import layout
from unitrack.objects import ObjectStore

__all__ = ["carry_run"]

_NOTHING_LOGGED = "it logged no run: the training has to call unitrack.init(), without an id of its own"


def carry_run(source: Path, target: Path, run: str) -> str | None:
    """Move the run and its objects from one store to another; return a problem in words, or None.

    The run appears last and at once: a reader finds all of it or nothing.
    """
    folder = layout.run_dir(source, run)
    if not folder.is_dir() or folder.is_symlink():
        return _NOTHING_LOGGED
    for root in (folder, layout.objects_dir(source)):
        strange = _first_strange(root)
        if strange is not None:
            return f"its store holds {strange.relative_to(source)}, which is neither a file nor a folder"
    try:
        _carry_objects(layout.objects_dir(source), target)
    except (OSError, UnitrackError) as error:
        return f"its artifacts can't be kept: {error}"
    destination = layout.run_dir(target, run)
    destination.parent.mkdir(parents=True, exist_ok=True)
    beside = destination.with_name(f".{destination.name}.carried")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(folder, beside)
    os.rename(beside, destination)
    return None


def _carry_objects(source: Path, target: Path) -> None:
    """Put each object by its content: a wrong name gives it no wrong content."""
    store = ObjectStore(layout.objects_dir(target), durable=False)
    for at, _, names in os.walk(source):
        for name in names:
            if not name.startswith("."):
                store.put_file(Path(at, name))


def _first_strange(root: Path) -> Path | None:
    for at, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(at, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                return path
    return None
