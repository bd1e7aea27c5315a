"""What only unitrack is asked: does it stay fast with size, threads, processes and old runs."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _isolate
import _measure

__all__ = ["SCENARIOS"]

_CLIENTS = ("click", "duckdb", "mlflow", "neptune", "numpy", "pandas", "pyarrow", "requests", "rich", "scipy", "wandb")


def steady(folder: str, scale: float) -> dict[str, Any]:
    """Compare the first tenth of a run of 2 million events with the last."""
    run = _start(folder)
    tenth = _measure.random_values(int(200_000 * scale))
    first = _measure.summed_up(_measure.time_calls(run.log, 1, tenth, 0))
    for part in range(1, 9):
        _measure.drive(run.log, 1, tenth, part * len(tenth))
    last = _measure.summed_up(_measure.time_calls(run.log, 1, tenth, 9 * len(tenth)))
    run.finish()
    return {
        "events": 10 * len(tenth), "first_tenth_p50_us": first["p50"], "last_tenth_p50_us": last["p50"],
        "first_tenth_p99_us": first["p99"], "last_tenth_p99_us": last["p99"],
    }  # fmt: skip


def threads(folder: str, scale: float) -> dict[str, Any]:
    """Log from 64 threads into one run."""
    run, each, count = _start(folder), _measure.random_values(int(10_000 * scale)), 64
    gate = threading.Barrier(count + 1)

    def work() -> None:
        gate.wait()
        _measure.drive(run.log, 1, each)

    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    gate.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - begin
    run.finish()
    return _kept(folder, count * len(each), took) | {"threads": count}


def processes(folder: str, scale: float) -> dict[str, Any]:
    """Log from 8 spawned processes into one run, which each gets by pickle."""
    run, each, count = _start(folder), int(50_000 * scale), 8
    context = multiprocessing.get_context("spawn")
    gate, spans = context.Barrier(count), context.SimpleQueue()
    workers = [context.Process(target=_log_in_process, args=(run, each, gate, spans)) for _ in range(count)]
    for worker in workers:
        worker.start()
    found = [spans.get() for _ in workers]
    for worker in workers:
        worker.join()
    run.finish()
    took = max(end for _, end in found) - min(begin for begin, _ in found)
    return _kept(folder, count * each, took) | {"processes": count}


def _log_in_process(run: Any, count: int, gate: Any, spans: Any) -> None:
    values = _measure.random_values(count)
    gate.wait()
    begin = time.time()
    _measure.drive(run.log, 1, values)
    spans.put((begin, time.time()))


def imports(folder: str, scale: float) -> dict[str, Any]:
    """Time `import unitrack` against a bare interpreter, in turn, and tell which heavy modules it loads."""
    runs = max(3, int(20 * scale))
    _time_python("import unitrack", folder)  # compiles what isn't
    bare, ours = [], []
    for _ in range(runs):
        bare.append(_time_python("pass", folder))
        ours.append(_time_python("import unitrack", folder))
    code = f"import sys, unitrack; print(*[name for name in {_CLIENTS!r} if name in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {
        "runs": runs, "bare_ms": statistics.median(bare) * 1000, "import_ms": statistics.median(ours) * 1000,
        "added_ms": (statistics.median(ours) - statistics.median(bare)) * 1000, "heavy_modules": heavy,
    }  # fmt: skip


def _time_python(code: str, folder: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return time.perf_counter() - begin


def inits(folder: str, scale: float) -> dict[str, Any]:
    """Time `init()` in fresh processes, each in a fresh store."""
    runs = max(3, int(20 * scale))
    stores = [str(Path(folder, str(number))) for number in range(runs)]
    took = [_isolate.ask("_own:init_once", folder=store)["seconds"] for store in stores]
    return {"runs": runs, "init_median_ms": statistics.median(took) * 1000, "init_max_ms": max(took) * 1000}


def init_once(folder: str) -> dict[str, Any]:
    """Return the seconds of this process's first `init()`."""
    import unitrack

    begin = time.perf_counter()
    run = unitrack.init("benchmark", dir=folder)
    took = time.perf_counter() - begin
    run.finish()
    return {"seconds": took}


def finishing(folder: str, scale: float) -> dict[str, Any]:
    """Time `finish()` of a run of 1 million events."""
    run, values = _start(folder), _measure.random_values(int(1_000_000 * scale))
    _measure.drive(run.log, 1, values)
    begin = time.perf_counter()
    run.finish()
    return {"events": len(values), "finish_s": time.perf_counter() - begin}


def reading(folder: str, scale: float) -> dict[str, Any]:
    """Read a journal of 1 million events with one metric each, from a fresh process."""
    _write(folder, int(1_000_000 * scale), 1)
    return _isolate.ask("_own:read", folder=folder)


def reading_wide(folder: str, scale: float) -> dict[str, Any]:
    """Read a run of 10 million points (ten metrics an event), from a fresh process."""
    _write(folder, int(1_000_000 * scale), 10)
    return _isolate.ask("_own:read", folder=folder)


def read(folder: str) -> dict[str, Any]:
    """Open the run, then read all its metrics as columns; with pyarrow, once more as one table.

    The peak of memory is taken before the table.
    """
    import unitrack

    before, begin = _measure.rss(), time.perf_counter()
    view = unitrack.get_run("run", dir=folder)
    names = sorted(view.metrics)
    opened = time.perf_counter() - begin
    first = len(view.series("loss"))
    one = time.perf_counter() - begin - opened
    points = first + sum(len(view.series(name)) for name in names if name != "loss")
    took = time.perf_counter() - begin - opened
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    begin = time.perf_counter()
    arrow = view.to_arrow().num_rows if importlib.util.find_spec("pyarrow") else None
    tabled = {} if arrow is None else {"arrow_table_s": time.perf_counter() - begin, "arrow_rows": arrow}
    return {
        "points": points, "open_s": opened, "one_metric_s": one, "all_metrics_s": took,
        "points_per_s": points / took, "peak_rss_mb": peak / 1e6, "rss_before_mb": before / 1e6,
        **tabled,
    }  # fmt: skip


def listing(folder: str, scale: float) -> dict[str, Any]:
    """List 10,000 finished runs: without an index, then with it, each from a fresh process."""
    count = int(10_000 * scale)
    _multiply_run(Path(folder), count)
    cold = _isolate.ask("_own:list_runs", folder=folder)
    warm = _isolate.ask("_own:list_runs", folder=folder)
    return {"runs": cold["runs"], "expected": count, "cold_s": cold["seconds"], "warm_s": warm["seconds"]}


def list_runs(folder: str) -> dict[str, Any]:
    """List ids, statuses and summaries as `unitrack ls` does."""
    import unitrack

    begin = time.perf_counter()
    rows = [(view.id, view.status, view.summary.get("loss")) for view in unitrack.runs(dir=folder)]
    return {"runs": len(rows), "seconds": time.perf_counter() - begin}


def _multiply_run(store: Path, count: int) -> None:
    """Write copies of one finished run under other ids, each with a seal that is right, an hour old.

    The index keeps nothing of what was touched seconds ago, so young runs would never be warm.
    """
    aged = time.time() - 3600
    _write(str(store), 20, 1)
    (journal,) = (store / "runs" / "run" / "journal").glob("*.jsonl")
    header, *lines = journal.read_bytes().splitlines(keepends=True)
    status = json.loads(lines.pop())
    rest = b"".join(lines)
    for number in range(count - 1):
        name = f"copy-{number:06d}"
        body = header.replace(b'"run":"run"', f'"run":"{name}"'.encode()) + rest
        sealed = json.dumps(status | {"sha256": hashlib.sha256(body).hexdigest()}, separators=(",", ":"))
        folder = store / "runs" / name / "journal"
        folder.mkdir(parents=True)
        (folder / journal.name).write_bytes(body + sealed.encode() + b"\n")
        os.utime(folder / journal.name, (aged, aged))
        os.utime(folder, (aged, aged))
    os.utime(journal.parent, (aged, aged))


def _start(folder: str) -> Any:
    import unitrack

    return unitrack.init("benchmark", id="run", dir=folder)


def _write(folder: str, events: int, width: int) -> None:
    run = _start(folder)
    _measure.drive(run.log, width, _measure.random_values(events))
    run.finish()


def _kept(folder: str, expected: int, took: float) -> dict[str, Any]:
    import unitrack

    left = len(unitrack.get_run("run", dir=folder).series("loss"))
    return {"events": expected, "lost": expected - left, "events_per_s": expected / took}


SCENARIOS: dict[str, Callable[[str, float], dict[str, Any]]] = {
    "steady": steady,
    "threads": threads,
    "processes": processes,
    "imports": imports,
    "inits": inits,
    "finishing": finishing,
    "reading": reading,
    "reading_wide": reading_wide,
    "listing": listing,
}
"""Each is called as `scenario(folder, scale)` in a process of its own; `scale` 1 gives the counts in its words."""
