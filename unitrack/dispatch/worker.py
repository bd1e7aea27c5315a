"""The worker: one process, one thread, one backend. `python -m unitrack.dispatch.worker`, its job on stdin.

It stops when stdin ends, which is when its dispatcher stops or dies; the cursor then says how
far it came. Messages go to stdout; whatever else prints there is sent to stderr.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from unitrack.backend import Backend, BackendFactory
from unitrack.dispatch.delivery import Delivery
from unitrack.dispatch.discretion import Discretion
from unitrack.dispatch.environment import owner_of
from unitrack.dispatch.leash import Leash, Stopped
from unitrack.dispatch.messages import Finished, Job, Message, Ready, Result, State, Waiting
from unitrack.dispatch.retry import Retrier, RetryPolicy
from unitrack.dispatch.source import RunSource, is_done, pending
from unitrack.dispatch.watch import StoreWatch
from unitrack.errors import BackendError, JournalError, UnitrackError
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor

__all__ = ["Stopped", "Worker", "main"]

_MOST_FAILED_IN_A_ROW = 3
_TIME_TO_NAME = 10.0
_RETRY_RUN_AFTER = 60.0
_ASK_AGAIN_AFTER = 5.0
_REST = 15.0
_TIME_TO_HAND_OVER = 30.0
_SHARE = 0.25
_SWEEP = 1.0
_MOST_OPEN = 64
_MOST_BEHIND = 4
_PATIENCE_WITH_ONE = 30.0


class _Wanted(BaseException):
    """Another process takes over the run that is being served."""


class Worker:
    """Serve runs, each by a `Delivery`, until there is nothing left to do."""

    def __init__(
        self,
        job: Job,
        factory: BackendFactory,
        tell: Callable[[Message], None],
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        *,
        discretion: Discretion | None = None,
    ) -> None:
        self._job, self._factory, self._tell, self._wait, self._clock = job, factory, tell, wait, clock
        self._discretion = discretion or Discretion(os.environ, job.options)
        self._endless = job.follow and job.runs is None
        patience = min(job.patience, _PATIENCE_WITH_ONE) if self._endless else job.patience
        self._retrier = Retrier(RetryPolicy(patience=patience), sleep=self._pause, told=self._waiting)
        self._watch = StoreWatch(Path(job.store), job.backend, clock)
        self._open: dict[str, Delivery] = {}
        self._done: set[str] = set()
        self._current = ""
        self._failed_in_a_row = 0
        self._rest_until = 0.0

    @property
    def held(self) -> list[Delivery]:
        """The runs this process has claimed."""
        return list(self._open.values())

    def run(self) -> None:
        """Serve every run once, or with `follow` until all have ended; without `runs` in the job for ever.

        Raises BackendError when run after run fails the same way, Stopped when the dispatcher is gone.
        """
        began = self._clock()
        try:
            while True:
                hurry = self._round(grace=self._clock() - began < _TIME_TO_NAME)
                if not self._job.follow or self._all_done():
                    return
                self._between(0.0 if hurry else self._job.poll)
        finally:
            for delivery in self._open.values():
                delivery.release()

    def _round(self, *, grace: bool) -> bool:
        """Serve what there is, each once; True if there is more at once."""
        if self._job.runs is not None:
            for run in self._job.runs:
                if run not in self._done:
                    self._serve(layout.run_dir(Path(self._job.store), run), grace=grace)
            return False
        if self._endless:
            return self._sweep()
        for folder, _ in self._watch.candidates():
            self._serve(folder, grace=False)
        return False

    def _all_done(self) -> bool:
        return self._job.runs is not None and all(run in self._done for run in self._job.runs)

    # -- a whole store, for ever -----------------------------------------------------------------

    def _sweep(self) -> bool:
        """Give every open run its share, then begin others for a second; True if that was not all.

        So a run that has just begun waits for no backlog, and one that has ended takes no handle.
        """
        if self._clock() < self._rest_until:
            return False
        for delivery in self.held:
            if delivery.run in self._open:
                self._serve(delivery.folder, grace=False)
        until = self._clock() + _SWEEP
        for folder, fresh in self._watch.candidates():
            if self._clock() < self._rest_until:
                return False
            if folder.name not in self._open and (fresh or self._behind() < _MOST_BEHIND):
                self._serve(folder, grace=False)
                self._park()
            if self._clock() > until:
                return True
        return self._behind() > 0

    def _behind(self) -> int:
        return sum(delivery.behind for delivery in self._open.values())

    def _park(self) -> None:
        """Let go of the run that was quiet for longest when there are too many; its next event opens it again."""
        if len(self._open) <= _MOST_OPEN:
            return
        quiet = min(self._open.values(), key=lambda delivery: delivery.active)
        self._current = quiet.run
        try:
            quiet.close(None)
        except _Wanted:
            self._hand_over(quiet)
            return
        except BackendError as error:
            self._fail(quiet.folder, self._open.pop(quiet.run), error)
            return
        del self._open[quiet.run]
        quiet.release()
        self._watch.settle(quiet.folder, goes_on=True)

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
        except _Wanted:
            self._hand_over(self._open[folder.name])
        except (BackendError, JournalError, OSError) as error:
            self._fail(folder, self._open.pop(folder.name, None), error)

    def _begin(self, folder: Path, *, grace: bool) -> Delivery | None:
        """Return the open delivery of a run; None when there is nothing to do for it, now or ever."""
        backend: Backend = self._factory.create(self._job.options)
        delivery = Delivery(
            folder, self._job.backend, backend, retrier=self._retrier, tell=self._tell,
            check=lambda: self._pause(0.0), discretion=self._discretion, clock=self._clock,
        )  # fmt: skip
        if not self._acquire(delivery):
            delivery.release()
            self._leave(folder)
            return None
        self._open[folder.name] = delivery
        if self._is_over(delivery):
            self._finish(delivery, "sent")
            return None
        if not delivery.open(follow=self._job.follow and not self._endless):
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

    def _advance(self, delivery: Delivery) -> None:
        ending = delivery.source.ending()
        delivery.drain(_SHARE if self._endless else math.inf)  # after the question: what came before the end is sent
        if delivery.behind:
            return
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
        self._watch.settle(delivery.folder)
        self._end(delivery.result(state))

    def _fail(self, folder: Path, delivery: Delivery | None, error: Exception) -> None:
        reason = self._discretion.text(str(error))
        result = Result(run=folder.name, state="failed", reason=reason)
        if delivery is not None:
            delivery.abandon(error)
            delivery.release()
            result = delivery.result("failed", reason)
        self._watch.later(folder, _RETRY_RUN_AFTER)
        self._end(result)
        if isinstance(error, BackendError):
            self._failed_in_a_row += 1
        if self._failed_in_a_row < _MOST_FAILED_IN_A_ROW:
            return
        if not self._endless:
            raise error
        self._rest_until = self._clock() + _REST  # whatever it is, it is not the runs

    def _end(self, result: Result) -> None:
        if not self._endless:
            self._done.add(result.run)
        self._tell(result)

    def _waiting(self, reason: str, seconds: float) -> None:
        if self._current in self._open:
            self._open[self._current].trouble(reason)
        self._tell(Waiting(run=self._current, reason=self._discretion.text(reason), seconds=seconds))

    # -- one sender a run ------------------------------------------------------------------------

    def _acquire(self, delivery: Delivery) -> bool:
        """Take the run; False if another process has it and is to keep it, or doesn't let go.

        One that follows leaves it to the process that has it, which sees all that comes, unless it is to take over.
        """
        if delivery.acquire():
            return True
        ask = self._job.takeover and not self._is_in_good_hands(delivery.folder)
        if self._job.follow and not ask or self._job.takeover and not ask:
            return False
        until = self._clock() + max(self._job.patience, _TIME_TO_HAND_OVER if ask else 0.0)
        while self._clock() < until:
            if ask:
                delivery.claim.ask()
            self._pause(0.2)
            if delivery.acquire():
                delivery.taken = ask
                return True
        return False

    def _is_in_good_hands(self, folder: Path) -> bool:
        """Tell whether a run that goes on, and nobody asked for by name, is being sent without trouble."""
        if self._job.runs is not None:
            return False
        cursor = load_cursor(folder, self._job.backend)
        return cursor.error is None and RunSource(folder, cursor).ending() is None

    def _leave(self, folder: Path) -> None:
        """Leave a run to the process that has it."""
        self._watch.later(folder, _ASK_AGAIN_AFTER)
        good = self._job.takeover and self._is_in_good_hands(folder)
        self._end(Result(run=folder.name, state="live" if good else "busy", reason="another process sends it"))

    def _hand_over(self, delivery: Delivery) -> None:
        """Let the process that asked have the run, with all that was done so far."""
        self._open.pop(delivery.run, None)
        delivery.abandon()
        delivery.release()
        self._watch.later(delivery.folder, _ASK_AGAIN_AFTER)
        self._end(delivery.result("busy", "another process has taken over"))

    def _pause(self, seconds: float) -> None:
        """Wait, and raise _Wanted if the run that is being served is asked for. One that doesn't follow keeps it."""
        self._wait(seconds)
        current = self._open.get(self._current)
        if seconds and self._job.follow:
            self._hand_over_but(current)
        if self._job.follow and current is not None and current.claim.is_wanted():
            raise _Wanted

    def _between(self, seconds: float) -> None:
        """Wait between two rounds, and hand over whatever is asked for."""
        self._current = ""
        self._wait(seconds)
        self._hand_over_but(None)

    def _hand_over_but(self, current: Delivery | None) -> None:
        for delivery in self.held:
            if delivery is not current and delivery.claim.is_wanted():
                self._hand_over(delivery)


# -- the process ---------------------------------------------------------------------------------


def main() -> int:
    """Run the job that stands on stdin; 0 when it was served, whatever became of the runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the dispatcher decides
    tell = _messages()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    leash = Leash()
    discretion = Discretion(os.environ, job.options)
    try:
        factory, plugin = _factory(job)
        tell(Ready(plugin=plugin))
        worker = Worker(job, factory, tell, leash.wait, discretion=discretion)
        if job.follow:
            leash.watch(lambda: [delivery.claim for delivery in worker.held])
        worker.run()
    except Stopped:
        return 0
    except UnitrackError as error:
        tell(Finished(error=discretion.text(str(error))))
    else:
        tell(Finished())
    return 0


def _factory(job: Job) -> tuple[BackendFactory, str]:
    """Return what makes the backend, and which plugin it is from. Raises PluginError, ConfigError."""
    from unitrack.plugins import load_plugins

    plugins = load_plugins()
    factory = plugins.backend(job.type)
    factory.create(job.options)  # wrong options stop the worker, not every run anew
    owner = owner_of(plugins, job.type)
    return factory, "" if owner is None else f"{owner.distribution} {owner.version}"


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


if __name__ == "__main__":
    sys.exit(main())
