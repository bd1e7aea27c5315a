"""What ends a worker from outside: its dispatcher's end, and another process that asks for its run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from unitrack.dispatch.claim import Claim

__all__ = ["Leash", "Stopped"]

_LOOK_EVERY = 0.25
_PATIENCE = 5.0
_HANGS = 75


class Stopped(BaseException):
    """The dispatcher wants no more."""


class Leash:
    """Sleeps for the worker, and wakes it when stdin has ended or a run is asked for."""

    def __init__(self) -> None:
        self._ended = False
        self._wake = threading.Event()
        threading.Thread(target=self._read, name="unitrack-stdin", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Sleep, less if there is news. Raises Stopped once stdin has ended."""
        if seconds > 0 and self._wake.wait(seconds):
            self._wake.clear()
        if self._ended:
            raise Stopped

    def watch(self, claims: Callable[[], Iterable[Claim]]) -> None:
        """Look after those who ask for the claims from now on.

        A worker that doesn't let go in time hangs in its tracker's client: the process ends, and the claim with it.
        """
        threading.Thread(target=self._look, args=(claims,), name="unitrack-claims", daemon=True).start()

    def _read(self) -> None:
        while os.read(0, 1024):  # not through sys.stdin, whose lock would hinder the interpreter's end
            pass
        self._ended = True
        self._wake.set()

    def _look(self, claims: Callable[[], Iterable[Claim]]) -> None:
        since: dict[Claim, float] = {}
        while not self._ended:
            time.sleep(_LOOK_EVERY)
            wanted = [claim for claim in claims() if claim.held and claim.is_wanted()]
            since = {claim: since.get(claim, time.monotonic()) for claim in wanted}
            if wanted:
                self._wake.set()
            if any(time.monotonic() - asked > _PATIENCE for asked in since.values()):
                os._exit(_HANGS)
