"""Clocks, the reference R2, and rounds of both side by side."""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
from _tools.base import Log

__all__ = [
    "alone", "compare", "cpu_seconds", "drive", "folder_bytes", "hold", "percentile", "random_values", "reference",
    "rss", "time_calls",
]  # fmt: skip

ROUNDS = 10
REFERENCE_CALLS = 20_000


def reference(path: Path) -> Log:
    """Return R2: the same event by the fastest JSON encoder and one `write(2)`, with no check and no lock."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    dumps, write, now = orjson.dumps, os.write, time.time
    newline, seq = orjson.OPT_APPEND_NEWLINE, itertools.count(1).__next__

    def log(values: dict[str, float], *, step: int) -> None:
        event = {"type": "metrics", "seq": seq(), "time": now(), "values": values, "step": step}
        write(fd, dumps(event, None, newline))

    return log


def random_values(count: int) -> list[float]:
    """Return doubles with all their digits, as losses have."""
    generator = random.Random(7)
    return [generator.random() for _ in range(count)]


def time_calls(
    log: Log, width: int, values: Iterable[float], first: int, before: Callable[[], object] | None = None
) -> list[int]:
    """Return the nanoseconds of each call with `width` metrics; `before` runs untimed ahead of each.

    The dict is built inside the timed part, as in `log({"loss": x}, step=i)`.
    """
    clock, took = time.perf_counter_ns, []
    for step, x in enumerate(values, first):
        if before is not None:
            before()
        if width == 1:
            begin = clock()
            log({"loss": x}, step=step)
            took.append(clock() - begin)
        else:
            begin = clock()
            log(
                {
                    "loss": x, "accuracy": x, "lr": x, "grad_norm": x, "f1": x, "precision": x, "recall": x,
                    "val_loss": x, "val_accuracy": x, "seconds": x,
                },
                step=step,
            )  # fmt: skip
            took.append(clock() - begin)
    return took


def drive(log: Log, width: int, values: Iterable[float], first: int = 0) -> None:
    """Make the calls untimed."""
    if width == 1:
        for step, x in enumerate(values, first):
            log({"loss": x}, step=step)
        return
    for step, x in enumerate(values, first):
        log(
            {
                "loss": x, "accuracy": x, "lr": x, "grad_norm": x, "f1": x, "precision": x, "recall": x,
                "val_loss": x, "val_accuracy": x, "seconds": x,
            },
            step=step,
        )  # fmt: skip


def hold(seconds: float) -> Callable[[], None]:
    """Return a function that keeps the GIL busy with pure Python for about `seconds`."""
    clock = time.perf_counter

    def work() -> None:
        end, total = clock() + seconds, 0.0
        while clock() < end:
            for number in range(20):
                total += number * 0.5

    return work


def compare(
    log: Log,
    r2: Log,
    *,
    width: int,
    calls: int,
    first: int = 0,
    scale: float = 1.0,
    before: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Time rounds of a tool's calls and of R2's in turn; figures in microseconds, ratios a round.

    `calls` is the tool's count a round. R2 gets as many in busy rounds, else its own count. Steps
    rise from `first`, since some trackers drop those that don't; `next_step` is where they end.
    """
    own, other = random_values(calls), random_values(calls if before else max(100, int(REFERENCE_CALLS * scale)))
    time_calls(log, width, own[:1000], first, before)  # warm up
    time_calls(r2, width, other[:1000], 0, before)
    tool: list[dict[str, float]] = []
    base: list[dict[str, float]] = []
    for number in range(ROUNDS):
        turns = [(log, own, tool), (r2, other, base)]
        for function, values, rounds in turns if number % 2 else reversed(turns):
            rounds.append(summed_up(time_calls(function, width, values, first + (number + 1) * len(values), before)))
    return {
        "calls": calls * ROUNDS, "next_step": first + (ROUNDS + 1) * calls,
        "tool": medians(tool), "r2": medians(base), "ratio": ratios(tool, base),
    }  # fmt: skip


def alone(r2: Log, *, width: int, scale: float = 1.0, before: Callable[[], object] | None = None) -> dict[str, float]:
    """Time R2 before the tool is there: the threads of a tool can slow R2 down too, which flatters ratios."""
    values = random_values(300 if before else max(100, int(REFERENCE_CALLS * scale)))
    return medians([summed_up(time_calls(r2, width, values, 0, before)) for _ in range(4)][1:])


def summed_up(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Return p50, p99, mean and max in microseconds."""
    ordered = sorted(nanoseconds)
    return {
        "p50": percentile(ordered, 50) / 1000,
        "p99": percentile(ordered, 99) / 1000,
        "mean": statistics.fmean(ordered) / 1000,
        "max": ordered[-1] / 1000,
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of a sorted sequence."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians of the rounds' figures, and the greatest maximum."""
    figures = {key: statistics.median(one[key] for one in rounds) for key in ("p50", "p99", "mean")}
    return figures | {"max": max(one["max"] for one in rounds)}


def ratios(tool: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return each figure over R2's: the median of the rounds' ratios, and for p50 the lowest and highest round."""
    pairs = list(zip(tool, base, strict=True))
    found: dict[str, Any] = {
        key: statistics.median(one[key] / two[key] for one, two in pairs) for key in ("p50", "p99", "mean")
    }
    found["max"] = max(one["max"] for one in tool) / max(two["max"] for two in base)
    rounds = [one["p50"] / two["p50"] for one, two in pairs]
    return found | {"p50_low": min(rounds), "p50_high": max(rounds)}


def rss() -> int:
    """Return this process's resident bytes."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all its descendants, ended ones included."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files under `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
