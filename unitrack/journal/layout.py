"""Where the parts of a store are, and who is alive in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from unitrack.files import write_atomic
from unitrack.journal import _lock
from unitrack.model import check_run_id

__all__ = [
    "HEARTBEAT",
    "boot_id",
    "create_store",
    "hostname",
    "is_alive",
    "journal_dir",
    "journals",
    "loss_path",
    "new_writer_id",
    "objects_dir",
    "registry_dir",
    "run_dir",
    "runs_dir",
    "sync_dir",
]

HEARTBEAT = 120.0
"""Seconds without a sign of life after which a writer on another host counts as gone."""

_GITIGNORE = b"""\
# Runs, objects and the index stay out of git; the model registry goes in.
/*
!/.gitignore
!/registry/
/registry/.*
/registry/*.lock
"""


def create_store(root: Path) -> None:
    """Make the folders of a store, and the `.gitignore` that keeps all but the registry out of git."""
    for folder in (root, runs_dir(root), objects_dir(root), registry_dir(root)):
        folder.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        write_atomic(ignore, _GITIGNORE, durable=False)


def runs_dir(root: Path) -> Path:
    return root / "runs"


def objects_dir(root: Path) -> Path:
    return root / "objects"


def registry_dir(root: Path) -> Path:
    return root / "registry"


def run_dir(root: Path, run_id: str) -> Path:
    """Return the folder of a run; a bad id raises UsageError, so no id leads out of the store."""
    return runs_dir(root) / check_run_id(run_id)


def journal_dir(run: Path) -> Path:
    return run / "journal"


def sync_dir(run: Path) -> Path:
    return run / "sync"


def journals(run: Path) -> list[Path]:
    """Return the run's journals, oldest writer first (their names sort by time)."""
    try:
        names = [name for name in os.listdir(journal_dir(run)) if name.endswith(".jsonl")]
    except FileNotFoundError:
        return []
    return [journal_dir(run) / name for name in sorted(names)]


def loss_path(journal: Path) -> Path:
    """Return the small file beside a journal that counts what could not be written to it."""
    return journal.with_suffix(".loss")


def new_writer_id() -> str:
    """Make a writer id that sorts by time and is unique among processes and hosts."""
    now = time.time_ns() // 1000
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 1_000_000))
    return f"{stamp}.{now % 1_000_000:06d}-{os.getpid()}-{os.urandom(3).hex()}"


def hostname() -> str:
    """Return the name of this machine."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket  # a sixth of the time `import unitrack` takes, for Windows only

    return socket.gethostname()


def boot_id() -> str | None:
    """Return what tells one boot of a machine from the next, where the system says it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def is_alive(journal: Path, host: str, *, now: float) -> bool:
    """Tell whether the writer of an unsealed journal still runs.

    Its lock decides on this host. Locks need not reach other hosts, and some file systems have
    none: there a journal that was touched within `HEARTBEAT` seconds counts as alive.
    """
    try:
        held = _lock.is_held(journal)
        if held or (held is not None and host == hostname()):
            return bool(held)
        return now - journal.stat().st_mtime < HEARTBEAT
    except FileNotFoundError:
        return False
