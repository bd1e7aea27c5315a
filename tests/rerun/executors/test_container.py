from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from containers import Engine, Image, push_python_image, tamper_with

from unitrack.config import ContainerSettings
from unitrack.errors import ConfigError, EvidenceError
from unitrack.journal import layout
from unitrack.reader import get_run
from unitrack.rerun.executors import Exit, Place
from unitrack.rerun.executors.container import ContainerExecutor
from unitrack.rerun.executors.core import ImagePython, core_folders, this_python
from unitrack.rerun.executors.engine import OWNER
from unitrack.rerun.executors.engine import Engine as Command
from unitrack.rerun.job import Job, fixed_environment
from unitrack.rerun.owner import is_gone, owner_token

TRAIN = """
import unitrack
with unitrack.init() as run:
    run.log({"acc": 0.5})
    open("/tmp/model", "w").write("weights")
    run.log_artifact("/tmp/model", name="model")
"""
EATS = "bytearray(400 << 20)"


def job(*command: str, timeout: float = 60.0) -> Job:
    return Job(
        commit="c" * 40,
        tree="t" * 40,
        folder=".",
        command=command,
        seed=3,
        inputs=(),
        environment=fixed_environment(3, {"ALLOWED": "yes"}),
        executor="container",
        fingerprint="here",
        timeout=timeout,
        project="digits",
    )


def place_in(folder: Path, code: str = "", **more: object) -> Place:
    checkout = folder / "checkout" / "digits"
    checkout.mkdir(parents=True, exist_ok=True)
    (checkout / "train.py").write_text(code)
    store = folder / "store"
    layout.create_store(store)
    place = {"checkout": checkout, "folder": checkout, "store": store, "run": "rerun-1", "log": folder / "output.log"}
    return Place(**{**place, **more})


@pytest.fixture
def executor(engine: Engine, image: Image, tmp_path: Path) -> ContainerExecutor:
    return make(engine, image.reference, tmp_path)


def make(engine: Engine, reference: str, folder: Path) -> ContainerExecutor:
    settings = ContainerSettings(image=reference, memory="200m", pids=40, scratch="16m")
    command = Command(name=engine.name, environ={**engine.environ, "SECRET": "s3cret"})
    return ContainerExecutor(settings, store=folder / "store", engine=command)


@pytest.fixture
def run(executor: ContainerExecutor, engine: Engine, tmp_path: Path) -> Callable[..., tuple[Exit, str]]:
    """Run a training and make sure that nothing of it is left."""

    def _run(code: str, *, timeout: float = 60.0, **more: object) -> tuple[Exit, str]:
        place = place_in(tmp_path, code, **more)
        ended = executor.run(job("python", "train.py", "{seed}", timeout=timeout), place)
        assert engine.containers() == []
        assert list((place.store / "rerun").glob("staged-*")) == []
        return ended, place.log.read_text()

    return _run


Run = Callable[..., tuple[Exit, str]]


def test_a_run_and_its_artifacts_come_out_whole_although_the_image_lacks_unitrack(run: Run, tmp_path: Path) -> None:
    ended, log = run(TRAIN)
    assert (ended.code, ended.problem) == (0, None), log
    view = get_run("rerun-1", dir=tmp_path / "store")
    assert (view.status, view.summary["acc"], view.name) == ("finished", 0.5, "cccccccccccc seed 3")
    (model,) = (each for each in view.artifacts if each.name == "model")
    assert (tmp_path / "store/objects" / model.digest[7:9] / model.digest[7:]).read_text() == "weights"


def test_a_training_is_nobody_with_no_rights_and_sees_what_is_allowed(run: Run) -> None:
    _, log = run(
        "import json, os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)\n"
        "print(json.dumps([os.getuid(), status['CapBnd'].strip(), status['NoNewPrivs'].strip(), dict(os.environ)]))"
    )
    user, rights, no_new, environ = json.loads(log)
    assert (user, int(rights, 16), no_new) == (65534, 0, "1")
    assert (environ["ALLOWED"], environ["PYTHONHASHSEED"], environ["OMP_NUM_THREADS"]) == ("yes", "3", "1")
    assert "SECRET" not in environ


def test_nothing_but_the_checkout_its_run_and_scratch_can_be_written(run: Run) -> None:
    paths = ["/etc/x", "/usr/local/x", "/unitrack/x", "/unitrack/core/x", "/checkout/x", "/var/tmp/x", "/run/x"]
    ended, log = run(
        f"for path in {paths}:\n"
        "    try: open(path, 'w'); print('wrote', path)\n"
        "    except OSError: pass\n"
        "for path in ('here', '/tmp/x'): open(path, 'w').close()\n"
        "try: open('/tmp/x', 'wb').write(bytes(32 << 20))\n"
        "except OSError as error: print('full')"
    )
    assert (ended.code, log.split()) == (0, ["full"])


def test_the_store_that_counts_is_not_there(run: Run, tmp_path: Path) -> None:
    layout.create_store(tmp_path / "store")
    (tmp_path / "store/registry/digits.json").write_text("{}")
    _, log = run("import os; print([path for path, _, names in os.walk('/') if 'digits.json' in names])")
    assert log.strip() == "[]"


def test_there_is_no_network(run: Run) -> None:
    ended, log = run("import socket; socket.create_connection(('192.0.2.1', 80), 5)")
    assert ended.code == 1
    assert "unreachable" in log


def test_inputs_can_be_read_where_they_are_and_not_written(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "x.csv").write_text("1,2")
    ended, log = run(f"print(open('{data}/x.csv').read()); open('{data}/x.csv', 'w')", inputs=(data,))
    assert ended.code == 1
    assert "1,2" in log  # an engine joins both streams, in either order
    assert "Read-only" in log
    assert (data / "x.csv").read_text() == "1,2"


def test_a_crash_keeps_its_code_and_brings_no_run(run: Run, tmp_path: Path) -> None:
    ended, log = run(f"{TRAIN}\nprint('late'); raise SystemExit(7)")
    assert (ended.code, ended.problem, log) == (7, None, "late\n")
    assert not layout.run_dir(tmp_path / "store", "rerun-1").exists()


@pytest.mark.parametrize(
    "code", [EATS, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {EATS!r}])\n{TRAIN}"]
)
def test_lack_of_memory_is_noticed_also_when_only_a_child_died_of_it(run: Run, code: str, tmp_path: Path) -> None:
    ended, _ = run(code)
    assert ended.problem is not None
    assert "ran out of memory, [train.container].memory is 200m" in ended.problem
    assert not layout.run_dir(tmp_path / "store", "rerun-1").exists()


def test_a_fork_bomb_meets_its_limit(run: Run) -> None:
    ended, log = run("import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(30)")
    assert ended.code == 1
    assert "BlockingIOError" in log


def test_a_training_that_hangs_is_stopped_even_if_it_ignores_signals(run: Run) -> None:
    ended, _ = run("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", timeout=1.0)
    assert ended.problem == "it was stopped after 1 s, the timeout of [train]"
    assert ended.seconds < 20


def test_a_job_that_is_no_longer_wanted_ends(run: Run) -> None:
    wanted = threading.Event()
    threading.Timer(0.5, wanted.set).start()
    ended, _ = run("import time; time.sleep(60)", cancelled=wanted.is_set)
    assert ended.problem is not None
    assert "no longer wanted" in ended.problem


def test_a_run_that_holds_a_link_stays_where_it_is(run: Run, tmp_path: Path) -> None:
    ended, _ = run(f"{TRAIN}\nimport os; os.symlink('/etc/passwd', f'{{run.path}}/stolen')")
    assert ended.problem is not None
    assert "stolen, which is neither a file nor a folder" in ended.problem
    assert not layout.run_dir(tmp_path / "store", "rerun-1").exists()


def test_an_object_counts_under_the_digest_of_its_bytes(run: Run, tmp_path: Path) -> None:
    forged = "0" * 64
    ended, _ = run(
        f"{TRAIN}\nimport os; os.makedirs('/unitrack/store/objects/00', exist_ok=True)\n"
        f"open('/unitrack/store/objects/00/{forged}', 'w').write('forged')"
    )
    assert ended.problem is None
    assert not (tmp_path / "store/objects/00" / forged).exists()


def test_a_container_that_somebody_removes_is_no_evidence(
    executor: ContainerExecutor, engine: Engine, tmp_path: Path
) -> None:
    place = place_in(tmp_path, "import time; time.sleep(60)")
    executor.prepare()  # which runs a container, too
    ended: list[Exit] = []
    thread = threading.Thread(target=lambda: ended.append(executor.run(job("python", "train.py"), place)))
    thread.start()
    while not (found := engine.call("ps", "--format", "{{.Names}}").split()):
        time.sleep(0.05)
    engine.call("rm", "--force", found[0])
    thread.join()
    assert ended[0].problem is not None or ended[0].code != 0  # podman ends it first, docker doesn't
    assert ended[0].seconds < 30


def test_a_program_the_image_lacks_is_named(executor: ContainerExecutor, tmp_path: Path) -> None:
    place = place_in(tmp_path)
    ended = executor.run(job("no-such-program"), place)
    assert ended.code != 0
    said = f"{ended.problem} {place.log.read_text()}"  # whether the engine or the container's init finds it out
    assert any(words in said for words in ("no-such-program", "not in the image", "failed to exec pid1"))


def test_a_tag_is_refused_and_a_missing_image_is_no_evidence(engine: Engine, image: Image, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"an image that can change: run .unitrack lock."):
        make(engine, image.tagged, tmp_path)
    wrong = image.reference.replace(image.digest, f"sha256:{'0' * 64}")
    with pytest.raises(EvidenceError, match=f"{wrong} can't be had"):
        make(engine, wrong, tmp_path).prepare()


def test_an_image_that_was_changed_in_the_registry_is_refused(
    engine: Engine, registry: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = f"tampered-{engine.name}"
    pushed = push_python_image(registry, name, files={"note": "as it was"})
    tamper_with(pushed, tmp_path_factory.getbasetemp(), b"as it was", b"as it is!")
    with pytest.raises(EvidenceError, match="can't be had"):
        make(engine, pushed.reference, tmp_path).prepare()


def test_the_fingerprint_is_the_image_and_the_class_of_the_machine(executor: ContainerExecutor, image: Image) -> None:
    assert executor.fingerprint().startswith(f"image {image.digest} on ")


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_container import job, make, place_in
from containers import Engine
executor = make(Engine({engine!r}, {{}}), {image!r}, Path({folder!r}))
executor.run(job("python", "train.py"), place_in(Path({folder!r}), "import time; time.sleep(60)"))
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(
    executor: ContainerExecutor, engine: Engine, image: Image, tmp_path: Path
) -> None:
    code = KILLED.format(
        tests=str(Path(__file__).parent), engine=engine.name, image=image.reference, folder=str(tmp_path)
    )
    support = str(Path(__file__).parents[2] / "support")
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**engine.environ, "PYTHONPATH": support}, start_new_session=True
    )
    try:
        while not engine.call("ps", "--quiet", "--filter", f"label={OWNER}"):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert engine.containers()
    make(engine, image.reference, tmp_path)
    assert engine.containers() == []
    assert list((tmp_path / "store/rerun").glob("staged-*")) == []


def test_a_live_process_keeps_what_is_its_own() -> None:
    assert not is_gone(owner_token())
    assert not is_gone("4026531836-1-1x")
    child = subprocess.run(
        [sys.executable, "-c", "from unitrack.rerun.owner import *; print(owner_token())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert is_gone(child.stdout.strip())


def test_an_image_with_another_python_needs_a_wheel_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    here = this_python()
    other = ImagePython(version="3.15", tag="cpython-315", machine=here.machine, libc=here.libc)
    with pytest.raises(EvidenceError, match=r"the image has Python 3\.15 .* install unitrack in the image"):
        core_folders(other, tmp_path)
    old = ImagePython(version="3.9", tag="cpython-39", machine=here.machine, libc=here.libc)
    with pytest.raises(EvidenceError, match=r"needs 3\.10 or later"):
        core_folders(old, tmp_path)


def test_an_image_that_has_unitrack_is_given_nothing(tmp_path: Path) -> None:
    full = ImagePython(version="3.12", tag="t", machine="m", libc="c", has=("unitrack", "msgspec", "pluggy"))
    assert core_folders(full, tmp_path) == ()
