from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from unitrack.rerun.executors import Exit, Place
from unitrack.rerun.executors.process import ProcessExecutor
from unitrack.rerun.hardware import hardware_class
from unitrack.rerun.job import Job, fixed_environment

ENVIRON = {**os.environ, "SECRET_TOKEN": "s3cret", "UNITRACK_STRICT": "1", "PYTHONPATH": "/elsewhere"}


def job(*command: str, timeout: float = 60.0, seed: int = 3) -> Job:
    return Job(
        commit="c" * 40,
        tree="t" * 40,
        folder=".",
        command=command,
        seed=seed,
        inputs=(),
        environment=fixed_environment(seed, {"ALLOWED": "yes"}),
        executor="process",
        fingerprint="here",
        timeout=timeout,
        project="digits",
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "checkout/src").mkdir(parents=True)
    folder = tmp_path / "checkout"
    return Place(checkout=folder, folder=folder, store=tmp_path / "store", run="rerun-1", log=tmp_path / "output.log")


def run_python(place: Place, code: str, **changes: float) -> Exit:
    (place.folder / "train.py").write_text(code)
    return ProcessExecutor(ENVIRON, grace=0.5).run(job("python", "train.py", "{seed}", **changes), place)


def test_the_command_runs_in_the_checkout_with_this_interpreter_and_the_seed(place: Place) -> None:
    ended = run_python(place, "import os, sys; print(sys.executable, os.getcwd(), sys.argv[1])")
    assert (ended.code, ended.problem) == (0, None)
    assert place.log.read_text().split() == [sys.executable, str(place.folder), "3"]


def test_output_of_both_streams_is_in_the_log(place: Place) -> None:
    run_python(place, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert place.log.read_text() == "out\nerr\n"


def test_a_training_sees_what_is_allowed_and_nothing_else(place: Place) -> None:
    run_python(place, "import json, os; print(json.dumps(dict(os.environ)))")
    seen = json.loads(place.log.read_text())
    assert seen["ALLOWED"] == "yes"
    assert seen["UNITRACK_DIR"] == str(place.store)
    assert seen["UNITRACK_RUN_ID"] == "rerun-1"
    assert seen["UNITRACK_SEED"] == seen["PYTHONHASHSEED"] == "3"
    assert seen["UNITRACK_MODE"] == "offline"
    assert seen["OMP_NUM_THREADS"] == "1"
    assert not {"SECRET_TOKEN", "UNITRACK_STRICT"} & set(seen)
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(place.folder), str(place.folder / "src")]


def test_packages_of_the_checkout_are_imported_from_it(place: Place) -> None:
    (place.folder / "src/mine").mkdir()
    (place.folder / "src/mine/__init__.py").write_text("where = __file__")
    run_python(place, "import mine; print(mine.where)")
    assert place.log.read_text().startswith(str(place.folder))


def test_no_shell_reads_the_command(place: Place) -> None:
    ended = ProcessExecutor(ENVIRON).run(job("python", "-c", "import sys; print(sys.argv)", "$(id); {seed} | x"), place)
    assert ended.code == 0
    assert "$(id); 3 | x" in place.log.read_text()


def test_a_program_that_is_not_there_is_named(place: Place) -> None:
    ended = ProcessExecutor(ENVIRON).run(job("no-such-program"), place)
    assert ended.code is None
    assert ended.problem is not None
    assert "'no-such-program' can't be started" in ended.problem


STUBBORN_FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); print('up', flush=True); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_for(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_time_limit_ends_the_whole_family_even_if_it_ignores_sigterm(place: Place) -> None:
    ended = run_python(place, STUBBORN_FAMILY, timeout=1.5)
    assert ended.code is None
    assert ended.problem == "it was stopped after 1.5 s, the timeout of [train]"
    wait_for(lambda: gone(int(place.log.read_text().split()[0])))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_left_behind_is_ended_with_its_parent(place: Place) -> None:
    left = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    assert run_python(place, left).code == 0
    wait_for(lambda: gone(int(place.log.read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_ends_the_training_and_goes_on(place: Place) -> None:
    def interrupt() -> None:
        wait_for(lambda: place.log.exists() and "up" in place.log.read_text())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_python(place, STUBBORN_FAMILY)
    thread.join()
    wait_for(lambda: gone(int(place.log.read_text().split()[0])))


def test_a_signal_shows_as_a_negative_code(place: Place) -> None:
    assert run_python(place, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").code == -9


def test_the_fingerprint_is_the_same_twice_and_names_the_interpreter() -> None:
    first = ProcessExecutor().fingerprint()
    assert first == ProcessExecutor().fingerprint()
    assert sys.version.split()[0] in first


def test_an_exit_names_the_class_of_the_machine_and_no_image(place: Place) -> None:
    ended = run_python(place, "")
    assert (ended.image, ended.hardware) == (None, hardware_class())
