"""Send points to a local MLflow server by unitrack's worker and by bare `log_batch` calls of 1,000, side by side.

    python benchmarks/backends/mlflow_server.py [--points 200000] [--width 10]

Each side sends so many points, so many metrics an event. Slices alternate, in changing order, on one server
(SQLite, one worker process), each side in a run of its own. Prints points per second of both and their ratio.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}

from mlflow import MlflowClient
from mlflow.entities import Metric

from unitrack import events
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack_mlflow import MlflowFactory

SLICES = 10
BATCH = 1000


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server on a free port; yields its URI."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rpartition(":")[2],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(uri, process)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(uri: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the MLflow server did not start")


class Bare:
    """What a careful user would write: batches of 1,000, nothing else."""

    def __init__(self, uri: str) -> None:
        self._client: Any = MlflowClient(uri)
        self._run = self._client.create_run(self._client.create_experiment("bare")).info.run_id

    def send(self, points: list[tuple[str, float, float, int]]) -> float:
        began = time.perf_counter()
        for start in range(0, len(points), BATCH):
            some = points[start : start + BATCH]
            self._client.log_batch(self._run, metrics=[Metric(n, v, int(t * 1000), s) for n, v, t, s in some])
        return time.perf_counter() - began


class Ours:
    """A journal and the worker that sends it, from opening the run to its close."""

    def __init__(self, uri: str, store: Path, width: int) -> None:
        self._store, self._width = store, width
        layout.create_store(store)
        self._writer = JournalWriter(layout.run_dir(store, "run"), WriterInfo(run="run"), durability="finish")
        self._writer.append(events.RunStarted, project="ours")
        self._options = {"tracking_uri": uri}

    def send(self, points: list[tuple[str, float, float, int]]) -> float:
        for start in range(0, len(points), self._width):
            some = points[start : start + self._width]
            self._writer.append(events.Metrics, {name: value for name, value, _, _ in some}, some[0][3])
        job = Job(store=str(self._store), backend="mlflow", type="mlflow", options=self._options)
        results: list[Any] = []
        began = time.perf_counter()
        Worker(job, MlflowFactory(), results.append).run()
        took = time.perf_counter() - began
        (result,) = [one for one in results if hasattr(one, "state")]
        if result.pending or result.dead:
            raise RuntimeError(f"not all was sent: {result}")
        return took

    def close(self) -> None:
        self._writer.seal("finished")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--points", type=int, default=200_000)
    arguments.add_argument("--width", type=int, default=10)
    given = arguments.parse_args()
    width = given.width
    each = given.points // SLICES // width * width
    generator = random.Random(7)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as uri:
        sides = {"bare": Bare(uri), "ours": Ours(uri, Path(folder) / "store", width)}
        took: dict[str, list[float]] = {name: [] for name in sides}
        for part in range(-1, SLICES):  # the first warms up and isn't counted
            some = [
                (f"metric_{index % width}", generator.random(), time.time(), part * each + index // width)
                for index in range(each if part >= 0 else BATCH)
            ]
            for name in generator.sample(list(sides), len(sides)):
                seconds = sides[name].send(some)
                took[name] += [seconds] if part >= 0 else []
        sides["ours"].close()
    rates = {name: each / statistics.median(seconds) for name, seconds in took.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} points/s (median of {SLICES} slices of {each:,})")
    ratios = [bare / ours for bare, ours in zip(took["bare"], took["ours"], strict=True)]
    print(f"ratio: {rates['ours'] / rates['bare']:.3f} (slices: {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
