"""When to try again: capped exponential backoff with jitter, and a circuit that stops asking what is down."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from unitrack.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Retrier", "RetryPolicy"]

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How to wait between attempts; all in seconds.

    The wait doubles from `first` to `cap`; between half and all of it is drawn, so that many workers
    don't return at once to a tracker that has just come back. `patience` is how long failures may go
    on before the caller is told.
    """

    first: float = 0.5
    cap: float = 60.0
    patience: float = 60.0

    def delay(self, failures: int, *, draw: float, after: float | None = None) -> float:
        """Return the wait after the `failures`-th failure in a row; `draw` is in [0, 1), `after` the tracker's wish."""
        whole = min(self.cap, self.first * 2.0 ** min(failures - 1, 32))
        return max(whole * (0.5 + draw / 2), min(after or 0.0, self.cap * 10))


class Retrier:
    """Call until it succeeds or patience ends. One per worker, so that all runs share the circuit.

    The circuit opens when patience has ended once; then each call gets one attempt, until one succeeds.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        told: Callable[[str, float], None] = lambda _reason, _delay: None,
    ) -> None:
        self.policy = policy
        self.is_open = False
        self._clock, self._sleep, self._draw, self._told = clock, sleep, draw, told

    def call(self, function: Callable[[], T], *, goes_on: Callable[[], bool] = lambda: False) -> T:
        """Return what `function` returns; patience begins when `goes_on()` no longer holds.

        Raises the last RetryableError when patience ended; any other exception at once.
        """
        began, failures = self._clock(), 0
        while True:
            try:
                result = function()
            except RetryableError as error:
                failures += 1
                delay = self.policy.delay(failures, draw=self._draw(), after=error.after)
                if goes_on():
                    began = self._clock()
                elif self.is_open or self._clock() - began + delay > self.policy.patience:
                    self.is_open = True
                    raise
                self._told(str(error), delay)
                self._sleep(delay)
            else:
                self.is_open = False
                return result
