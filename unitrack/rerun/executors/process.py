"""Run jobs as processes of this machine, with this interpreter and its packages."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from unitrack.rerun.executors import Exit, Place
from unitrack.rerun.executors import leash as _leash
from unitrack.rerun.executors.waiting import wait_for
from unitrack.rerun.hardware import hardware_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unitrack.rerun.job import Job

__all__ = ["ProcessExecutor"]

# What a program needs to start and find its files. None of it should move a result.
_PASSED = (
    "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE",
    "LD_LIBRARY_PATH", "LOGNAME", "NVIDIA_VISIBLE_DEVICES", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "SYSTEMROOT", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME",
)  # fmt: skip
_PYTHONS = ("python", "python3")


class ProcessExecutor:
    """Runs a job in a process group of its own, which ends with this process."""

    name = "process"

    def __init__(self, environ: Mapping[str, str] | None = None, *, grace: float = 10.0) -> None:
        """Take what jobs inherit from `environ` (this process's); `grace` is seconds between SIGTERM and SIGKILL."""
        self._environ = os.environ if environ is None else environ
        self._grace = grace

    def fingerprint(self) -> str:
        """Return the interpreter, the processor and a digest of all installed packages."""
        packages = sorted({f"{each.name}=={each.version}" for each in metadata.distributions()})
        digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()
        python = f"{platform.python_implementation()} {platform.python_version()}"
        return f"{python} on {platform.platform()}, {_processor()}, packages {digest}"

    def run(self, job: Job, place: Place) -> Exit:
        """Run the command; its output goes to the log."""
        environ, (program, *rest) = self._environment(job, place), _arguments(job)
        if not _is_there(program, place.folder, environ):
            return Exit(
                code=None, seconds=0.0, problem=f"{job.arguments[0]!r} can't be started: there is no such program"
            )
        started = time.monotonic()
        leash, ours = os.pipe()
        try:
            with place.log.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_leash.__file__), str(leash), program, *rest],
                    cwd=place.folder,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(leash,),
                )
            try:
                problem = wait_for(process, job.timeout, place)
            finally:
                self._end_group(process)
        finally:
            os.close(leash)
            os.close(ours)
        code = None if problem else process.returncode
        seconds = time.monotonic() - started
        return Exit(code=code, seconds=seconds, problem=problem, hardware=hardware_class())

    def _environment(self, job: Job, place: Place) -> dict[str, str]:
        passed = {name: self._environ[name] for name in _PASSED if name in self._environ}
        # The checkout's packages win over an editable installation, which shows the working tree.
        paths = [place.folder, place.folder / "src", place.checkout, place.checkout / "src"]
        return {
            **passed,
            **dict(job.environment),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(path) for path in paths if path.is_dir())),
            "PYTHONUNBUFFERED": "1",
            "UNITRACK_DIR": str(place.store),
            "UNITRACK_MODE": "offline",
            "UNITRACK_PROJECT": job.project,
            "UNITRACK_RUN_ID": place.run,
            "UNITRACK_GROUP": f"rerun-{job.commit[:12]}",
            "UNITRACK_NAME": f"{job.commit[:12]} seed {job.seed}",
            "UNITRACK_SEED": str(job.seed),
        }

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """End whatever is left of the job's process group, politely first."""
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._grace)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _arguments(job: Job) -> list[str]:
    program, *rest = job.arguments
    return [sys.executable if program in _PYTHONS else program, *rest]


def _is_there(program: str, folder: Path, environ: Mapping[str, str]) -> bool:
    at = str(folder / program) if os.path.dirname(program) else program
    return shutil.which(at, path=environ.get("PATH")) is not None


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group of zombies
        os.killpg(group, number)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
