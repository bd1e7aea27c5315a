"""Waits grow, are capped and drawn; patience ends them."""

from __future__ import annotations

import pytest

from unitrack.dispatch.retry import Retrier, RetryPolicy
from unitrack.errors import FatalBackendError, RetryableError


class Clock:
    """Time that passes only in sleep."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def retrier(clock):
    policy = RetryPolicy(first=1.0, cap=8.0, patience=30.0)
    return Retrier(policy, clock=clock, sleep=clock.sleep, draw=lambda: 1.0)


def fails(times, result="done", after=None):
    left = [RetryableError("down", after=after) for _ in range(times)]
    calls = []

    def call():
        calls.append(1)
        if left:
            raise left.pop()
        return result

    call.calls = calls
    return call


def test_waits_double_up_to_the_cap():
    policy = RetryPolicy(first=0.5, cap=4.0)
    assert [policy.delay(n, draw=1.0) for n in range(1, 6)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert policy.delay(10_000, draw=1.0) == 4.0


def test_half_of_a_wait_is_drawn():
    policy = RetryPolicy(first=1.0)
    assert (policy.delay(1, draw=0.0), policy.delay(1, draw=0.5)) == (0.5, 0.75)


def test_a_trackers_wish_is_heeded_within_reason():
    policy = RetryPolicy(first=1.0, cap=10.0)
    assert policy.delay(1, draw=0.0, after=7.0) == 7.0
    assert policy.delay(1, draw=0.0, after=1e9) == 100.0


def test_it_calls_until_it_succeeds(retrier, clock):
    assert retrier.call(fails(3)) == "done"
    assert clock.slept == [1.0, 2.0, 4.0]


def test_patience_ends_with_the_last_error(retrier, clock):
    with pytest.raises(RetryableError, match="down"):
        retrier.call(fails(1000))
    assert clock.now <= 30.0


def test_then_each_call_has_one_attempt_until_one_succeeds(retrier, clock):
    with pytest.raises(RetryableError):
        retrier.call(fails(1000))
    once = fails(1000)
    with pytest.raises(RetryableError):
        retrier.call(once)
    assert len(once.calls) == 1
    retrier.call(fails(0))
    assert retrier.call(fails(2)) == "done"


def test_while_something_goes_on_patience_has_not_begun(retrier, clock):
    assert retrier.call(fails(100), goes_on=lambda: clock.now < 900) == "done"
    with pytest.raises(RetryableError):
        retrier.call(fails(10_000), goes_on=lambda: clock.now < 2000)
    assert 2000 + 15 < clock.now <= 2000 + 8 + 30


def test_other_errors_are_not_retried(retrier, clock):
    def call():
        raise FatalBackendError("no")

    with pytest.raises(FatalBackendError):
        retrier.call(call)
    assert clock.slept == []
