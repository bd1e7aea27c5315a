"""A journal that keeps nothing, for runs that are disabled: wrong use still raises."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unitrack.errors import UsageError
from unitrack.events import FinalStatus, Known
from unitrack.journal.codec import encode_line
from unitrack.journal.writer import LogFunction

__all__ = ["NullWriter"]


class NullWriter:
    """Stand where a `JournalWriter` would and write nothing."""

    id = "disabled"
    lost = 0
    seq = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False

    def metrics_logger(self, fallback: LogFunction) -> LogFunction:
        return fallback

    def append(self, event: Callable[..., Known | None], /, *args: Any, **fields: Any) -> None:
        """Check what would be written."""
        if self.closed:
            raise UsageError("the run has finished in this process: log before finish(), or init() anew")
        made = event(self.seq + 1, time.time(), *args, **fields)
        if made is not None:
            encode_line(made)

    def lose(self, error: BaseException) -> None:
        """Nothing is kept, so nothing is lost."""

    def sync(self) -> None:
        """Nothing is kept, so nothing is pending."""

    def seal(self, status: FinalStatus, *, reason: str | None = None, timeout: float = 30.0) -> bool:
        self.closed = True
        return True
