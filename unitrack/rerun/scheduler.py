"""Run jobs side by side up to a limit, and hand their results back in the order in which they were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from unitrack.errors import EvidenceError
from unitrack.rerun.job import Job, JobResult

if TYPE_CHECKING:
    from unitrack.config import TrainSettings

__all__ = ["NO_LIMIT", "Asked", "Budget", "BudgetSpentError", "Runner", "Watch", "how_many", "side_by_side"]

_LOOK_EVERY = 0.25  # seconds; a budget is no stopwatch
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One training that is wanted: a commit and a seed, and the word that progress is told by."""

    side: str
    commit: str
    seed: int


class Runner(Protocol):
    """What trains: `unitrack.rerun.runner.Rerunner` and its like, several jobs at a time from threads."""

    def job(self, commit: str, seed: int) -> Job:
        """Return the job of a commit and a seed."""
        ...

    def run(self, job: Job, *, cancelled: Callable[[], bool]) -> JobResult:
        """Run it, or return its earlier result; end soon once `cancelled` says so."""
        ...


class Watch(Protocol):
    """Told of every job as it starts and ends, in one thread; `dropped` are those whose results nobody wants now."""

    def started(self, side: str, seed: int) -> None: ...

    def ended(self, side: str, seed: int, result: JobResult) -> None: ...

    def dropped(self, side: str, seed: int) -> None: ...


class BudgetSpentError(EvidenceError):
    """The time or money for this is used up. The message says which, and what to do."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent: minutes on the clock, and money at `price` for an hour of one job."""

    minutes: float | None = None
    cost: float | None = None
    price: float | None = None

    def spent(self, elapsed: float, trained: float) -> str | None:
        """Say which limit is reached after seconds on the clock and seconds of all jobs together, or return None."""
        if self.minutes is not None and elapsed >= 60 * self.minutes:
            return f"[gate].max_minutes, {self.minutes:g} min, is used up"
        if self.cost is not None and self.price is not None and trained / 3600 * self.price >= self.cost:
            return (
                f"[gate].max_cost, {self.cost:g}, is used up: "
                f"{trained / 3600:.3g} h of training at {self.price:g} an hour"
            )
        return None


NO_LIMIT = Budget()


def side_by_side(
    runner: Runner,
    asked: Sequence[Asked],
    watch: Watch,
    *,
    limit: int = 1,
    budget: Budget = NO_LIMIT,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[JobResult]:
    """Yield the result of each, in order, while at most `limit` jobs run, those asked for first before all others.

    Nothing is started while the caller judges what came. Whoever closes it stops what still runs and waits for it.
    Raises BudgetSpentError where the next result would take more than `budget`, and what the runner raises.
    """
    running = _Running(runner, watch, limit, budget, clock)
    waiting = iter(asked)
    try:
        for one in asked:
            running.fill(waiting)
            while not running.has(one):
                running.wait()
                running.fill(waiting)
            yield running.take(one)
    finally:
        running.stop()


class _Running:
    """The jobs that were started and not yet taken."""

    def __init__(self, runner: Runner, watch: Watch, limit: int, budget: Budget, clock: Callable[[], float]) -> None:
        self._runner, self._watch, self._limit, self._budget, self._clock = runner, watch, limit, budget, clock
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="unitrack-job")
        self._stopped = Event()
        self._began = clock()
        self._trained = 0.0
        self._open: dict[Future[JobResult], tuple[Asked, str, float]] = {}
        self._done: dict[Asked, Future[JobResult]] = {}
        self._next: tuple[Asked, Job] | None = None

    def fill(self, waiting: Iterator[Asked]) -> None:
        """Start what there is room for. A job that is running already is waited for: then its result is known."""
        while len(self._open) < self._limit and self._peek(waiting) is not None:
            assert self._next is not None
            one, job = self._next
            if any(key == job.key for _, key, _ in self._open.values()):
                return
            self._next = None
            self._watch.started(one.side, one.seed)
            future = self._pool.submit(self._runner.run, job, cancelled=self._stopped.is_set)
            self._open[future] = (one, job.key, self._clock())

    def _peek(self, waiting: Iterator[Asked]) -> tuple[Asked, Job] | None:
        if self._next is None:
            one = next(waiting, None)
            self._next = None if one is None else (one, self._runner.job(one.commit, one.seed))
        return self._next

    def has(self, one: Asked) -> bool:
        """Tell whether a job has ended; what ended since the last look is told of."""
        for future in [future for future in self._open if future.done()]:
            ended, _, started = self._open.pop(future)
            self._done[ended] = future
            self._trained += self._seconds(future, self._clock() - started)
            if future.exception() is None:
                self._watch.ended(ended.side, ended.seed, future.result())
        return one in self._done

    def _seconds(self, future: Future[JobResult], elapsed: float) -> float:
        known = future.exception() is None and future.result().cached
        return 0.0 if known else elapsed

    def wait(self) -> None:
        """Wait until a job ends or it is time to look again. Raises BudgetSpentError."""
        now = self._clock()
        trained = self._trained + sum(now - started for _, _, started in self._open.values())
        spent = self._budget.spent(now - self._began, trained)
        if spent is not None:
            raise BudgetSpentError(spent)
        wait(self._open, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)

    def take(self, one: Asked) -> JobResult:
        """Return a result, or raise what the runner raised instead."""
        return self._done.pop(one).result()

    def stop(self) -> None:
        """Stop what still runs, and wait until nothing of it is left."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for one, _, _ in self._open.values():
            self._watch.dropped(one.side, one.seed)


def how_many(train: TrainSettings, machine: Mapping[str, Any]) -> int:
    """Return how many jobs to run at a time: `[train].jobs`, or as many containers as fit into a machine.

    `machine` are the facts of the collector `hardware`. Without the limits of a container, or with GPUs, nobody
    knows what a job takes: one at a time.
    """
    if train.jobs is not None:
        return train.jobs
    container = train.container
    if container is None or container.gpus is not None or train.executor not in (None, "container"):
        return 1
    fitting = [machine.get("usable_cores", 1) / container.cpus]
    needed = int(container.memory[:-1]) * _UNITS[container.memory[-1]]
    fitting += [machine[name] / needed for name in ("memory", "memory_limit") if name in machine]
    return max(1, int(min(fitting)))
