"""Call a function in a process of its own, and leave nothing running behind it.

`python _isolate.py MODULE:FUNCTION KEYWORDS RESULT` is the child's half: keywords and result are JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

__all__ = ["adopt_orphans", "ask", "call", "clean_environment"]

_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_ROOT = Path(__file__).resolve().parent.parent


def call(function: str, *, timeout: float = 900.0, killed: bool = False, **keywords: Any) -> dict[str, Any]:
    """Return what `function` (`module:name`) returns for JSON `keywords`, or `{"error": why}`.

    With `killed` the child is expected to end by SIGKILL, and an empty dict is returned. All
    processes the child started are ended, whatever session they moved to.
    """
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        result, errors = Path(scratch, "result.json"), Path(scratch, "errors.txt")
        command = [sys.executable, __file__, function, json.dumps(keywords), str(result)]
        with errors.open("wb") as stderr:
            child = subprocess.Popen(
                command, cwd=scratch, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=stderr, start_new_session=True,
            )  # fmt: skip
            code = _wait(child, timeout)
        if killed and code == -signal.SIGKILL:
            return {}
        if result.exists():
            answer: dict[str, Any] = json.loads(result.read_text())
            return answer
        return {"error": _why(code, timeout, errors.read_text(errors="replace"))}


def ask(function: str, **keywords: Any) -> dict[str, Any]:
    """Return what `function` returns in a process of its own. Raises RuntimeError when it fails."""
    answer = call(function, **keywords)
    if "error" in answer:
        raise RuntimeError(f"{function}: {answer['error']}")
    return answer


def _wait(child: subprocess.Popen[bytes], timeout: float) -> int | None:
    before = {process.pid for process in psutil.Process().children()} - {child.pid}
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_left(before)
        child.wait()


def _end_left(keep: set[int]) -> None:
    """Kill and reap what the child left: as the nearest subreaper we became its parent."""
    left = [process for process in psutil.Process().children() if process.pid not in keep]
    tree = left + [one for process in left for one in _descendants(process)]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _why(code: int | None, timeout: float, errors: str) -> str:
    if code is None:
        return f"took longer than {timeout:.0f} s"
    lines = [line for line in errors.splitlines() if line.strip()]
    return f"exit code {code}: {lines[-1].strip() if lines else 'no message'}"


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that none is missed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of trackers; unitrack is the source tree's if none is installed.

    Bytecode may be kept: otherwise each import would measure the compiler.
    """
    foreign = ("UNITRACK_", "WANDB_", "MLFLOW_", "NEPTUNE_", "TRACKIO_", "DVC", "PYTHONDONTWRITEBYTECODE")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    if importlib.util.find_spec("unitrack") is None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(_ROOT)]))
    return environment


def _run(function: str, keywords: str, result: str) -> None:
    module, name = function.split(":")
    answer = getattr(importlib.import_module(module), name)(**json.loads(keywords))
    scratch = Path(result + ".part")
    scratch.write_text(json.dumps(answer))
    scratch.replace(result)


if __name__ == "__main__":
    _run(*sys.argv[1:])
