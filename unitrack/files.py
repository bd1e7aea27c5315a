"""Write whole files or none: the one home of atomic replacement."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["sync_directory", "write_atomic"]


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` with `data` so that a reader or a crash sees the old bytes or the new, never a mix.

    With `durable` the bytes and the name survive a power cut once this returns. Raises OSError.
    """
    import tempfile  # slow to import, and no part of training

    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make new, renamed and removed names in the directory `path` durable, where the system can."""
    if os.name == "nt":  # Windows has no handle on a directory to sync
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # The only way to read the umask is to set it; mkstemp's 0600 would hide runs from a team.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
