"""The background thread of a writer: it syncs, shows life, and notices a removed store."""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from typing import Protocol

__all__ = ["Keeper", "Kept"]


class Kept(Protocol):
    """What a keeper looks after."""

    def keep(self) -> None:
        """Do one round; called every `INTERVAL` seconds."""
        ...


class Keeper:
    """Call `keep()` of an object every few seconds until stopped or the object is gone.

    Seldom, because a thread that waits for the interpreter's lock makes each `write` of the
    training thread wake it, which costs several times the write.
    """

    INTERVAL = 5.0

    def __init__(self, kept: Kept) -> None:
        self._kept = weakref.ref(kept)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="unitrack-keeper", daemon=True)
        with suppress(RuntimeError):  # no thread to be had (a limit, or the interpreter leaves): events are still kept
            self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self.INTERVAL):
            kept = self._kept()
            if kept is None:
                return
            kept.keep()
            del kept

    def stop(self) -> None:
        """End the thread; a round in progress ends by itself."""
        self._stop.set()
