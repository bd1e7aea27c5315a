"""One worker process a backend: what fails, hangs or dies there delays nobody else and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from unitrack.config import BackendSettings
from unitrack.dispatch.background import start_background, wait_until_sent
from unitrack.dispatch.dispatcher import Dispatch, sync
from unitrack.dispatch.messages import Lowering, Progress, Waiting
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import Metrics
from unitrack.journal import layout
from unitrack.journal.cursor import load_cursor


def backend(folder, trouble="", **fields):
    return BackendSettings(type="chaos", options={"folder": str(folder), "trouble": trouble}, **fields)


@pytest.fixture
def send(runs, chaos, tmp_path):
    def send(observe=lambda _name, _message: None, plugins=None, **fields):
        backends = fields.pop("backends", None) or {"chaos": backend(chaos, fields.pop("trouble", ""))}
        return sync(
            Dispatch(store=runs.root, backends=backends, root=tmp_path, poll=0.05, **fields), observe, plugins=plugins
        )

    return send


def sent(folder, run="one"):
    return [tuple(json.loads(line)) for line in (folder / f"{run}.jsonl").read_text().splitlines()]


def test_runs_reach_the_backend_and_the_report_says_so(runs, chaos, send):
    writer = runs.finished("one", steps=20)
    runs.finished("two")
    told = []
    report = send(lambda name, message: told.append((name, message)))
    assert report.complete
    assert [(one.run, one.state, one.sent) for one in report.results["chaos"]] == [
        ("one", "sent", 24),
        ("two", "sent", 7),
    ]
    assert sent(chaos) == [(writer.id, seq) for seq in range(1, 25)]
    assert (chaos / "one.status").read_text() == "finished"
    assert [one.name for one in report.lowered["chaos"]] == ["loss", "loss"], "once a run"
    assert sum(isinstance(message, Lowering) for _, message in told) == 2


def test_a_second_time_there_is_nothing_to_do(runs, chaos, send):
    runs.finished("one")
    send()
    assert send().results == {"chaos": ()}
    assert len(sent(chaos)) == 7


def test_one_backend_in_trouble_is_no_trouble_for_another(runs, chaos, send, tmp_path):
    runs.finished("one")
    other = {"good": backend(chaos), "bad": backend(tmp_path / "b", "fatal"), "gone": backend(tmp_path / "g", "import")}
    report = send(backends=other)
    assert not report.complete
    assert report.results["good"][0].state == "sent"
    assert "bad password" in report.results["bad"][0].reason
    assert "No module named 'chaos_client'" in report.results["gone"][0].reason


def test_a_worker_that_crashes_is_started_again_and_goes_on(runs, chaos, send):
    writer = runs.finished("one", steps=20)
    chaos.mkdir()
    report = send(trouble="crash")
    assert report.complete
    assert sent(chaos) == [(writer.id, seq) for seq in range(1, 25)]


def test_a_worker_that_always_crashes_is_given_up_with_its_last_words(runs, chaos, send):
    runs.finished("one")
    report = send(trouble="always crash")
    assert not report.complete
    assert "code 9: a last word" in report.errors["chaos"]


def test_a_worker_that_hangs_is_killed_and_the_others_do_not_wait_for_it(runs, chaos, send, tmp_path):
    runs.finished("one")
    ended = {}
    report = send(
        lambda name, message: ended.setdefault((name, getattr(message, "state", None)), time.monotonic()),
        backends={"hangs": backend(tmp_path / "h", "hang"), "good": backend(chaos)},
        stall=1.5,
    )
    assert report.results["good"][0].state == "sent"
    assert "hangs" in report.errors
    assert ("hangs", "sent") not in ended


def test_a_backend_that_is_not_installed_is_named_with_what_to_install(runs, chaos, send):
    runs.finished("one")
    report = send(backends={"x": BackendSettings(type="kaos")})
    assert "no backend 'kaos' can be used" in report.errors["x"]
    assert "did you mean 'chaos'?" in report.errors["x"]
    assert "pip install unitrack-kaos" in report.errors["x"]


def test_wrong_options_stop_the_backend_with_their_reason(runs, chaos, send):
    runs.finished("one")
    report = send(backends={"chaos": BackendSettings(type="chaos")})
    assert "needs folder" in report.errors["chaos"]


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_a_backend_may_have_a_python_of_its_own(runs, chaos, send, python):
    runs.finished("one")
    report = send(backends={"chaos": backend(chaos, python=python)})
    assert report.complete == (python == sys.executable)
    assert report.complete or "/nowhere/python can't be started" in report.errors["chaos"]


def test_a_name_that_cannot_be_a_files_is_refused_before_anything_starts(runs, chaos, send):
    with pytest.raises(UsageError, match="can't name a backend"):
        send(backends={"../x": backend(chaos)})


def test_following_sends_events_within_a_second_and_ends_with_the_run(runs, chaos, send):
    writer = runs.writer("one")
    seen = {}

    def train():
        until = time.monotonic() + 20
        while not (chaos / "one.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.01)
        writer.append(Metrics, {"loss": 1.0}, 1)
        began = time.monotonic()
        while (writer.id, 3) not in sent(chaos) and time.monotonic() < until:
            time.sleep(0.01)
        seen["lag"] = time.monotonic() - began
        writer.seal("failed")

    training = threading.Thread(target=train)
    training.start()
    report = send(runs=("one",), follow=True)
    training.join()
    assert report.results["chaos"][0].state == "sent"
    assert seen["lag"] < 2.0
    assert (chaos / "one.status").read_text() == "failed"


def test_a_tracker_that_comes_back_gets_everything(runs, chaos, send, tmp_path):
    runs.finished("one")
    chaos.mkdir()
    waits = []

    def observe(_name, message):
        if isinstance(message, Waiting):
            waits.append(message.reason)
            if len(waits) == 2:
                (chaos / "up").touch()

    assert send(observe, trouble="down").complete
    assert waits == ["connection refused", "connection refused"]


def test_plugins_are_told_of_a_run_that_was_given_up(runs, chaos, send):
    runs.finished("one")
    told = []

    class Plugins:
        def notify(self, hook, **arguments):
            told.append((hook, arguments))

    send(trouble="fatal", plugins=Plugins())
    assert told == [("unitrack_backend_failed", {"run_id": "one", "backend": "chaos", "reason": "bad password"})]


def test_two_dispatchers_at_once_send_everything_once(runs, chaos, send):
    writer = runs.finished("one", steps=60)
    reports = []
    second = threading.Thread(target=lambda: reports.append(send(trouble="slow")))
    second.start()
    reports.append(send(trouble="slow"))
    second.join()
    assert all(report.complete for report in reports)
    assert sent(chaos) == [(writer.id, seq) for seq in range(1, 65)]


def test_an_interrupt_keeps_how_far_it_came(runs, chaos, send):
    runs.finished("one", steps=400)

    def observe(_name, message):
        if isinstance(message, Progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(observe, trouble="slow")
    done = len(sent(chaos))
    assert 0 < done < 404
    assert load_cursor(runs.folder("one"), "chaos").sent == done
    assert send().complete
    assert len(sent(chaos)) == len(set(sent(chaos))) == 404


def test_a_worker_leaves_when_its_dispatcher_dies(runs, chaos, tmp_path):
    runs.writer("one")
    (tmp_path / "unitrack.toml").write_text(f'[backends.chaos]\nfolder = "{chaos}"\n')
    command = [sys.executable, "-m", "unitrack", "sync", "one", "--follow"]
    dispatcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until((chaos / "one.jsonl").exists)
    dispatcher.kill()
    dispatcher.wait()
    lock = layout.sync_dir(runs.folder("one")) / "chaos.lock"
    from unitrack.journal._lock import is_held

    _until(lambda: not is_held(lock))


def test_the_background_dispatcher_outlives_training_and_sees_its_death(runs, chaos, tmp_path):
    """Training is a process of its own here, killed with SIGKILL in the middle."""
    (tmp_path / "unitrack.toml").write_text(f'[backends.chaos]\nfolder = "{chaos}"\n')
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from unitrack.dispatch.background import start_background\n"
        "from unitrack.journal.writer import JournalWriter, WriterInfo\n"
        "from unitrack.events import RunStarted, Metrics\n"
        f"writer = JournalWriter(Path({str(runs.folder('live'))!r}), WriterInfo(run='live'))\n"
        "writer.append(RunStarted, project='p')\n"
        "began = time.perf_counter()\n"
        f"assert start_background(Path({str(runs.root)!r}), 'live')\n"
        "print(time.perf_counter() - began, flush=True)\n"
        "step = 0\n"
        "while True:\n"
        "    writer.append(Metrics, {'loss': 1.0}, step := step + 1)\n"
        "    time.sleep(0.01)\n"
    )
    training = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    seconds = float(training.stdout.readline())
    _until((chaos / "live.jsonl").exists)
    training.send_signal(signal.SIGKILL)
    training.wait()
    training.stdout.close()
    assert wait_until_sent(runs.folder("live"), ["chaos"], 20.0) == []
    assert (chaos / "live.status").read_text() == "killed"
    (journal,) = layout.journals(runs.folder("live"))
    assert len(sent(chaos, "live")) == journal.read_bytes().count(b"\n")
    assert seconds < 0.1


def test_a_background_dispatcher_that_cannot_start_is_a_warning(runs, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.warns(UnitrackWarning, match="unitrack sync one"):
        assert not start_background(runs.root, "one")


def test_waiting_is_bounded_and_names_who_is_late(runs):
    runs.finished("one")
    began = time.monotonic()
    assert wait_until_sent(runs.folder("one"), ["a", "b"], 0.2) == ["a", "b"]
    assert time.monotonic() - began < 2.0


def _until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def test_the_environment_of_a_worker_is_that_of_the_dispatcher(runs, chaos, send, monkeypatch):
    """Credentials reach the tracker's client by the environment only."""
    runs.finished("one")
    assert "PYTHONPATH" in os.environ
    assert send().complete
