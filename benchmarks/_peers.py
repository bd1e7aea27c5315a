"""The scenarios every tool goes through, each in a process of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import _isolate
import _measure
import psutil
from _tools import TOOLS, load

__all__ = ["busy", "count_left", "kill", "latency", "volume"]

_BURST = 5000
_HELD = 0.001  # seconds of work that holds the GIL between calls


def calls_within(tool: str, seconds: float, most: int, *, width: int = 1, scale: float = 1.0) -> int:
    """Return how many calls of `tool` fit into about `seconds`, at least 20: slow tools get fewer."""
    cost = TOOLS[tool].microseconds * (1 if width == 1 else 3) / 1e6
    return max(20, int(min(most, seconds / cost) * scale))


def latency(tool: str, folder: str, scale: float) -> dict[str, Any]:
    """Time calls back to back, with one metric and with ten, in rounds that alternate with R2."""
    return _latency(tool, folder, scale, held=None)


def busy(tool: str, folder: str, scale: float) -> dict[str, Any]:
    """Time calls that each follow a stretch of pure Python which holds the GIL."""
    return _latency(tool, folder, scale, held=_HELD)


def _latency(name: str, folder: str, scale: float, *, held: float | None) -> dict[str, Any]:
    seconds, most, before = (0.4, 20_000, None) if held is None else (0.8, 300, _measure.hold(held))
    r2 = _measure.reference(Path(folder, "r2.jsonl"))
    alone = {width: _measure.alone(r2, width=width, scale=scale, before=before) for width in (1, 10)}
    begin = time.perf_counter()
    tool = load(name)
    imported = time.perf_counter()
    home = Path(folder, "tool")
    home.mkdir()
    tool.start(home)
    started = time.perf_counter()
    answer: dict[str, Any] = {"import_s": imported - begin, "init_s": started - imported}
    first = 0
    for width, key in ((1, "one"), (10, "ten")):
        calls = calls_within(name, seconds, most, width=width, scale=scale)
        found = _measure.compare(tool.log, r2, width=width, calls=calls, first=first, scale=scale, before=before)
        first, answer[key] = found["next_step"], found | {"r2_alone": alone[width]}
    tool.finish()
    return answer


def volume(tool: str, folder: str, scale: float, width: int) -> dict[str, Any]:
    """Log from init to finish: points a second, CPU, memory and disk."""
    _isolate.adopt_orphans()
    adapter = load(tool)
    home = Path(folder, "tool")
    home.mkdir()
    values = _measure.random_values(calls_within(tool, 8.0, 500_000, width=width, scale=scale))
    warm = min(1000, len(values) // 4)
    cpu, begin = _measure.cpu_seconds(), time.perf_counter()
    adapter.start(home)
    _measure.drive(adapter.log, width, values[:warm])
    resident, early = _measure.rss(), _measure.folder_bytes(home)
    _measure.drive(adapter.log, width, values[warm:], warm)
    logged, grown = time.perf_counter() - begin, _measure.rss() - resident
    adapter.finish()
    took, cpu = time.perf_counter() - begin, _measure.cpu_seconds() - cpu
    points, size = len(values) * width, _measure.folder_bytes(home)
    kept = _isolate.ask("_peers:count_left", tool=tool, folder=str(home))
    return {
        "calls": len(values), "kept": kept["left"], "points": points, "seconds": took, "finish_s": took - logged,
        "points_per_s": points / took, "cpu_s": cpu, "cpu_s_per_million": cpu / points * 1e6,
        "rss_growth": grown, "rss_growth_per_million_events": grown / (len(values) - warm) * 1e6,
        "bytes": size, "bytes_early": early, "bytes_per_point": size / points,
    }  # fmt: skip


def kill(tool: str, folder: str, scale: float) -> dict[str, Any]:
    """Kill the whole tree right after a burst and count the events that are left, in a fresh process."""
    calls = calls_within(tool, 4.0, _BURST, scale=scale)
    ended = _isolate.call("_peers:burst", killed=True, tool=tool, folder=folder, calls=calls)
    if ended:
        return ended
    return {"calls": calls} | _isolate.ask("_peers:count_left", tool=tool, folder=folder)


def burst(tool: str, folder: str, calls: int) -> None:
    """Log `calls` events, then kill all children and this process."""
    _isolate.adopt_orphans()
    adapter = load(tool)
    adapter.start(Path(folder))
    values = _measure.random_values(calls)
    tree = psutil.Process().children(recursive=True)
    _measure.drive(adapter.log, 1, values)
    for process in tree:
        os.kill(process.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def count_left(tool: str, folder: str) -> dict[str, Any]:
    """Return the events the tool's own reader finds."""
    adapter = load(tool)
    try:
        return {"left": adapter.count_left(Path(folder))}
    except Exception as error:  # a store its own reader can't open holds nothing, and the table says why
        return {"left": 0, "unreadable": f"{type(error).__name__}: {error}"[:200]}
