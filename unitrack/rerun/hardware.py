"""The class of a machine: what of it moves the results of a training."""

from __future__ import annotations

from functools import cache
from typing import Any

from unitrack.capture.hardware import HardwareCollector

__all__ = ["hardware_class"]

_MOVING = ("machine", "cpu", "gpus", "gpu_driver")  # memory, cores and load move speed, not results


def hardware_class(facts: dict[str, Any] | None = None) -> str:
    """Return architecture, processor, GPUs and their driver in words; machines of one class are compared.

    Without `facts`, as a run captures them, it is this machine's.
    """
    return _this_machine() if facts is None else _words(facts)


@cache
def _this_machine() -> str:
    return _words(HardwareCollector().collect())


def _words(known: dict[str, Any]) -> str:
    words = (known.get(name) for name in _MOVING)
    return ", ".join(" + ".join(map(str, word)) if isinstance(word, list) else str(word) for word in words if word)
