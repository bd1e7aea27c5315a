"""Ways to send a run: with a worker in this process, with a worker's own process, or call by call."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from unitrack.backend import Backend, BackendFactory, Lowering, Record, Rejection, RetryableError
from unitrack.dispatch import messages
from unitrack.dispatch.dead_letter import read_dead
from unitrack.dispatch.worker import Worker
from unitrack.events import FinalStatus
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor
from unitrack.testing.runs import read_info

__all__ = ["Driven", "Sent", "forget", "send", "send_in_process", "tried"]

T = TypeVar("T")

_PATIENCE = 5.0
_TIMEOUT = 120.0
_TRIES = 3


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker said, and what stayed behind."""

    results: tuple[messages.Result, ...]
    lowered: tuple[Lowering, ...]
    """All that the cursor keeps of the run or runs, earlier workers' included."""
    dead: tuple[Rejection, ...]
    spoken: str
    """Every message and every error, as one text."""

    @property
    def state(self) -> str:
        """What became of the run, if there was one."""
        return self.results[-1].state if self.results else "nothing"


def send(factory: BackendFactory, options: Mapping[str, Any], store: Path, *runs: str, **job: Any) -> Sent:
    """Send runs with a worker in this process; a short patience, so that what fails fails soon."""
    told: list[messages.Message] = []
    Worker(_job(factory, options, store, runs, job), factory, told.append).run()
    return _sent(factory, store, runs, told)


def _job(
    factory: BackendFactory, options: Mapping[str, Any], store: Path, runs: Sequence[str], fields: Mapping[str, Any]
) -> messages.Job:
    usual = {"store": str(store), "backend": factory.name, "type": factory.name, "options": dict(options)}
    return messages.Job(**{**usual, "runs": tuple(runs), "patience": _PATIENCE, **fields})


def _sent(factory: BackendFactory, store: Path, runs: Sequence[str], told: Sequence[messages.Message]) -> Sent:
    folders = [layout.run_dir(store, run) for run in runs]
    lowered = [one for folder in folders for one in load_cursor(folder, factory.name).lowered]
    return Sent(
        results=tuple(one for one in told if isinstance(one, messages.Result)),
        lowered=tuple(Lowering(kind=one.kind, name=one.name, detail=one.detail) for one in lowered),
        dead=tuple(letter for folder in folders for letter in read_dead(folder, factory.name)),
        spoken="\n".join(map(str, told)),
    )


def send_in_process(
    factory: BackendFactory, options: Mapping[str, Any], store: Path, run: str, *, die: str | None = None
) -> Sent:
    """Send a run with a worker process, as the dispatcher starts it.

    With `die` the process ends itself by SIGKILL at that moment (see `unitrack.testing.victim`); AssertionError when
    it did not come to that, or when a worker that was to live failed.
    """
    module = ["unitrack.dispatch.worker"] if die is None else ["unitrack.testing.victim", die]
    job = msgspec.json.encode(_job(factory, options, store, (run,), {})) + b"\n"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=out, stderr=err)
        assert child.stdin is not None
        try:
            child.stdin.write(job)
            child.stdin.flush()  # and stays open: a worker stops when it ends
            code = child.wait(_TIMEOUT)
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
        said, cried = _read(out), _read(err)
    wanted = 0 if die is None else -signal.SIGKILL
    assert code == wanted, f"the worker ended with {code}, not {wanted}. It said: {said} {cried}"
    told = [msgspec.json.decode(line, type=messages.Message) for line in said.splitlines() if die is None]
    return _sent(factory, store, (run,), told)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def tried(function: Callable[[], T]) -> T:
    """Call a backend as a worker does: what is retryable is tried again, a few times."""
    for left in reversed(range(_TRIES)):
        try:
            return function()
        except RetryableError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


class Driven:
    """A backend that is open for a run and driven call by call, as a worker would."""

    def __init__(
        self,
        backend: Backend,
        folder: Path,
        *,
        state: Mapping[str, Any] | None = None,
        acked: Mapping[str, int] | None = None,
    ) -> None:
        self.backend = backend
        self.lowered: list[Lowering] = []
        self.rejected: list[Rejection] = []
        info = read_info(folder, state)
        self.state = dict(tried(lambda: backend.open(info, acked or {})))

    def export(self, records: Sequence[Record], *, batch: int = 1000) -> None:
        """Offer records, at most `batch` at once, until all are acked."""
        while records:
            offered = records[:batch]
            result = tried(lambda offered=offered: self.backend.export(offered))  # type: ignore[misc]
            assert 0 < result.acked <= len(offered), f"{result.acked} of {len(offered)} records were acked"
            self.lowered += result.lowered
            self.rejected += result.rejected
            records = records[result.acked :]

    def close(self, status: FinalStatus | None, ended: float | None = None) -> None:
        """Flush and close."""
        tried(lambda: self.backend.flush(60.0))
        tried(lambda: self.backend.close(status, ended))


def forget(store: Path) -> None:
    """Lose every cursor and dead letter, as a crash of the disk would."""
    for path in store.glob("runs/*/sync/*"):
        path.unlink()
