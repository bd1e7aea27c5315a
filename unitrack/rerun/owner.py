"""Tell who made a folder or a container that was left behind, and whether it is still at work."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["is_gone", "owner_token"]


def owner_token() -> str:
    """Return what names this process among all of this machine's: letters, digits and dashes."""
    pid = os.getpid()
    return f"{_namespace()}-{pid}-{_started(pid) or 0}"


def is_gone(token: str) -> bool:
    """Tell whether the process of a token has ended; one of another container or machine can't be told, so False."""
    parts = token.split("-")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts) or parts[0] != _namespace():
        return False
    pid, started = int(parts[1]), int(parts[2])
    if started:
        return _started(pid) != started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _namespace() -> str:
    """Return the number of the process ids' namespace, 0 where there are none."""
    with suppress(OSError):
        return str(os.stat("/proc/self/ns/pid").st_ino)
    return "0"


def _started(pid: int) -> int | None:
    """Return when a live process started, in ticks since boot; ids are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
