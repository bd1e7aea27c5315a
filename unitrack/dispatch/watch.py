"""Which runs of a store may have something to send: thousands of them, asked twice a second."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from unitrack.dispatch.source import RunSource, is_done
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor

__all__ = ["Signature", "StoreWatch", "signature"]

Signature = tuple[tuple[str, int], ...]

_COARSE = 2.0  # file systems round times: a folder that changed this lately may change again unseen
_LOOK_AGAIN = 60.0
_MAY_HAVE_ENDED = 5.0


def signature(folder: Path) -> Signature:
    """Return the names and sizes of a run's journals: what changes when there is news."""
    return tuple((path.name, path.stat().st_size) for path in layout.journals(folder))


class _Settled:
    """A run with nothing to send when it was last looked at. `goes_on`: its writers may still append."""

    __slots__ = ("changed", "goes_on", "looked", "signature")

    def __init__(self, found: Signature, changed: float, looked: float, *, goes_on: bool) -> None:
        self.signature, self.changed, self.looked, self.goes_on = found, changed, looked, goes_on


class StoreWatch:
    """Remembers for one backend what is settled: a few hundred bytes and one `stat` a look for each such run."""

    def __init__(self, store: Path, backend: str, clock: Callable[[], float]) -> None:
        self._runs, self._backend, self._clock = layout.runs_dir(store), backend, clock
        self._settled: dict[str, _Settled] = {}
        self._not_before: dict[str, float] = {}
        self._known: frozenset[str] = frozenset()

    def candidates(self) -> Iterator[tuple[Path, bool]]:
        """Yield the folders of runs to look into, and whether a run has come since the last look: these come first."""
        try:
            names = sorted(os.listdir(self._runs))  # by age, so that parents come before children
        except FileNotFoundError:
            return
        before, self._known = self._known, frozenset(names)
        for fresh in (True, False):
            for name in names:
                if (name not in before) == fresh and self._has_news(folder := self._runs / name):
                    yield folder, fresh and bool(before)

    def settle(self, folder: Path, *, goes_on: bool = False) -> None:
        """Take note that there is nothing to do for the run until it changes."""
        self._settled[folder.name] = _Settled(signature(folder), _changed(folder), self._clock(), goes_on=goes_on)

    def later(self, folder: Path, seconds: float) -> None:
        """Leave the run alone for a while."""
        self._not_before[folder.name] = self._clock() + seconds

    def _has_news(self, folder: Path) -> bool:
        if self._not_before.get(folder.name, 0.0) > self._clock():
            return False
        self._not_before.pop(folder.name, None)
        settled = self._settled.get(folder.name)
        if settled is not None:
            return self._has_changed(folder, settled)
        if is_done(folder, load_cursor(folder, self._backend)):
            self.settle(folder)
            return False
        return bool(layout.journals(folder))

    def _has_changed(self, folder: Path, settled: _Settled) -> bool:
        now = self._clock()
        rested = settled.changed == _changed(folder) and now - settled.changed > _COARSE
        due = now - settled.looked > (_MAY_HAVE_ENDED if settled.goes_on else _LOOK_AGAIN)
        if rested and not settled.goes_on and not due:
            return False
        if signature(folder) != settled.signature:
            return True
        if due and settled.goes_on and RunSource(folder, load_cursor(folder, self._backend)).ending() is not None:
            return True
        if due or not settled.goes_on:
            settled.looked, settled.changed = now if due else settled.looked, _changed(folder)
        return False


def _changed(folder: Path) -> float:
    """Return when a journal was last added to the run or removed, 0 for a folder without journals."""
    try:
        return layout.journal_dir(folder).stat().st_mtime
    except FileNotFoundError:
        return 0.0
