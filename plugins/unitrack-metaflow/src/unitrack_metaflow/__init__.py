"""Metaflow for unitrack: `@tracked` steps, the way from either system to the other, and a card with a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unitrack_metaflow._names import flow_run_id, task_run_id
from unitrack_metaflow._verdict import verdict_parts

if TYPE_CHECKING:
    from unitrack_metaflow._step import show_verdict, tracked

__all__ = ["flow_run_id", "show_verdict", "task_run_id", "tracked", "verdict_parts"]


def __getattr__(name: str) -> Any:  # unitrack loads this module as a plugin; only a flow needs Metaflow itself
    if name in ("show_verdict", "tracked"):
        from unitrack_metaflow import _step

        return getattr(_step, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
