"""The process of captures: it loads the plugins, asks the collectors, and tells plugins that the run began.

It is no thread of training because plugins and git take thousands of system calls, each of which
gives the interpreter lock away: a busy training loop would starve it for a minute, and pay at every
`log()` for a thread that wants the lock. It stops when stdin ends, which is when training dies.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unitrack.capture.messages import Captured, Ended, Found, Job, Message
from unitrack.errors import UnitrackError
from unitrack.model import plain, text
from unitrack.plugins import load_plugins

if TYPE_CHECKING:
    from unitrack.hookspecs import Collector


def main() -> int:
    """Do the job that stands in the first argument; 0 when training was told how it ended."""
    tell = _messages()
    threading.Thread(target=_end_with_training, name="unitrack-stdin", daemon=True).start()
    job = msgspec.json.decode(sys.argv[1], type=Job)
    try:
        tell(Ended(problems=_serve(job, tell)))
    except UnitrackError as error:
        tell(Ended(problems=(str(error),)))
    except BrokenPipeError:  # training is gone
        return 1
    return 0


def _serve(job: Job, tell: Callable[[Message], None]) -> tuple[str, ...]:
    plugins = load_plugins()
    tell(Found(hooks=tuple(sorted({hook for info in plugins.distributions() for hook in info.hooks}))))
    for collector in plugins.collectors():
        if collector.name in job.collectors:
            tell(_captured(collector))
    plugins.notify("unitrack_run_started", run_id=job.run, folder=Path(job.folder))
    return tuple(map(str, plugins.problems))


def _captured(collector: Collector) -> Captured:
    try:
        found = Captured(name=text(collector.name), values=plain(dict(collector.collect() or {})))
        msgspec.json.encode(found)
        return found
    except (Exception, SystemExit) as error:  # one collector's fault costs its own entry
        return Captured(name=text(collector.name), values={"error": plain(repr(error))})


def _messages() -> Callable[[Message], None]:
    """Return what writes messages to training; from now on everybody else's stdout is stderr."""
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1)
    os.write(pipe, b"\n")  # ends what a start-up file of this Python may have printed before

    def tell(message: Message) -> None:
        line = memoryview(msgspec.json.encode(message) + b"\n")
        while line:
            line = line[os.write(pipe, line) :]

    return tell


def _end_with_training() -> None:
    while os.read(0, 1024):  # not through sys.stdin, whose lock would hinder the interpreter's end
        pass
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)  # with what the collectors have started
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
