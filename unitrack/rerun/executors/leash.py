"""Become a command whose whole process group dies with the process that started it, however that one ends.

    python -I -S leash.py FD PROGRAM [ARGUMENT ...]

FD is the reading end of a pipe whose other end the starting process alone holds. Imports no more than it needs, since
it goes before every training.
"""

from __future__ import annotations

import os
import signal
import sys

__all__: list[str] = []


def _main() -> None:
    pipe = int(sys.argv[1])
    between = os.fork()
    if not between:
        # No child of the training's: one that waits for all its children would wait for this one.
        if not os.fork():
            _hold(pipe)
        os._exit(0)
    os.waitpid(between, 0)
    os.close(pipe)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a command would go on to
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is what is wanted


def _hold(pipe: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # those are for the training
        signal.signal(number, signal.SIG_IGN)
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _main()
