"""The built-in plugin `capture`. A module of its own: training imports what is beside it, but no pluggy."""

from __future__ import annotations

from unitrack.capture.container import ContainerCollector
from unitrack.capture.environment import EnvironmentCollector
from unitrack.capture.git import GitCollector
from unitrack.capture.hardware import HardwareCollector
from unitrack.hookspecs import Collector, hookimpl

__all__ = ["unitrack_register_collectors"]


@hookimpl
def unitrack_register_collectors() -> list[Collector]:
    """Return the built-in collectors."""
    return [GitCollector(), EnvironmentCollector(), HardwareCollector(), ContainerCollector()]
