"""Captures come from a process beside training, and whatever becomes of it costs training nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import unitrack
from unitrack import _services
from unitrack.capture import beside

BUILT_IN = {"git", "environment", "hardware"}


@pytest.fixture
def witness(tmp_path, monkeypatch):
    """Install the plugin `witness` where this process finds it; returns the folder it writes to."""
    site = tmp_path / "site"
    (site / "witness-1.0.dist-info").mkdir(parents=True)
    (site / "witness.py").write_text(Path(__file__).with_name("witness.py").read_text())
    (site / "witness-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1.0\n")
    (site / "witness-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nwitness = witness\n")
    told = tmp_path / "told"
    told.mkdir()
    monkeypatch.setenv("WITNESS", str(told))
    monkeypatch.setenv("UNITRACK_CAPTURE", "git,environment,hardware,witness")
    monkeypatch.syspath_prepend(str(site))
    yield told
    sys.modules.pop("witness", None)


def captures_of(run):
    return unitrack.get_run(run.id, dir=run.spec.store).captures


def is_gone(pid):
    """Tell whether a process is not there, or a zombie that is somebody else's to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def pids(told, count):
    until(lambda: (told / "pid").exists() and len((told / "pid").read_text().split()) == count)
    return [int(pid) for pid in (told / "pid").read_text().split()]


def test_they_arrive_within_seconds_though_training_never_lets_go_of_the_interpreter(tmp_path):
    subprocess.run(["git", "init", "-q"], check=True)
    with unitrack.init("p", dir=tmp_path / "s") as run:
        journal, began, step, found = run._writer.path, time.monotonic(), 0, set()
        while not found >= BUILT_IN:
            assert time.monotonic() - began < 10.0, f"only {found} after {step} steps"
            end, total = time.perf_counter() + 0.001, 0.0
            while time.perf_counter() < end:  # holds the interpreter, as a loop in pure Python does
                for number in range(20):
                    total += number * 0.5
            run.log({"loss": total}, step=(step := step + 1))
            if step % 100 == 0:
                events = map(json.loads, journal.read_text().splitlines())
                found = {event["name"] for event in events if event["type"] == "capture"}
    assert len(unitrack.get_run(run.id, dir=tmp_path / "s").series("loss")) == step


def test_a_run_of_an_instant_has_them_all_and_leaves_no_process_and_no_thread(tmp_path, witness):
    with unitrack.init("p", dir=tmp_path / "s") as run:
        pass
    assert set(captures_of(run)) == {*BUILT_IN, "witness"} and captures_of(run)["witness"] == {"argv": "a job"}
    (pid,) = pids(witness, 1)
    until(lambda: is_gone(pid))
    assert run._services._captures._process.wait(10) == 0
    assert not any(thread.name == "unitrack-captures" for thread in threading.enumerate())


def test_the_plugins_of_the_training_process_are_called_with_the_run_each_where_its_manual_says(tmp_path, witness):
    with unitrack.init("p", dir=tmp_path / "s") as run:
        assert run.log_dataset("witness://data") is None
    view = unitrack.get_run(run.id, dir=tmp_path / "s")
    assert [dataset.version for dataset in view.datasets] == ["v1"]
    assert (witness / "started").read_text() == f"{run.id} {run.path} False\n"
    assert (witness / "finished").read_text() == f"{run.id} {run.path} finished True\n"


def test_training_loads_no_plugin_that_has_nothing_to_do_there(tmp_path):
    code = (
        "import sys, unitrack\n"
        f"with unitrack.init('p', dir={str(tmp_path / 's')!r}) as run:\n"
        "    run.log({'loss': 1.0})\n"
        "print([name for name in ('pluggy', 'unitrack.plugins', 'unitrack.hookspecs') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_modules_in_the_current_folder_do_not_get_in_the_way(tmp_path):
    for name in ("json", "runpy", "platform", "unitrack"):
        Path(f"{name}.py").write_text("raise SystemExit('a namesake')\n")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        pass
    assert set(captures_of(run)) >= {"environment", "hardware"}


def test_what_plugins_and_programs_print_reaches_stderr_and_spoils_nothing(tmp_path, witness, monkeypatch, capfd):
    monkeypatch.setenv("CHAOS", "print")
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text("print('printed at the start', end='')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start"))
    with unitrack.init("p", dir=tmp_path / "s") as run:
        run._services._captures.finish(30)
        out, err = capfd.readouterr()  # the hook that tells of the end is called here, and prints here
    assert set(captures_of(run)) == {*BUILT_IN, "witness"}
    assert (witness / "finished").exists()  # no line was lost, that of the hooks neither
    assert out == "" and all(words in err for words in ("at import", "by a collector", "by a program"))


def test_values_that_json_lacks_are_spelled_once(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "no json")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        run._services._captures.finish(30)
        lines = [json.loads(line) for line in run._writer.path.read_text().splitlines()]
    (values,) = [line["values"] for line in lines if line["type"] == "capture" and line["name"] == "witness"]
    assert values["text"] == "\\NaN" and values["nan"] == "NaN" and values["bad"] == "?"


def test_a_collector_that_fails_costs_its_own_entry(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "exit")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        pass
    assert captures_of(run)["witness"] == {"error": "SystemExit('enough')"} and set(captures_of(run)) == {
        *BUILT_IN,
        "witness",
    }


def test_a_plugin_that_fails_is_named_in_one_warning(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "raise")
    with pytest.warns(unitrack.UnitrackWarning, match=r"'witness' \(witness 1.0\).* no such channel") as caught:
        with unitrack.init("p", dir=tmp_path / "s") as run:
            pass
    assert len(caught) == 1 and set(captures_of(run)) == {*BUILT_IN, "witness"}


def test_a_process_that_is_killed_costs_what_it_had_not_told(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "die")
    with pytest.warns(unitrack.UnitrackWarning, match="ended with code -9") as caught:
        with unitrack.init("p", dir=tmp_path / "s") as run:
            until(run._services._captures._over.is_set)
            run.log({"loss": 1.0})
    view = unitrack.get_run(run.id, dir=tmp_path / "s")
    assert len(caught) == 1 and view.status == "finished" and len(view.series("loss")) == 1
    assert set(view.captures) == BUILT_IN and "finished" in (witness / "finished").read_text()


def test_a_process_that_dies_before_it_knows_the_plugins_leaves_it_to_training_to_tell_them_of_the_end(
    tmp_path, witness, monkeypatch
):
    monkeypatch.setenv("CHAOS", "die at import")
    with pytest.warns(unitrack.UnitrackWarning, match="ended with code 7"):
        with unitrack.init("p", dir=tmp_path / "s") as run:
            pass
    assert captures_of(run) == {} and (witness / "finished").read_text().endswith("finished True\n")


@pytest.mark.parametrize(("chaos", "processes", "told_of_the_end"), [("hang", 2, True), ("hang at import", 1, False)])
def test_a_process_that_hangs_is_stopped_with_all_it_started_and_the_run_ends(
    tmp_path, witness, monkeypatch, chaos, processes, told_of_the_end
):
    monkeypatch.setenv("CHAOS", chaos)
    run = unitrack.init("p", dir=tmp_path / "s")
    found = pids(witness, processes)
    monkeypatch.setattr(_services, "_CAPTURE_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.warns(unitrack.UnitrackWarning, match=r"after 0.3 s .* still at work") as caught:
        run.finish()
    assert time.monotonic() - began < 5.0 and len(caught) == 1 and run.status == "finished"
    for pid in found:
        until(lambda pid=pid: is_gone(pid))
    assert run._services._captures._process.returncode == -signal.SIGKILL  # collected: no zombie
    assert set(captures_of(run)) == (BUILT_IN if chaos == "hang" else set())
    assert (witness / "finished").exists() is told_of_the_end


@pytest.mark.parametrize("fork", [False, True])
def test_a_training_that_is_killed_leaves_no_process_behind(tmp_path, witness, monkeypatch, fork):
    """With a forked child that lives on, too: it must not hold the pipe that tells of training's death."""
    monkeypatch.setenv("CHAOS", "hang")
    code = (
        "import os, sys, time, unitrack\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        f"run = unitrack.init('p', dir={str(tmp_path / 's')!r})\n"
        f"if {fork} and not os.fork():\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"  # whole lines: both processes write into one pipe
        "    time.sleep(3600)\n"
        "os.write(1, b'0\\n')\n"
        "time.sleep(3600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as training:
        children = [int(training.stdout.readline()) for _ in range(1 + fork)]
        found = pids(witness, 2)
        training.kill()
        for pid in found:
            until(lambda pid=pid: is_gone(pid))
        for pid in filter(None, children):
            os.kill(pid, signal.SIGKILL)


def test_a_forked_child_neither_waits_for_them_nor_warns(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "hang at import")
    with pytest.warns(unitrack.UnitrackWarning, match="still at work"):
        run = unitrack.init("p", dir=tmp_path / "s")
        child = os.fork()
        if not child:
            began = time.monotonic()
            run.log({"child": 1.0})
            run.log_dataset("witness://data")
            run.finish()
            os._exit(0 if time.monotonic() - began < 1.0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        monkeypatch.setattr(_services, "_CAPTURE_SECONDS", 0.1)
        run.finish()
    assert len(unitrack.get_run(run.id, dir=tmp_path / "s").series("child")) == 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("executable", None, "path of Python"), ("executable", "/nowhere/python", "/nowhere/python"), ("frozen", True, "frozen")],
)  # fmt: skip
def test_where_no_process_can_be_started_one_warning_says_so(tmp_path, witness, monkeypatch, name, value, reason):
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.warns(unitrack.UnitrackWarning, match=f"can't start a process to capture.*{reason}") as caught:
        with unitrack.init("p", dir=tmp_path / "s") as run:
            run.log({"loss": 1.0})
    view = unitrack.get_run(run.id, dir=tmp_path / "s")
    assert len(caught) == 1 and view.status == "finished" and view.captures == {}
    assert (witness / "finished").read_text().endswith("finished True\n")


def test_where_no_thread_can_be_started_the_process_goes_at_once(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("CHAOS", "hang")
    started = []

    class Thread(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    class Process(beside._Process):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(beside.threading, "Thread", Thread)
    monkeypatch.setattr(beside, "_Process", Process)
    with pytest.warns(unitrack.UnitrackWarning, match="can't start new thread"):
        with unitrack.init("p", dir=tmp_path / "s"):
            pass
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_disabled_mode_starts_nothing(tmp_path, witness, monkeypatch):
    monkeypatch.setattr(beside, "_Process", None)
    with unitrack.init("p", dir=tmp_path / "s", mode="disabled") as run:
        run.log_dataset("witness://data")
        assert run._services._captures is None
    assert list(witness.iterdir()) == []
