"""Run jobs in containers of one image, named by its digest, that can reach next to nothing."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import ConfigError, EvidenceError
from unitrack.files import write_atomic
from unitrack.journal import layout
from unitrack.rerun.executors import Exit, Place
from unitrack.rerun.executors.carry import carry_run
from unitrack.rerun.executors.core import PROBE, ImagePython, core_folders
from unitrack.rerun.executors.engine import OWNER, Engine, State, find_engine
from unitrack.rerun.executors.waiting import wait_for
from unitrack.rerun.hardware import hardware_class
from unitrack.rerun.owner import is_gone, owner_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unitrack.config import ContainerSettings
    from unitrack.rerun.job import Job

__all__ = ["ContainerExecutor", "is_pinned"]

_PINNED = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_WORK, _STORE, _CORE = PurePosixPath("/checkout"), PurePosixPath("/unitrack/store"), PurePosixPath("/unitrack/core")
_TMP = "/tmp"  # noqa: S108 - the container's own, in memory
_NOBODY = 65534
_PYTHONS = ("python", "python3")
_NOT_FOUND, _KILLED = 127, 137
# Some versions of podman's monitor leave a file of this name where podman was started, and podman doesn't look there.
_STARVED = "oom"


def is_pinned(reference: str) -> bool:
    """Tell whether a reference names one image for ever, by its digest."""
    return _PINNED.fullmatch(reference) is not None


class ContainerExecutor:
    """Runs each job in a container of its own. Making one removes what killed processes left in the store's name."""

    name = "container"

    def __init__(self, settings: ContainerSettings, *, store: Path, engine: Engine | None = None) -> None:
        """Take an image by digest; ConfigError for a tag. `engine` is found by the settings unless given."""
        if not is_pinned(settings.image):
            raise ConfigError(
                f"[train.container].image {settings.image!r} names an image that can change: run `unitrack lock`, "
                "which pins what it stands for now, and commit unitrack.lock; or write it as name@sha256:...",
                key="train.container.image",
            )
        self._settings = settings
        self._scratch = store / "rerun"
        self._engine = engine or find_engine(settings.engine)
        self._python: ImagePython | None = None
        self._core: tuple[Path, ...] = ()
        self._lock = threading.Lock()
        self._count = 0
        self._sweep()

    @property
    def digest(self) -> str:
        """Return the image's digest."""
        return self._settings.image.rpartition("@")[2]

    def fingerprint(self) -> str:
        """Return the image's digest and the class of this machine, without asking the engine."""
        return f"image {self.digest} on {hardware_class()}"

    def prepare(self) -> None:
        """Have the image here and know its Python; the first job does it if nobody did. Raises EvidenceError."""
        with self._lock:
            if self._python is None:
                self._engine.require_image(self._settings.image)
                python = self._known_python() or self._probe()
                self._core = core_folders(python, self._scratch / "core")
                self._python = python

    def run(self, job: Job, place: Place) -> Exit:
        """Run the command in a new container; its output goes to the log, its run to the store."""
        self.prepare()
        staged = self._stage(place)
        name = self._free_name(job.key)
        try:
            made = self._engine.call("create", *self._options(job, place, staged, name))
            if made.returncode != 0:
                reason = (made.stderr.strip().splitlines() or ["the engine said nothing"])[-1]
                return Exit(code=None, seconds=0.0, problem=f"its container can't be made: {reason}")
            ended = self._ended(job, place, staged, name)
            return msgspec.structs.replace(ended, image=self.digest, hardware=hardware_class())
        finally:
            self._engine.remove(name)
            shutil.rmtree(staged, ignore_errors=True)

    def _ended(self, job: Job, place: Place, staged: Path, name: str) -> Exit:
        started = time.monotonic()
        problem = self._attend(job, place, staged, name)
        seconds = time.monotonic() - started
        state = self._engine.state(name)
        if problem is None:
            problem = self._problem(state, starved=(staged / _STARVED).exists())
        if problem is not None or state is None or state.code != 0:
            return Exit(code=None if state is None or problem else state.code, seconds=seconds, problem=problem)
        return Exit(code=0, seconds=seconds, problem=carry_run(staged / "store", place.store, place.run))

    def _attend(self, job: Job, place: Place, staged: Path, name: str) -> str | None:
        """Start the container and stay until it ends or has to; return why it had to."""
        with place.log.open("wb") as log:
            client = subprocess.Popen(
                [self._engine.name, "start", "--attach", name],
                env=dict(self._engine.environ),
                cwd=staged,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return wait_for(client, job.timeout, place)
        finally:
            if client.poll() is None:
                self._engine.call("kill", name)
                with suppress(subprocess.TimeoutExpired):
                    client.wait(10)
                client.kill()
                client.wait()

    def _problem(self, state: State | None, *, starved: bool) -> str | None:
        """Say what the engine knows and an exit code does not."""
        if state is None:
            return "its container vanished while it trained: somebody removed it"
        if state.out_of_memory or starved:
            return f"it ran out of memory, [train.container].memory is {self._settings.memory}"
        if state.status not in ("exited", "stopped"):
            return (
                f"its container is {state.status} though its client ended: {state.error or 'the engine says no more'}"
            )
        if state.error:
            return f"its container failed: {state.error}"
        if state.code == _NOT_FOUND:
            return "it ended with exit code 127: the command, or one that it calls, is not in the image"
        if state.code == _KILLED:
            return "it was killed from outside, or by the kernel for lack of memory"
        return None

    def _options(self, job: Job, place: Place, staged: Path, name: str) -> list[str]:
        program, *rest = job.arguments
        work = _WORK / place.checkout.name
        return [
            "--name", name,
            "--label", f"{OWNER}={owner_token()}",
            "--label", f"dev.unitrack.job={job.key}",
            *self._limits(),
            *self._mounts(place, staged, work),
            "--env-file", str(self._environment(job, place, staged, work)),
            "--workdir", str(work / PurePosixPath(place.folder.relative_to(place.checkout).as_posix())),
            "--entrypoint", program, self._settings.image, *rest,
        ]  # fmt: skip

    def _limits(self) -> list[str]:
        settings, podman = self._settings, self._engine.name == "podman"
        found = [
            "--pull=never", "--init", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
            f"--network={settings.network}", f"--pids-limit={settings.pids}", f"--memory={settings.memory}",
            f"--memory-swap={settings.memory}", f"--cpus={settings.cpus:g}", "--hostname=unitrack",
            f"--tmpfs={_TMP}:rw,exec,nosuid,nodev,size={settings.scratch},mode=1777",
            "--log-driver=none", "--shm-size=64m",
        ]  # fmt: skip
        found += [f"--user={self._user()[0]}:{self._user()[1]}"]
        if podman:
            found += ["--security-opt=label=disable", "--read-only-tmpfs=false"]
            found += [] if os.geteuid() == 0 else ["--userns=keep-id"]
        if settings.gpus is not None:
            found.append(f"--device=nvidia.com/gpu={settings.gpus}" if podman else f"--gpus={_gpus(settings.gpus)}")
        return found

    def _user(self) -> tuple[int, int]:
        """Return who jobs are: us, or for root nobody."""
        return (os.geteuid(), os.getegid()) if os.geteuid() else (_NOBODY, _NOBODY)

    def _mounts(self, place: Place, staged: Path, work: PurePosixPath) -> Iterator[str]:
        yield from ("--mount", _mount(place.checkout, work))
        yield from ("--mount", _mount(staged / "store", _STORE))
        for folder in self._core:
            yield from ("--mount", _mount(folder, _CORE / folder.name, read_only=True))
        for path in place.inputs:
            yield from ("--mount", _mount(path, PurePosixPath(path), read_only=True))

    def _environment(self, job: Job, place: Place, staged: Path, work: PurePosixPath) -> Path:
        folder = place.folder.relative_to(place.checkout)
        checked = dict.fromkeys((folder, folder / "src", Path(), Path("src")))
        paths = [str(work / each.as_posix()) for each in checked if (place.checkout / each).is_dir()]
        values = {
            "HOME": _TMP,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "MPLCONFIGDIR": f"{_TMP}/matplotlib",
            **dict(job.environment),
            "PYTHONPATH": ":".join([*paths, *(str(_CORE / each.name) for each in self._core)]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "UNITRACK_DIR": str(_STORE),
            "UNITRACK_IMAGE": self._settings.image,
            "UNITRACK_MODE": "offline",
            "UNITRACK_PROJECT": job.project,
            "UNITRACK_RUN_ID": place.run,
            "UNITRACK_GROUP": f"rerun-{job.commit[:12]}",
            "UNITRACK_NAME": f"{job.commit[:12]} seed {job.seed}",
            "UNITRACK_SEED": str(job.seed),
        }
        several = [name for name, value in values.items() if "\n" in value or "\r" in value]
        if several:
            raise EvidenceError(f"{several[0]} has more than one line, which a container can't be given: take it out")
        path = staged / "environment"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
        return path

    def _stage(self, place: Place) -> Path:
        """Make the store that the job may write to, and let the job's user own it and the checkout."""
        with self._lock:
            self._count += 1
            staged = self._scratch / f"staged-{owner_token()}-{self._count}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        layout.create_store(staged / "store")
        if os.geteuid() == 0:
            for root in (staged / "store", place.checkout):
                _give(root, *self._user())
        return staged

    def _free_name(self, key: str) -> str:
        return f"unitrack-{key[:12]}-{os.getpid()}-{self._count}-{os.urandom(3).hex()}"

    def _known_python(self) -> ImagePython | None:
        """Return what an earlier probe found: an image of one digest never changes."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self._probed().read_bytes(), type=ImagePython)
        return None

    def _probed(self) -> Path:
        return self._scratch / "images" / f"{self.digest.replace(':', '-')}.json"

    def _probe(self) -> ImagePython:
        """Ask the image's Python what it is and has."""
        name = self._free_name("probe")
        try:
            done = self._engine.call(
                "run", "--name", name, "--label", f"{OWNER}={owner_token()}", *self._limits(),
                "--entrypoint", "python3", self._settings.image, "-c", PROBE,
            )  # fmt: skip
            found = msgspec.json.decode(done.stdout.strip().encode(), type=ImagePython)
        except msgspec.MsgspecError:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it printed nothing"]
            raise EvidenceError(f"the image {self._settings.image} has no python3 that starts: {words[0]}") from None
        finally:
            self._engine.remove(name)
        self._probed().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._probed(), msgspec.json.encode(found), durable=False)
        return found

    def _sweep(self) -> None:
        self._engine.sweep()
        for path in self._scratch.glob("staged-*"):
            if is_gone(path.name.removeprefix("staged-").rpartition("-")[0]):
                shutil.rmtree(path, ignore_errors=True)


def _mount(source: Path, target: PurePosixPath, *, read_only: bool = False) -> str:
    """Return a value of `--mount`, which is one line of CSV."""
    fields: Sequence[str] = ["type=bind", f"source={source.resolve()}", f"target={target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, "readonly"] if read_only else fields)
    return line.getvalue()


def _gpus(wanted: str) -> str:
    return wanted if wanted == "all" else f"device={wanted}"


def _give(root: Path, user: int, group: int) -> None:
    """Give a folder and all in it to a user; links themselves, not what they lead to."""
    os.lchown(root, user, group)
    for at, folders, names in os.walk(root):
        for name in (*folders, *names):
            os.lchown(os.path.join(at, name), user, group)
