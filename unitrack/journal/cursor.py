"""How far one backend has taken each journal of a run: `<run>/sync/<backend>.json`.

A cursor may be lost at any time: backends are idempotent, so sending starts over and leaves
one of everything. It is therefore replaced atomically but not synced to disk.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import FinalStatus
from unitrack.files import write_atomic
from unitrack.journal import layout

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cursor", "Lowered", "Position", "cursor_path", "cursors", "load_cursor", "save_cursor", "start_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".json"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where one journal stands: read from byte `offset` on, skip what has `seq` or less."""

    offset: int = 0
    seq: int = 0


class Lowered(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the tracker holds less than the journal, as told to the user."""

    kind: str
    name: str
    detail: str


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend has of a run. `updated` is epoch seconds, `told` the final status it was told.

    `reported` counts the lowerings that are in the report the tracker keeps.
    """

    writers: dict[str, Position] = {}
    state: dict[str, Any] = {}
    sent: int = 0
    dead: int = 0
    lowered: tuple[Lowered, ...] = ()
    reported: int = 0
    error: str | None = None
    told: FinalStatus | None = None
    updated: float = 0.0

    def position(self, writer: str) -> Position:
        """Return where `writer`'s journal stands."""
        return self.writers.get(writer, Position())

    @property
    def acked(self) -> dict[str, int]:
        """The last `seq` of each writer that is done with."""
        return {writer: position.seq for writer, position in self.writers.items()}


def cursor_path(run: Path, backend: str) -> Path:
    """Return the file of `backend`'s cursor; a name that can't be a file's raises UsageError."""
    if not _NAME.fullmatch(backend):
        raise UsageError(
            f"{backend[:80]!r} can't name a backend: use up to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return layout.sync_dir(run) / f"{backend}{_SUFFIX}"


def cursors(run: Path) -> dict[str, Cursor]:
    """Return the run's cursors by backend."""
    names = sorted(path.name[: -len(_SUFFIX)] for path in layout.sync_dir(run).glob(f"[!.]*{_SUFFIX}"))
    return {name: load_cursor(run, name) for name in names if _NAME.fullmatch(name)}


def load_cursor(run: Path, backend: str) -> Cursor:
    """Return the cursor, a new one if there is none; one that can't be read is a warning and a new one."""
    path = cursor_path(run, backend)
    try:
        cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return Cursor()
    except (OSError, ValueError) as error:
        warnings.warn(
            f"{path} can't be read ({error}): {backend} is sent the whole run again, which does no harm",
            UnitrackWarning,
            stacklevel=2,
        )
        return Cursor()
    sound = {name: p for name, p in cursor.writers.items() if p.offset >= 0 and p.seq >= 0}
    return cursor if len(sound) == len(cursor.writers) else msgspec.structs.replace(cursor, writers=sound)


def save_cursor(run: Path, backend: str, cursor: Cursor) -> None:
    """Replace the cursor's file. Raises OSError."""
    path = cursor_path(run, backend)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, msgspec.json.encode(cursor), durable=False)


def start_of(journal: Path, position: Position) -> Position:
    """Return `position` if a line of `journal` begins there, else the journal's start.

    A journal that was cut, or put in place of another, is read anew. Raises OSError.
    """
    if position.offset == 0:
        return position if journal.stat().st_size else Position()
    with journal.open("rb") as file:
        file.seek(position.offset - 1)
        return position if file.read(1) == b"\n" else Position()
