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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unitrack.capture import sampling
from unitrack.capture.messages import Captured, Ended, Found, Job, KeptFile, Message
from unitrack.capture.redact import redact, redact_tree
from unitrack.capture.source import SourceCollector
from unitrack.errors import UnitrackError
from unitrack.journal import layout
from unitrack.model import check_artifact_name, plain, text
from unitrack.objects import ObjectStore
from unitrack.plugins import load_plugins

if TYPE_CHECKING:
    from unitrack.hookspecs import Collector

_done = threading.Event()


def main() -> int:
    """Do the job that stands in the first argument; 0 when training was told how it ended."""
    pipe, tell = _messages()
    threading.Thread(target=_end_with_training, name="unitrack-stdin", daemon=True).start()
    job = msgspec.json.decode(sys.argv[1], type=Job)
    try:
        try:
            problems = _serve(job, tell)
        except UnitrackError as error:
            problems = (str(error),)
        _done.set()
        tell(Ended(problems=problems))
    except BrokenPipeError:  # training is gone
        return 1
    if job.seconds > 0:
        _become_sampler(job, pipe)
    return 0


def _become_sampler(job: Job, pipe: int) -> None:
    """Go on as a small program that samples: no plugin, no package, nothing to wait for."""
    os.dup2(pipe, 1)  # which a program inherits, and `pipe` it doesn't
    arguments = (f"{job.seconds:g}", str(os.getppid()), job.folder)
    with suppress(OSError):
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(sampling.__file__), *arguments])  # noqa: S606 - ours


def _serve(job: Job, tell: Callable[[Message], None]) -> tuple[str, ...]:
    plugins = load_plugins()
    tell(Found(hooks=tuple(sorted({hook for info in plugins.distributions() for hook in info.hooks}))))
    objects = ObjectStore(layout.objects_dir(Path(job.folder).parents[1]))
    # Of the script training alone knows: a hook has no word for it.
    for collector in (*plugins.collectors(), SourceCollector(job.script)):
        if collector.name in job.collectors:
            tell(_captured(collector, objects))
    plugins.notify("unitrack_run_started", run_id=job.run, folder=Path(job.folder))
    return tuple(map(str, plugins.problems))


def _captured(collector: Collector, objects: ObjectStore) -> Captured:
    """Ask a collector, and take credentials out of all it tells and keeps."""
    name = text(collector.name)
    try:
        values = redact_tree(plain(dict(collector.collect() or {})))
        msgspec.json.encode(values)
        files = _kept(name, getattr(collector, "attachments", dict)(), objects)
        return Captured(name=name, values=values, files=files)
    except (Exception, SystemExit) as error:  # one collector's fault costs its own entry
        return Captured(name=name, values={"error": redact_tree(plain(repr(error)))})


def _kept(name: str, files: Mapping[str, bytes], objects: ObjectStore) -> tuple[KeptFile, ...]:
    found = []
    for file, data in files.items():
        stored = objects.put_bytes(redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))
        path = check_artifact_name(f"source/{name}/{text(file)}")
        found.append(KeptFile(name=path, digest=stored.digest, size=stored.size))
    return tuple(found)


def _messages() -> tuple[int, Callable[[Message], None]]:
    """Return the pipe to training and what writes messages to it; from now on everybody else's stdout is stderr."""
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1)
    os.write(pipe, b"\n")  # ends what a start-up file of this Python may have printed before

    def tell(message: Message) -> None:
        line = memoryview(msgspec.json.encode(message) + b"\n")
        while line:
            line = line[os.write(pipe, line) :]

    return pipe, tell


def _end_with_training() -> None:
    while os.read(0, 1024):  # not through sys.stdin, whose lock would hinder the interpreter's end
        pass
    if _done.is_set():
        os._exit(0)
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)  # with what the collectors have started
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
