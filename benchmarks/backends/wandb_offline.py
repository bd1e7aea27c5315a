"""Sending to W&B offline against a bare `wandb.log` loop: rows a second of both, and their ratio.

Usage: wandb_offline.py [EVENTS]. Both write the same metrics; the bare loop's `finish` counts, since W&B's rows are
in memory until then. The worker reads a journal, as ever.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(WANDB_SILENT="true", WANDB_ERROR_REPORTING="false", WANDB_CONSOLE="off")

from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import Metrics, RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack_wandb import WandbFactory


def bare(root: Path, events: int, values: dict[str, float]) -> float:
    """Return the seconds of a loop of `wandb.log`."""
    import wandb

    settings = wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True)
    run = wandb.init(mode="offline", project="p", dir=str(root), settings=settings)
    began = time.perf_counter()
    for step in range(events):
        run.log(values, step=step)
    run.finish()
    return time.perf_counter() - began


def through_the_worker(root: Path, events: int, values: dict[str, float]) -> float:
    """Return the seconds of a worker that sends a run of the same rows."""
    layout.create_store(root / ".unitrack")
    writer = JournalWriter(layout.run_dir(root / ".unitrack", "one"), WriterInfo(run="one"), durability="finish")
    writer.append(RunStarted, project="p")
    for step in range(events):
        writer.append(Metrics, values, step)
    writer.seal("finished")
    options = {"mode": "offline", "dir": str(root)}
    job = Job(store=str(root / ".unitrack"), backend="wandb", type="wandb", options=options)
    began = time.perf_counter()
    Worker(job, WandbFactory(), lambda _: None).run()
    return time.perf_counter() - began


def main() -> None:
    """Measure one and ten metrics an event, the one after the other, three times each; print the medians."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        through_the_worker(Path(folder, "warm"), 10, {"m": 1.0})
        for metrics in (1, 10):
            values = {f"m{index}": index + 0.123456789 for index in range(metrics)}
            times = {bare: [], through_the_worker: []}
            for turn in range(3):
                for measure, taken in times.items():
                    root = Path(folder, f"{measure.__name__}-{metrics}-{turn}")
                    root.mkdir()
                    taken.append(measure(root, events, values))
            old, new = (events / sorted(taken)[1] for taken in times.values())
            print(f"{metrics:2} metrics: wandb.log {old:8.0f} rows/s, worker {new:8.0f} rows/s, ratio {new / old:.2f}")


if __name__ == "__main__":
    main()
