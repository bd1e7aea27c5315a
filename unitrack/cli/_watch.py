"""Watch over a command that trains: however it ends, what it leaves is removed.

A small process of its own waits for the end of a pipe. If the command is killed, the pipe ends without a farewell,
and the process turns into `python -m unitrack.cli._watch`, which removes what the next start would: containers,
checkouts and the like of processes that are gone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unitrack.config import Settings, load_settings
from unitrack.processes import python_command
from unitrack.rerun.owner import is_gone, owner_token

__all__ = ["watched_over"]

_FAREWELL = b"done"
# Started for every gate, so it imports nothing of ours until it has to.
_WAIT = f"""\
import os, sys
told = b""
while piece := os.read(0, 64):
    told += piece
if told != {_FAREWELL!r}:
    os.execv(sys.argv[1], sys.argv[1:])
"""
# An engine's command that was under way goes on by itself, and may make a container after we looked.
_LOOKS = (0.0, 1.0, 2.0, 5.0)
_DYING = 10.0


@contextmanager
def watched_over(settings: Settings) -> Iterator[None]:
    """Have somebody clean up after this process should it be killed in the block."""
    try:
        after = python_command("unitrack.cli._watch", str(settings.root), owner_token())
        watch = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WAIT, *after],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # then the next start is the first to clean up
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError, subprocess.TimeoutExpired):
            watch.communicate(_FAREWELL, timeout=_DYING)


def main() -> None:
    """Clean up after the process of a token, in the project of a folder."""
    root, token = Path(sys.argv[1]), sys.argv[2]
    ends = time.monotonic() + _DYING
    while not is_gone(token) and time.monotonic() < ends:
        time.sleep(0.02)
    for pause in _LOOKS:
        time.sleep(pause)
        _clean(root)


def _clean(root: Path) -> None:
    from unitrack.cli._training import make_executor
    from unitrack.rerun.checkout import sweep_checkouts
    from unitrack.rerun.git import find_repository

    with suppress(Exception):  # plugins' code; nobody is there to be told, and the next start tries again
        settings = load_settings(root)
        make_executor(settings)  # which removes what killed processes left
    with suppress(Exception):
        sweep_checkouts(find_repository(root))


if __name__ == "__main__":
    main()
