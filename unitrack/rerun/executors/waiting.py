"""Stay with the process of a job until it ends, or has to."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unitrack.rerun.executors import Place

__all__ = ["wait_for"]

_ASK_EVERY = 0.1  # seconds


def wait_for(process: subprocess.Popen[bytes], timeout: float, place: Place) -> str | None:
    """Return None once it ended, or in words why it has to be stopped: nobody wants it, or its seconds are over."""
    ends = time.monotonic() + timeout
    while True:
        try:
            process.wait(max(0.0, min(_ASK_EVERY, ends - time.monotonic())))
        except subprocess.TimeoutExpired:
            if place.cancelled():
                return "it was stopped: its result is no longer wanted"
            if time.monotonic() >= ends:
                return f"it was stopped after {timeout:g} s, the timeout of [train]"
        else:
            return None
