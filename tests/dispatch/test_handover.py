"""One sender a run: a claim dies with its holder, and `unitrack sync` takes over from the one in the background."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from unitrack.backend import RetryableError
from unitrack.dispatch.background import start_background
from unitrack.dispatch.claim import Claim, is_claimed
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Stopped, Worker
from unitrack.events import Metrics
from unitrack.journal.cursor import load_cursor


@pytest.fixture
def claims(runs):
    runs.finished("one")
    made = [Claim(runs.folder("one"), "b") for _ in range(3)]
    yield made
    for claim in made:
        claim.release()


def test_one_holds_a_claim_and_the_one_in_line_is_next(claims, runs):
    holder, second, third = claims
    assert holder.take() and not second.take()
    assert not holder.is_wanted()
    second.ask()
    assert holder.is_wanted()
    holder.release()
    assert not third.take(), "who asked is served first"
    assert second.take()
    assert not second.is_wanted(), "its place in the line is free again"
    assert is_claimed(runs.folder("one"), "b")


def test_a_claim_and_a_place_in_line_die_with_their_process(claims, runs):
    (holder, *_), run = claims, runs.folder("one")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from unitrack.dispatch.claim import Claim\n"
        f"claim = Claim(Path({str(run)!r}), 'b')\n"
        "claim.take()\n"
        "other = Claim(claim._path.parents[1], 'b'); other.ask()\n"
        "print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    assert not holder.take()
    process.kill()
    process.wait()
    process.stdout.close()
    assert holder.take() and not holder.is_wanted()


class _Hands:
    """Two workers in one thread: while the first waits, the second may act."""

    def __init__(self, runs, backend):
        self.runs, self.backend, self.told = runs, backend, []

    def worker(self, wait, **job):
        told = []
        fields = {"store": str(self.runs.root), "backend": "memory", "type": "memory", "patience": 5.0, **job}
        self.told.append(told)
        return Worker(Job(**fields), self.backend, told.append, wait)

    def states(self, index):
        return [(one.state, one.taken) for one in self.told[index] if type(one).__name__ == "Result"]


@pytest.fixture
def hands(runs, backend):
    return _Hands(runs, backend)


def test_one_that_follows_lets_go_when_asked_and_nothing_is_sent_twice(runs, hands, backend):
    writer = runs.writer("one")
    writer.append(Metrics, {"loss": 1.0}, 1)
    asked = Claim(runs.folder("one"), "memory")

    def wait(seconds):
        if seconds:
            asked.ask()

    hands.worker(wait, runs=("one",), follow=True).run()
    assert hands.states(0) == [("busy", False)]
    assert load_cursor(runs.folder("one"), "memory").sent == 3
    asked.release()
    hands.worker(lambda _seconds: None, runs=("one",), takeover=True).run()
    assert hands.states(1) == [("live", False)]
    assert [len(events) for events in backend.runs["one"].values()] == [1, 1, 1]


def test_one_that_waits_for_a_dead_tracker_lets_go_too(runs, hands, backend):
    runs.finished("one")
    asked = Claim(runs.folder("one"), "memory")
    backend.trouble = lambda records: (_ for _ in ()).throw(RetryableError("connection refused"))
    hands.worker(lambda seconds: asked.ask() if seconds else None, runs=("one",), follow=True).run()
    assert hands.states(0) == [("busy", False)]
    assert load_cursor(runs.folder("one"), "memory").error == "connection refused", "told while it was waited for"
    asked.release()


def test_one_that_does_not_follow_keeps_what_it_began(runs, hands, backend):
    runs.finished("one", steps=30)
    asked = Claim(runs.folder("one"), "memory")
    backend.trouble = lambda records: asked.ask()
    hands.worker(lambda _seconds: None, runs=("one",)).run()
    assert hands.states(0) == [("sent", False)]


def test_who_takes_over_says_so(runs, hands):
    runs.writer("one")
    held = Claim(runs.folder("one"), "memory")
    held.take()

    def wait(seconds):
        if seconds and held.is_wanted():
            held.release()

    hands.worker(wait, runs=("one",), takeover=True).run()
    assert hands.states(0) == [("live", True)]


def test_a_live_run_in_good_hands_is_left_there_unless_it_is_named(runs, hands):
    runs.writer("one")
    held = Claim(runs.folder("one"), "memory")
    held.take()
    hands.worker(lambda _seconds: None, takeover=True).run()
    assert hands.states(0) == [("live", False)]
    with pytest.raises(Stopped):
        hands.worker(_stop_at_wait, runs=("one",), takeover=True).run()
    held.release()


def _stop_at_wait(seconds):
    if seconds:
        raise Stopped


# -- with processes ------------------------------------------------------------------------------


def _settings(tmp_path, chaos, trouble=""):
    (tmp_path / "unitrack.toml").write_text(f'[backends.chaos]\nfolder = "{chaos}"\ntrouble = "{trouble}"\n')


def _sync(*arguments, **options):
    command = [sys.executable, "-m", "unitrack", "sync", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def _until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize("trouble", ["down", "hang"])
def test_sync_takes_over_from_the_background_under_the_settings_of_today(runs, chaos, tmp_path, trouble):
    """The one in the background waits for a tracker that is down, or hangs in a call that never returns."""
    runs.finished("one", steps=8)
    chaos.mkdir()
    _settings(tmp_path, chaos, trouble)
    assert start_background(runs.root, "one")
    _until(lambda: is_claimed(runs.folder("one"), "chaos"))
    _until(lambda: trouble == "hang" or load_cursor(runs.folder("one"), "chaos").error is not None)
    _settings(tmp_path, tmp_path / "elsewhere")
    began = time.monotonic()
    done = _sync("one", "--json")
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]["chaos"]
    assert (result["state"], result["taken"]) == ("sent", True)
    assert len((tmp_path / "elsewhere" / "one.jsonl").read_text().splitlines()) == 12
    assert seconds < (5.0 if trouble == "down" else 25.0)
    log = runs.folder("one") / "sync" / "dispatcher.log"
    _until(lambda: "one  chaos" in log.read_text())  # its own report: it has ended, too


def test_a_live_run_that_was_taken_over_is_followed_in_the_background_again(runs, chaos, tmp_path):
    writer = runs.writer("one")
    _settings(tmp_path, chaos)
    assert start_background(runs.root, "one")
    _until((chaos / "one.jsonl").exists)
    done = _sync("one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a new dispatcher in the background" in done.stderr
    writer.append(Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    _until(lambda: load_cursor(runs.folder("one"), "chaos").told == "finished")
    lines = (chaos / "one.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 4


def test_of_two_dispatchers_beside_one_training_the_second_needs_no_worker(runs, chaos, tmp_path):
    writer = runs.writer("one")
    _settings(tmp_path, chaos)
    assert start_background(runs.root, "one")
    _until((chaos / "one.jsonl").exists)
    second = _sync("one", "--follow", "--beside")
    assert (second.returncode, "busy" in second.stdout) == (0, True)
    assert is_claimed(runs.folder("one"), "chaos")
    writer.seal("finished")
    _until(lambda: not is_claimed(runs.folder("one"), "chaos"))


def test_the_background_gives_up_after_the_patience_of_the_settings_and_sync_completes_it(runs, chaos, tmp_path):
    writer = runs.writer("one")
    chaos.mkdir()
    (tmp_path / "unitrack.toml").write_text(f'patience = 1\n[backends.chaos]\nfolder = "{chaos}"\ntrouble = "down"\n')
    assert start_background(runs.root, "one")
    log = runs.folder("one") / "sync" / "dispatcher.log"
    _until(lambda: log.read_text().count("connection refused") >= 3)  # longer than its patience: the run goes on
    assert is_claimed(runs.folder("one"), "chaos")
    writer.seal("finished")
    _until(lambda: "unitrack sync one --to chaos" in log.read_text())
    assert not is_claimed(runs.folder("one"), "chaos")
    (status,) = json.loads(_sync("--status", "--json").stdout)
    assert (status["state"], status["pending"], status["error"]) == ("failed", 3, "connection refused")
    (chaos / "up").touch()
    assert _sync().returncode == 0
    assert len((chaos / "one.jsonl").read_text().splitlines()) == 3


def test_a_dispatcher_that_is_killed_leaves_nothing_in_the_way(runs, chaos, tmp_path):
    runs.finished("one", steps=200)
    _settings(tmp_path, chaos, "slow")
    process = subprocess.Popen(
        [sys.executable, "-m", "unitrack", "sync", "one", "--follow"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    _until((chaos / "one.jsonl").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _settings(tmp_path, chaos)
    assert _sync("one").returncode == 0
    assert load_cursor(runs.folder("one"), "chaos").sent == 204
