"""The worker: one process, one thread, one backend. `python -m unitrack.dispatch.worker`, its job on stdin.

It stops when stdin ends, which is when its dispatcher stops or dies; the cursor then says how
far it came. Messages go to stdout; whatever else prints there is sent to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from unitrack.backend import Backend, BackendFactory
from unitrack.dispatch.delivery import Delivery
from unitrack.dispatch.messages import Finished, Job, Message, Ready, Result, State, Waiting
from unitrack.dispatch.retry import Retrier, RetryPolicy
from unitrack.dispatch.source import is_done, pending
from unitrack.errors import BackendError, JournalError, UnitrackError
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor

__all__ = ["Stopped", "Worker", "main"]

_MOST_FAILED_IN_A_ROW = 3
_TIME_TO_NAME = 10.0
_RETRY_RUN_AFTER = 60.0


class Stopped(BaseException):
    """The dispatcher wants no more."""


class Worker:
    """Serve runs, each by a `Delivery`, until there is nothing left to do."""

    def __init__(
        self,
        job: Job,
        factory: BackendFactory,
        tell: Callable[[Message], None],
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._job, self._factory, self._tell, self._wait, self._clock = job, factory, tell, wait, clock
        self._retrier = Retrier(RetryPolicy(patience=job.patience), sleep=wait, told=self._waiting)
        self._open: dict[str, Delivery] = {}
        self._done: dict[str, object] = {}
        self._not_before: dict[str, float] = {}
        self._current = ""
        self._failed_in_a_row = 0

    def run(self) -> None:
        """Serve every run once, or with `follow` until all have ended; without `runs` in the job for ever.

        Raises BackendError when run after run fails the same way, Stopped when the dispatcher is gone.
        """
        began = self._clock()
        try:
            while True:
                for folder in self._folders():
                    self._serve(folder, grace=self._clock() - began < _TIME_TO_NAME)
                if not self._job.follow or self._all_done():
                    return
                self._wait(self._job.poll)
        finally:
            for delivery in self._open.values():
                delivery.release()

    def _folders(self) -> list[Path]:
        store = Path(self._job.store)
        if self._job.runs is not None:
            return [folder for run in self._job.runs if (folder := layout.run_dir(store, run)).name not in self._done]
        try:
            names = sorted(os.listdir(layout.runs_dir(store)))
        except FileNotFoundError:
            return []
        return [folder for name in names if self._has_news(folder := layout.runs_dir(store) / name)]

    def _has_news(self, folder: Path) -> bool:
        """Tell whether a run of the store may have something to send; one that is done costs a few `stat`."""
        if folder.name in self._open:
            return True
        if self._not_before.get(folder.name, 0.0) > self._clock():
            return False
        if self._done.get(folder.name) == (signature := _signature(folder)):
            return False
        if is_done(folder, load_cursor(folder, self._job.backend)):
            self._done[folder.name] = signature
            return False
        return bool(signature)

    def _all_done(self) -> bool:
        return self._job.runs is not None and all(run in self._done for run in self._job.runs)

    # -- one run ---------------------------------------------------------------------------------

    def _serve(self, folder: Path, *, grace: bool) -> None:
        self._current = folder.name
        delivery = self._open.get(folder.name)
        try:
            if delivery is None:
                delivery = self._begin(folder, grace=grace)
            if delivery is not None:
                self._advance(delivery)
                self._failed_in_a_row = 0
        except (BackendError, JournalError, OSError) as error:
            self._fail(folder, self._open.pop(folder.name, None), error)

    def _begin(self, folder: Path, *, grace: bool) -> Delivery | None:
        """Return the open delivery of a run; None when there is nothing to do for it, now or ever."""
        backend: Backend = self._factory.create(self._job.options)
        delivery = Delivery(
            folder, self._job.backend, backend, retrier=self._retrier, tell=self._tell,
            check=lambda: self._wait(0.0), clock=self._clock,
        )  # fmt: skip
        if not self._acquire(delivery):
            self._end(delivery.folder, Result(run=delivery.run, state="busy", reason="another process sends it"))
            return None
        self._open[folder.name] = delivery
        if self._is_over(delivery):
            self._finish(delivery, "sent")
            return None
        if not delivery.open(follow=self._job.follow):
            if self._job.follow and grace:
                del self._open[folder.name]
                delivery.release()
            else:
                self._finish(delivery, "sent")  # a process that died before it named its run left nothing to send
            return None
        if self._job.retry_dead:
            delivery.retry_dead()
        return delivery

    def _is_over(self, delivery: Delivery) -> bool:
        has_dead = self._job.retry_dead and delivery.result("sent").dead > 0
        return not has_dead and is_done(delivery.folder, load_cursor(delivery.folder, self._job.backend))

    def _acquire(self, delivery: Delivery) -> bool:
        """Take the run. One that follows leaves it to the process that has it, which sees all that comes."""
        until = self._clock() + (0.0 if self._job.follow else self._job.patience)
        while not delivery.acquire():
            if self._clock() >= until:
                return False
            self._wait(0.2)
        return True

    def _advance(self, delivery: Delivery) -> None:
        ending = delivery.source.ending()
        delivery.drain()  # after the question: what was written before the end is sent
        if ending is not None:
            delivery.close(ending)
            self._finish(delivery, "sent")
        elif not self._job.follow:
            delivery.close(None)
            self._finish(delivery, "live")

    def _finish(self, delivery: Delivery, state: State) -> None:
        self._open.pop(delivery.run, None)
        delivery.release()
        if (
            state == "sent"
            and self._job.follow
            and pending(delivery.folder, load_cursor(delivery.folder, self._job.backend))
        ):
            return  # it was resumed meanwhile, and whoever resumed it found the run taken
        self._end(delivery.folder, delivery.result(state))

    def _fail(self, folder: Path, delivery: Delivery | None, error: Exception) -> None:
        result = Result(run=folder.name, state="failed", reason=str(error))
        if delivery is not None:
            delivery.abandon(error)
            delivery.release()
            result = delivery.result("failed", str(error))
        self._not_before[folder.name] = self._clock() + _RETRY_RUN_AFTER
        self._end(folder, result)
        self._failed_in_a_row += isinstance(error, BackendError)
        if self._failed_in_a_row >= _MOST_FAILED_IN_A_ROW and not (self._job.follow and self._job.runs is None):
            raise error

    def _end(self, folder: Path, result: Result) -> None:
        if result.state != "failed" or self._job.runs is not None:
            self._done[folder.name] = _signature(folder)
        self._tell(result)

    def _waiting(self, reason: str, seconds: float) -> None:
        self._tell(Waiting(run=self._current, reason=reason, seconds=seconds))


def _signature(folder: Path) -> tuple[tuple[str, int], ...]:
    return tuple((path.name, path.stat().st_size) for path in layout.journals(folder))


# -- the process ---------------------------------------------------------------------------------


def main() -> int:
    """Run the job that stands on stdin; 0 when it was served, whatever became of the runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the dispatcher decides
    tell = _messages()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    wait = _waiter()
    try:
        factory = _factory(job)
        tell(Ready())
        Worker(job, factory, tell, wait).run()
    except Stopped:
        return 0
    except UnitrackError as error:
        tell(Finished(error=str(error)))
    else:
        tell(Finished())
    return 0


def _factory(job: Job) -> BackendFactory:
    from unitrack.plugins import load_plugins

    factory = load_plugins().backend(job.type)
    factory.create(job.options)  # wrong options stop the worker, not every run anew
    return factory


def _messages() -> Callable[[Message], None]:
    """Return what writes messages to the dispatcher; from now on everybody else's stdout is stderr."""
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1)

    def tell(message: Message) -> None:
        try:
            os.write(pipe, msgspec.json.encode(message) + b"\n")
        except BrokenPipeError:
            raise Stopped from None

    return tell


def _waiter() -> Callable[[float], None]:
    """Return a sleep that raises Stopped once stdin has ended."""
    ended = threading.Event()

    def watch() -> None:
        while os.read(0, 1024):  # not through sys.stdin, whose lock would hinder the interpreter's end
            pass
        ended.set()

    threading.Thread(target=watch, name="unitrack-stdin", daemon=True).start()

    def wait(seconds: float) -> None:
        if ended.wait(seconds):
            raise Stopped

    return wait


if __name__ == "__main__":
    sys.exit(main())
