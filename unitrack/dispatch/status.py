"""How far each backend is with each run, as the cursors say: nothing is started and nobody asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from unitrack.dispatch.source import RunSource, oldest_pending, pending
from unitrack.journal.cursor import Lowered, load_cursor

__all__ = ["BackendStatus", "backend_status"]


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One run at one backend.

    `state` is `sent` (all, its end included), `live` (all, and the run goes on), `pending` or `failed`
    (pending with an `error`). `lag` is the age in seconds of the oldest event that isn't sent,
    `updated` epoch seconds of the last change, None before the first.
    """

    run: str
    backend: str
    state: Literal["sent", "live", "pending", "failed"]
    sent: int
    pending: int
    dead: int
    lag: float | None
    error: str | None
    updated: float | None
    lowered: tuple[Lowered, ...]


def backend_status(folder: Path, backend: str, *, now: float) -> BackendStatus:
    """Look at one run and one backend. Raises OSError."""
    cursor = load_cursor(folder, backend)
    left = pending(folder, cursor)
    ending = RunSource(folder, cursor).ending()
    oldest = oldest_pending(folder, cursor) if left else None
    told = ending is not None and cursor.told == ending.status
    state: Literal["sent", "live", "pending", "failed"] = "failed" if cursor.error else "pending"
    if not left and (told or ending is None):
        state = "sent" if told else "live"
    return BackendStatus(
        run=folder.name, backend=backend, state=state, sent=cursor.sent, pending=left, dead=cursor.dead,
        lag=None if oldest is None else max(0.0, now - oldest), error=cursor.error,
        updated=cursor.updated or None, lowered=cursor.lowered,
    )  # fmt: skip
