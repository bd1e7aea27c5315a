"""A worker that ends itself by SIGKILL: `python -m unitrack.testing.victim MOMENT`, its job on stdin.

MOMENT is `open`, `flush`, `close` or `export-N`, with N counted from 1, and where in that call: `:before`, `:after`,
or a number of seconds after it began; for an export also `:half`, when half of its records were given to the
backend and nothing was told of them. Records are offered 20 at a time and the cursor is saved after each batch, so
that what was acked is never offered again.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from unitrack.backend import Backend, BackendFactory, ExportResult, Record, RunInfo
from unitrack.dispatch.messages import Job, Message
from unitrack.dispatch.worker import Worker
from unitrack.events import FinalStatus
from unitrack.plugins import load_plugins

__all__ = ["BATCH", "main"]

BATCH = 20

T = TypeVar("T")


class _Dying:
    """A backend, and its factory, that dies at a moment."""

    def __init__(self, factory: BackendFactory, moment: str) -> None:
        self.name = factory.name
        self._factory = factory
        self._call, self._when = moment.split(":")
        self._exports = 0

    def create(self, options: Mapping[str, Any]) -> _Dying:
        self._backend: Backend = self._factory.create(options)
        able = self._backend.capabilities
        self.capabilities = msgspec.structs.replace(able, batch=min(BATCH, able.batch))
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)  # what only some backends have

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        return self._during("open", lambda: self._backend.open(run, acked))

    def export(self, records: Sequence[Record]) -> ExportResult:
        self._exports += 1
        name = f"export-{self._exports}"
        if (name, "half") == (self._call, self._when):
            self._backend.export(records[: len(records) // 2])
            _die()
        return self._during(name, lambda: self._backend.export(records))

    def flush(self, timeout: float) -> None:
        self._during("flush", lambda: self._backend.flush(timeout))

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        self._during("close", lambda: self._backend.close(status, ended))

    def _during(self, name: str, call: Callable[[], T]) -> T:
        if name != self._call:
            return call()
        if self._when == "before":
            _die()
        if self._when != "after":
            threading.Timer(float(self._when), _die).start()
            call()
            threading.Event().wait()
        result = call()
        _die()
        return result


def _say(message: Message) -> None:
    """Say it where a test that fails shows it."""
    sys.stderr.write(f"{message}\n")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the job that stands on stdin until the moment comes."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    factory = _Dying(load_plugins().backend(job.type), sys.argv[1])
    seconds = itertools.count(1)
    Worker(job, factory, _say, clock=lambda: float(next(seconds))).run()


if __name__ == "__main__":
    main()
