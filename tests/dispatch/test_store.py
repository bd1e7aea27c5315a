"""A whole store in the care of one dispatcher: thousands of runs, each served in time, in bounded memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from unitrack.backend import RetryableError
from unitrack.dispatch import watch, worker
from unitrack.dispatch.messages import Job
from unitrack.dispatch.watch import StoreWatch
from unitrack.dispatch.worker import Stopped, Worker
from unitrack.events import Metrics
from unitrack.journal.cursor import cursor_path, load_cursor

RUNS = 1000


class Clock:
    """Time that passes only when somebody waits; `then` acts at each wait."""

    def __init__(self, then=lambda count: None, most=50):
        self.now, self.waits, self.then, self.most = time.time(), 0, then, most

    def __call__(self):
        return self.now

    def wait(self, seconds):
        if seconds == 0:
            return
        self.now += seconds
        self.waits += 1
        if self.waits > self.most:
            raise Stopped
        self.then(self.waits)


class PerRun:
    """Makes an object for each delivery, as a factory should; all keep what they get in the same place."""

    name = "memory"

    def __init__(self, kept):
        self.kept = kept

    def create(self, options):
        one = type(self.kept)()
        one.runs, one.closed, one.calls = self.kept.runs, self.kept.closed, self.kept.calls
        one.trouble = lambda records: self.kept.trouble([(one.run.id, record) for record in records])
        return one


@pytest.fixture
def serve(runs, backend):
    def serve(then=lambda count: None, most=50):
        told, clock = [], Clock(then, most)
        job = Job(store=str(runs.root), backend="memory", type="memory", follow=True)
        served = Worker(job, PerRun(backend), told.append, clock.wait, clock)
        served._retrier._clock = clock
        with pytest.raises(Stopped):
            served.run()
        return [one for one in told if type(one).__name__ == "Result"]

    return serve


def test_runs_that_come_later_are_found_and_old_ones_cost_a_stat(runs, serve, backend, monkeypatch):
    for number in range(5):
        runs.finished(f"run-{number}")
    looks = []
    signature = watch.signature
    monkeypatch.setattr(watch, "signature", lambda folder: looks.append(folder.name) or signature(folder))

    def then(count):
        if count == 10:
            runs.finished("later")
        if count == 12:
            looks.clear()

    results = serve(then, most=20)
    assert [one.run for one in results] == [*(f"run-{number}" for number in range(5)), "later"]
    assert looks == [], "nothing is read of what is done"


def test_a_run_that_was_done_and_is_resumed_is_sent_again(runs, serve, backend):
    runs.finished("one")

    def then(count):
        if count == 5:
            again = runs.writer("one")
            again.append(Metrics, {"loss": 9.0}, 9)
            again.seal("failed")

    assert [one.state for one in serve(then, most=20)] == ["sent", "sent"]
    assert backend.closed[-1][1] == "failed"
    assert all(len(events) == 1 for events in backend.runs["one"].values())


def test_a_backlog_does_not_delay_the_run_that_has_just_begun(runs, serve, backend, monkeypatch):
    """The tracker needs 50 ms of the test's clock for each request; the backlog is worth minutes."""
    for number in range(60):
        runs.finished(f"a-{number:02}", steps=200)
    began = {}

    def trouble(records):
        clock.now += 0.05
        if clock.now - start > 20.0 and "new" not in began:
            began["new"] = clock.now
            runs.finished("new", steps=1)
        if records[0][0] == "new":
            raise Stopped

    clock = Clock()
    start = clock.now
    backend.trouble = trouble
    job = Job(store=str(runs.root), backend="memory", type="memory", follow=True)
    with pytest.raises(Stopped):
        Worker(job, PerRun(backend), lambda message: None, clock.wait, clock).run()
    assert clock.now - began["new"] < 2.0
    assert clock.now - start < 60.0, "the backlog was not through"


def test_more_live_runs_than_may_be_open_are_all_followed_to_their_end(runs, serve, backend, monkeypatch):
    monkeypatch.setattr(worker, "_MOST_OPEN", 3)
    writers = [runs.writer(f"run-{number}") for number in range(8)]
    most = []

    def then(count):
        most.append(len(list(_locks())))
        if count == 4:
            for writer in writers:
                writer.append(Metrics, {"loss": 1.0}, 1)
        if count == 10:
            for writer in writers[:4]:
                writer.seal("finished")
            for writer in writers[4:]:
                runs.die(writer)

    results = serve(then, most=60)
    assert sorted(one.run for one in results) == [f"run-{number}" for number in range(8)]
    assert {backend_run: sorted(len(e) for e in events.values()) for backend_run, events in backend.runs.items()} == {
        **{f"run-{number}": [1, 1, 1, 1] for number in range(4)},
        **{f"run-{number}": [1, 1, 1] for number in range(4, 8)},
    }
    assert max(most) <= 4


def _locks():
    for handle in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{handle}").endswith("memory.lock"):
                yield handle
        except FileNotFoundError:
            continue


def test_when_all_fails_it_rests_and_begins_again_when_the_tracker_is_back(runs, serve, backend):
    for number in range(30):
        runs.finished(f"run-{number:02}")
    down = [True]

    def trouble(records):
        if down[0]:
            raise RetryableError("connection refused")

    def then(count):
        if count == 60:
            down[0] = False

    backend.trouble = trouble
    results = serve(then, most=400)
    assert len([one for one in results if one.state == "failed"]) < 30, "not each run is tried to find it down"
    assert {one.run for one in results if one.state == "sent"} == {f"run-{number:02}" for number in range(30)}


def test_a_store_watch_takes_runs_without_journals_and_a_missing_store_calmly(tmp_path):
    seen = StoreWatch(tmp_path / "none", "b", time.time)
    assert list(seen.candidates()) == []
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    assert list(StoreWatch(tmp_path, "b", time.time).candidates()) == []


# -- a thousand runs, with processes ------------------------------------------------------------


def write_many(runs, count, steps=20):
    """Write one run and copy its journal: a thousand writers would take a minute."""
    template = runs.finished("template", steps=steps).path
    data = template.read_bytes()
    for number in range(count):
        name = f"r-{number:04}"
        journal = runs.folder(name) / "journal"
        journal.mkdir(parents=True)
        (journal / template.name).write_bytes(data.replace(b'"run":"template"', f'"run":"{name}"'.encode()))
    for path in template.parent.iterdir():
        path.unlink()
    template.parent.rmdir()
    template.parents[1].rmdir()


class Watched:
    """The most memory and open files of a process and its children, sampled while it runs."""

    def __init__(self, process):
        self.process, self.rss, self.files = psutil.Process(process.pid), 0, 0

    def look(self):
        for one in [self.process, *self.process.children(recursive=True)]:
            try:
                self.rss = max(self.rss, one.memory_info().rss)
                self.files = max(self.files, one.num_fds())
            except psutil.Error:
                continue


def test_a_thousand_finished_runs_go_in_bounded_memory_and_resume_after_a_kill(runs, chaos, tmp_path):
    write_many(runs, RUNS)
    (tmp_path / "unitrack.toml").write_text(f'[backends.chaos]\nfolder = "{chaos}"\n')
    command = [sys.executable, "-m", "unitrack", "sync", "--follow"]
    began = time.monotonic()
    process = _start(command)
    watched = Watched(process)
    while _done(chaos) < RUNS // 3:
        assert time.monotonic() - began < 60 and process.poll() is None
        watched.look()
        time.sleep(0.05)
    early = watched.rss
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in chaos.glob("*.status")}
    process = _start(command)
    watched.process = psutil.Process(process.pid)
    while _done(chaos) < RUNS:
        assert time.monotonic() - began < 120 and process.poll() is None
        watched.look()
        time.sleep(0.05)
    seconds = time.monotonic() - began
    runs.finished("fresh")
    began = time.monotonic()
    while not (chaos / "fresh.status").exists():
        assert time.monotonic() - began < 20
        time.sleep(0.01)
    picked_up = time.monotonic() - began
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    print(f"{RUNS} runs in {seconds:.1f} s, most {watched.rss / 1e6:.0f} MB (at a third: {early / 1e6:.0f} MB), "
          f"{watched.files} files; a new run after {picked_up:.2f} s")  # fmt: skip
    again = [name for name, at in before.items() if (chaos / name).stat().st_mtime_ns != at]
    assert len(again) <= 1, "only the run that was under way is closed twice"
    twice = {path.stem for path in chaos.glob("*.jsonl") if len(path.read_text().splitlines()) != 24}
    assert len(twice - {"fresh", *(Path(name).stem for name in again)}) <= 1, "only the run under way is sent twice"
    assert watched.rss < early * 1.3 + 10e6 and watched.files < 60
    assert picked_up < 2.0


def _start(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _done(folder):
    return sum(1 for _ in folder.glob("*.status"))


def test_what_was_sent_is_known_from_the_cursors_alone(runs, serve, backend):
    for number in range(3):
        runs.finished(f"run-{number}")
    serve(most=3)
    calls = len(backend.calls)
    cursor_path(runs.folder("run-1"), "memory").unlink()
    serve(most=3)
    assert len(backend.calls) > calls
    assert {run: load_cursor(runs.folder(run), "memory").told for run in backend.runs} == dict.fromkeys(
        backend.runs, "finished"
    )
    assert json.loads(cursor_path(runs.folder("run-1"), "memory").read_text())["sent"] == 7
