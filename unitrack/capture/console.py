r"""Keep what the process prints, at the level of Python: `write` of `sys.stdout` and `sys.stderr` is tapped.

The streams stay the objects they are, so `isatty`, `fileno`, and logging handlers made before
go on as they were. What C code, a child process or `sys.stdout.buffer` writes passes by.

A print costs an append: a thread makes lines, hides credentials, and hands over batches about
every second. Of a progress bar, which returns to the line's start with `\r`, the last state is kept.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal

from unitrack.capture.redact import redact
from unitrack.errors import UnitrackWarning

__all__ = ["ConsoleCapture", "Keep", "Stream"]

Stream = Literal["stdout", "stderr"]
Keep = Callable[[Stream, str], object]

_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
_SECONDS = 1.0
_PATIENCE = 5.0  # seconds `stop` waits for a batch that is being handed over
_LONGEST_LINE = 10_000
_LARGEST_BATCH = 64 << 10
_MOST_WAITING = 4 << 20  # characters; a process that prints faster than it can be kept loses lines, not memory
_LONGEST_KEY = 200  # lines


class ConsoleCapture:
    """Hand what is printed to `keep(stream, lines)`, redacted, from `start()` to `stop()`.

    `keep` is called by one thread at a time and never inside a print; it gets whole lines
    without the last newline. Nothing here raises into the code that prints: a `keep` that fails
    is warned of once. A forked child prints as before and keeps nothing.
    """

    def __init__(self, keep: Keep, *, seconds: float = _SECONDS) -> None:
        self._keep = keep
        self._seconds = seconds
        self._pid = os.getpid()
        self._taps: dict[Stream, _Tap] = {}
        self._stopping = threading.Event()
        self._draining = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warned = False

    def start(self) -> None:
        """Begin; a second call does nothing. A stream that is None (a windowed program) is left alone."""
        if self._thread is not None:
            return
        for name in _STREAMS:
            stream = getattr(sys, name)
            if stream is not None and all(stream is not tap.stream for tap in self._taps.values()):
                self._taps[name] = _Tap(stream, _Lines(self._pid))
        self._thread = threading.Thread(target=self._work, name="unitrack-console", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go of the streams and hand over the rest, an unfinished line included."""
        for tap in self._taps.values():
            tap.remove()
        if os.getpid() != self._pid:  # what waits here is the parent's to keep, and its thread isn't in this process
            return
        self._stopping.set()
        self._drain(last=True)

    def _work(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._drain(last=False)

    def _drain(self, *, last: bool) -> None:
        if not self._draining.acquire(timeout=_PATIENCE):
            return
        try:
            for name, tap in self._taps.items():
                for batch in _batches(tap.lines.take(last=last)):
                    self._hand_over(name, batch)
        finally:
            self._draining.release()

    def _hand_over(self, name: Stream, batch: str) -> None:
        try:
            self._keep(name, redact(batch))
        except Exception as error:  # whatever keeps lines must not end this thread, or training
            if not self._warned:
                self._warned = True
                with suppress(UnitrackWarning):  # where warnings are errors
                    warnings.warn(f"what was printed can't be kept: {error!r}", UnitrackWarning, stacklevel=2)


class _Tap:
    """Notes what is written to one stream."""

    def __init__(self, stream: Any, lines: _Lines) -> None:
        self.stream = stream
        self.lines = lines
        self._before = vars(stream).get("write") if hasattr(stream, "__dict__") else None
        write = stream.write

        def tapped(text: str, /) -> Any:
            written = write(text)
            lines.add(text)
            return written

        self._tapped = tapped
        with suppress(AttributeError):  # a stream that can't be tapped prints as before
            stream.write = tapped

    def remove(self) -> None:
        """Put the stream's own `write` back; if other code has tapped it since, ours only passes on."""
        self.lines.close()
        if getattr(self.stream, "write", None) is not self._tapped:
            return
        if self._before is None:
            del self.stream.write
        else:
            self.stream.write = self._before


class _Lines:
    """What was written, as chunks; `take` makes lines of them.

    Takes no lock, for list operations are atomic: a lock could be held by another thread at a
    fork, or by the very print that a signal handler interrupts to print.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._chunks: list[str] = []
        self._waiting = 0
        self._dropped = 0
        self._rest = ""
        self._of_key = 0
        self._closed = False

    def close(self) -> None:
        """Note nothing more."""
        self._closed = True

    def add(self, text: str) -> None:
        """Note what was written; in a forked child, do nothing."""
        if self._closed or os.getpid() != self._pid:
            return
        if self._waiting > _MOST_WAITING:
            self._dropped += 1
            return
        self._chunks.append(text)
        self._waiting += len(text)

    def take(self, *, last: bool) -> list[str]:
        """Return the whole lines so far, and with `last` also one that isn't finished. One caller at a time."""
        count = len(self._chunks)
        text = self._rest + "".join(self._chunks[:count])
        del self._chunks[:count]
        self._waiting = 0
        *lines, rest = text.split("\n")
        self._rest = "" if last else _redrawn(rest)
        if last and rest:
            lines.append(rest)
        if self._dropped:
            lines.append(f"[{self._dropped} writes came faster than they could be kept and are left out]")
            self._dropped = 0
        return [_shown(line) for line in lines if not self._is_inside_key(line)]

    def _is_inside_key(self, line: str) -> bool:
        # `redact` sees one batch at a time, and a private key may be printed over two.
        inside = self._of_key > 0
        self._of_key -= inside
        if "-----BEGIN " in line and "PRIVATE KEY" in line:
            self._of_key = _LONGEST_KEY
        if "-----END " in line:
            self._of_key, inside = 0, False
        return inside


def _redrawn(rest: str) -> str:
    """Return what has to be remembered of an unfinished line: its last state, which the next write may erase."""
    erased = "\r" if rest.endswith("\r") else ""
    return rest.rstrip("\r").rpartition("\r")[2][:_LONGEST_LINE] + erased


def _shown(line: str) -> str:
    r"""Return the last state of a line that went back to its start by `\r`."""
    state = line.rstrip("\r").rpartition("\r")[2]
    return state if len(state) <= _LONGEST_LINE else f"{state[:_LONGEST_LINE]}..."


def _batches(lines: Iterable[str]) -> Iterator[str]:
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > _LARGEST_BATCH:
            yield "\n".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield "\n".join(batch)
