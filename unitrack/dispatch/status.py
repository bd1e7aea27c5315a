"""How far each backend is with each run, as the cursors say: nothing is started and nobody asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from unitrack.dispatch.source import RunSource, oldest_pending, pending
from unitrack.journal.cursor import Lowered, load_cursor

__all__ = ["BackendStatus", "BackendSummary", "backend_status", "last_words", "summaries"]


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


class BackendSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All runs at one backend: how many are in which state, and the sums. `lag` is the longest, `error` the last."""

    backend: str
    runs: int
    sent: int
    live: int
    pending: int
    failed: int
    events_sent: int
    events_pending: int
    dead: int
    lowered: int
    lag: float | None
    error: str | None


def summaries(found: Iterable[BackendStatus]) -> list[BackendSummary]:
    """Put the runs of each backend together, the backends in the order in which they come."""
    by_backend: dict[str, list[BackendStatus]] = {}
    for one in found:
        by_backend.setdefault(one.backend, []).append(one)
    return [_summary(backend, many) for backend, many in by_backend.items()]


def _summary(backend: str, many: list[BackendStatus]) -> BackendSummary:
    states = Counter(one.state for one in many)
    errors = [one for one in many if one.error is not None]
    return BackendSummary(
        backend=backend, runs=len(many),
        sent=states["sent"], live=states["live"], pending=states["pending"], failed=states["failed"],
        events_sent=sum(one.sent for one in many), events_pending=sum(one.pending for one in many),
        dead=sum(one.dead for one in many), lowered=sum(len(one.lowered) for one in many),
        lag=max((one.lag for one in many if one.lag is not None), default=None),
        error=max(errors, key=lambda one: one.updated or 0.0).error if errors else None,
    )  # fmt: skip


def last_words(folder: Path, backend: str, *, waited: bool) -> str | None:
    """Return one line about a run that has ended: what was lowered, what is pending, and how to see or send it.

    None if there is nothing to say; what is merely on its way is worth a word only if it was `waited` for.
    Raises OSError.
    """
    cursor = load_cursor(folder, backend)
    left = pending(folder, cursor)
    kinds = Counter(one.kind for one in cursor.lowered)
    said = [f"lowered {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"] if kinds else []
    if cursor.dead:
        said.append(f"{cursor.dead} events refused")
    if left and (waited or cursor.error):
        said.append(f"{left} events pending{f' ({cursor.error[:200]})' if cursor.error else ''}")
    if not said:
        return None
    command = "unitrack sync" if left and (waited or cursor.error) else "unitrack sync --status"
    return f"{backend}: {'; '.join(said)}: {command} {folder.name}"
