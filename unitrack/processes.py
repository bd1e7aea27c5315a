"""Start further interpreters like this one."""

from __future__ import annotations

import errno
import sys

__all__ = ["python_command"]

# Nothing is looked for before `sys.path` is the starting process's own: `-m` alone would prefer the current folder.
_BOOT = """\
import sys
count = int(sys.argv.pop(1))
sys.path[:] = sys.argv[1 : count + 1]
del sys.argv[1 : count + 1]
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module` as a program which finds the same packages as this process.

    Raises OSError where no interpreter is known, and in an application that was frozen into one
    file: what stands for the interpreter there is the application itself.
    """
    if getattr(sys, "frozen", False):
        raise OSError(errno.ENOEXEC, "this is a frozen application, which has no Python to start")
    if not sys.executable:
        raise OSError(errno.ENOENT, "the path of Python is not known here")
    path = [entry for entry in sys.path if isinstance(entry, str)]  # imports pass over all else, too
    return [sys.executable, "-c", _BOOT, str(len(path)), *path, module, *arguments]
