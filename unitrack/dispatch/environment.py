"""Environments for workers: how a worker is started, whether it can be, and how such an environment is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from unitrack.config import BackendSettings
from unitrack.dispatch.discretion import Discretion
from unitrack.dispatch.messages import Finished, Job, Message, Ready
from unitrack.errors import UnitrackError
from unitrack.files import write_atomic
from unitrack.plugins import PluginInfo, Plugins, load_plugins
from unitrack.processes import python_command

__all__ = [
    "SetupError",
    "WorkerCheck",
    "check_worker",
    "make_environment",
    "owner_of",
    "plan_environment",
    "worker_command",
]

_WORKER = "unitrack.dispatch.worker"
# As `python -m` without the current folder, in which a file or folder may be called as the tracker's client is.
_BOOT = f"""\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import runpy
runpy.run_module({_WORKER!r}, run_name="__main__", alter_sys=True)
"""
_TIME_TO_START = 60.0
_LAST_LINES = 8


class SetupError(UnitrackError):
    """An environment for a worker can't be made; what was made so far is left to be looked at and used again."""


def worker_command(python: str | None) -> list[str]:
    """Return the command of a worker: in an environment of its own, or in one that finds what this process finds."""
    return python_command(_WORKER) if python is None else [python, "-c", _BOOT]


def owner_of(plugins: Plugins, backend: str) -> PluginInfo | None:
    """Return the plugin that offers a backend of this name."""
    found = plugins.collect("unitrack_register_backends")
    return next((one.plugin for one in found if getattr(one.value, "name", None) == backend), None)


# -- can it start? -------------------------------------------------------------------------------


class WorkerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a backend's worker starts: the plugin it found there, or the `problem`."""

    plugin: str | None = None
    problem: str | None = None


def check_worker(backend: BackendSettings, *, root: Path = Path()) -> WorkerCheck:
    """Start the backend's worker with nothing to do. The tracker is not asked and its client not imported."""
    discretion = Discretion(os.environ, backend.options)
    with tempfile.TemporaryDirectory(prefix="unitrack-") as store:
        job = Job(store=store, backend="check", type=backend.type, options=dict(backend.options), runs=())
        try:
            done = subprocess.run(
                worker_command(backend.python), input=msgspec.json.encode(job) + b"\n", capture_output=True,
                cwd=root, timeout=_TIME_TO_START, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return WorkerCheck(problem=f"it did not start within {_TIME_TO_START:.0f} s")
        except OSError as error:
            return WorkerCheck(problem=f"{backend.python or sys.executable} can't be started: {error.strerror}")
    ready, reason = _answers(done.stdout)
    if ready is not None and reason is None:
        return WorkerCheck(plugin=ready.plugin)
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return WorkerCheck(problem=discretion.text(reason or "".join(last) or f"it ended with code {done.returncode}"))


def _answers(output: bytes) -> tuple[Ready | None, str | None]:
    ready, error = None, None
    for line in output.splitlines():
        message = msgspec.json.decode(line, type=Message)
        if isinstance(message, Ready):
            ready = message
        elif isinstance(message, Finished):
            error = message.error
    return ready, error


# -- making one ----------------------------------------------------------------------------------


class EnvironmentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: commands in order, none for what is there already; `python` is the interpreter it gives."""

    folder: Path
    python: Path
    commands: tuple[tuple[str, ...], ...]


def plan_environment(
    backend: str, folder: Path, *, python: str | None = None, extra: Sequence[str] = ()
) -> EnvironmentPlan:
    """Say how to make an environment for the plugin of `backend` with this unitrack. `extra` are more requirements.

    Raises SetupError if the folder holds something else.
    """
    there = (folder / "pyvenv.cfg").is_file()
    if not there and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError(f"{folder} is there and is no virtual environment: name another folder with --path")
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    make = (python or sys.executable, "-m", "venv", str(folder))
    wanted = [*_origin("unitrack"), *_plugin(backend), *extra]
    install = (*_pip(folder, inside), "install", "--quiet", "--disable-pip-version-check", "--no-input", *wanted)
    return EnvironmentPlan(folder=folder, python=inside, commands=(install,) if there else (make, install))


def _pip(folder: Path, inside: Path) -> tuple[str, ...]:
    """Return the command of pip: the environment's own, or ours for one that was made without."""
    bare = (folder / "pyvenv.cfg").is_file() and not [
        *folder.glob("lib/python*/site-packages/pip"), *folder.glob("Lib/site-packages/pip"),
    ]  # fmt: skip
    return (sys.executable, "-m", "pip", "--python", str(inside)) if bare else (str(inside), "-m", "pip")


def make_environment(plan: EnvironmentPlan, told: Callable[[str], None]) -> None:
    """Carry out a plan. Raises SetupError with the last lines of what failed."""
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    ignore = plan.folder.parent / ".gitignore"
    if plan.folder.parent.name == ".unitrack-envs" and not ignore.exists():
        write_atomic(ignore, b"*\n", durable=False)
    for command in plan.commands:
        told(" ".join(command))
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError as error:
            raise SetupError(f"{command[0]} can't be started: {error.strerror}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
            words = Discretion(os.environ).text("\n".join(said))
            raise SetupError(f"`{' '.join(command)}` ended with code {done.returncode}:\n{words}")


def _plugin(backend: str) -> list[str]:
    """Return what to ask pip for: the plugin as it is installed here, as it lies in our checkout, or by its name."""
    owner = owner_of(load_plugins(), backend)
    if owner is not None:
        return _origin(owner.distribution)
    name = f"unitrack-{backend}"
    checkout = _checkout(metadata.distribution("unitrack"))
    beside = None if checkout is None else checkout[1] / "plugins" / name
    if checkout is not None and beside is not None and (beside / "pyproject.toml").is_file():
        return [*checkout[0], str(beside)]
    return [name]


def _origin(distribution: str) -> list[str]:
    """Return what makes pip install a distribution from where this environment has it: folder, repository, index."""
    found = metadata.distribution(distribution)
    checkout = _checkout(found)
    if checkout is not None:
        return [*checkout[0], str(checkout[1])]
    direct = _direct_url(found)
    if "vcs_info" in direct:
        at = direct["vcs_info"]
        return [f"{distribution} @ {at['vcs']}+{direct['url']}@{at['commit_id']}"]
    return [f"{distribution} @ {direct['url']}"] if "url" in direct else [f"{distribution}=={found.version}"]


def _checkout(found: metadata.Distribution) -> tuple[list[str], Path] | None:
    """Return the folder a distribution was installed from, and the option that keeps it editable if it is."""
    direct = _direct_url(found)
    if "dir_info" not in direct:
        return None
    folder = Path(unquote(urlsplit(direct["url"]).path))
    return (["--editable"] if direct["dir_info"].get("editable") else []), folder


def _direct_url(found: metadata.Distribution) -> dict[str, Any]:
    text = found.read_text("direct_url.json")
    return dict(json.loads(text)) if text else {}
