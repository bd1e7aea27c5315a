"""Which unitrack run belongs to which run and task of Metaflow's. Pure."""

from __future__ import annotations

import hashlib
import re

__all__ = ["flow_run_id", "task_run_id"]

_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 100


def flow_run_id(pathspec: str) -> str:
    """Return the id of the unitrack run of a flow's run, from any pathspec in it: `Flow/7/train/3` or `Flow/7`."""
    return _spelled(pathspec.split("/")[:2])


def task_run_id(pathspec: str, retry: int = 0) -> str:
    """Return the id of the unitrack run of a task, `Flow/7/train/3`; each retry has its own."""
    parts = pathspec.split("/")
    if len(parts) != 4:
        raise ValueError(f"{pathspec!r} is no task's pathspec, which is Flow/run/step/task")
    return _spelled([*parts, f"retry{retry}"] if retry else parts)


def _spelled(parts: list[str]) -> str:
    """Join the parts; what unitrack's ids can't hold is replaced, and a digest keeps such names apart."""
    whole = "-".join(("metaflow", *parts))
    clean = _OTHERS.sub("-", whole)
    if clean == whole and len(clean) <= _LONGEST:
        return clean
    return f"{clean[: _LONGEST - 9]}-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:8]}"
