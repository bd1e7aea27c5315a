"""How long a point takes from `log()` to being visible in MLflow, and whether the worker grows with the run.

    python benchmarks/backends/latency.py [--seconds 20] [--points 1000000]

First a training logs ten points a second, live, and each is looked for in MLflow's own database. Then a finished run
of so many points is sent, and the worker's resident memory is sampled. SQLite stands for a tracker that is not the
bottleneck of a poll; prints one line of JSON for each part.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

import unitrack


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--points", type=int, default=1_000_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="unitrack-bench-") as folder:
        os.chdir(folder)
        Path("unitrack.toml").write_text('capture = []\n[backends.mlflow]\ntracking_uri = "sqlite:///mlflow.db"\n')
        if given.seconds:
            print(json.dumps(live(given.seconds)), flush=True)
        if given.points:
            print(json.dumps(memory(given.points)), flush=True)


def live(seconds: float) -> dict[str, float]:
    """Log ten points a second; return the delays in seconds of those logged once the run was in MLflow."""
    logged: dict[int, float] = {}
    seen: dict[int, float] = {}
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(seen, over))
    watcher.start()
    step = first = 0
    with unitrack.init("latency", id="live") as run:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            step += 1
            logged[step] = time.monotonic()
            run.log({"loss": step / 2}, step=step)
            if seen and not first:  # from here on the worker is at work
                first, until = step, time.monotonic() + seconds
            time.sleep(0.1)
        run.finish(timeout=60)
    over.set()
    watcher.join()
    delays = [seen[step] - at for step, at in logged.items() if step > first and step in seen]
    return {
        "points": len(delays), "missing": len([step for step in logged if step not in seen]),
        "p50": round(statistics.median(delays), 3), "max": round(max(delays), 3),
    }  # fmt: skip


def watch(seen: dict[int, float], over: threading.Event) -> None:
    """Note when each step is first there, as any reader of the database sees it."""
    while not over.is_set():
        try:
            with sqlite3.connect("file:mlflow.db?mode=ro", uri=True) as database:
                rows = database.execute("select step from metrics where step > ?", (max(seen, default=0),)).fetchall()
            database.close()
        except sqlite3.OperationalError:  # not made yet, or locked for a moment
            rows = []
        now = time.monotonic()
        for (step,) in rows:
            seen.setdefault(step, now)
        time.sleep(0.02)


def memory(points: int) -> dict[str, float]:
    """Send a finished run; return the worker's resident MB at a tenth of the way and at its end, and the rate."""
    with unitrack.init("memory", id="long", mode="offline") as run:
        for step in range(points // 10):
            run.log({f"metric{number}": step + number / 10 for number in range(10)}, step=step)
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "unitrack", "sync", "long"], stdout=subprocess.DEVNULL)
    samples: list[tuple[float, int]] = []
    while process.poll() is None:
        try:
            workers = psutil.Process(process.pid).children()
            samples.append((time.monotonic() - began, max((one.memory_info().rss for one in workers), default=0)))
        except psutil.Error:
            continue
        time.sleep(0.1)
    seconds = time.monotonic() - began
    tenth = max(rss for at, rss in samples if at < seconds * 0.2)
    return {
        "points": points, "seconds": round(seconds, 1), "points_per_second": round(points / seconds),
        "early_mb": round(tenth / 1e6, 1), "most_mb": round(max(rss for _, rss in samples) / 1e6, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
