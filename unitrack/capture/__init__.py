"""Collectors of what surrounds a run: one fact a file, each class with `name` and `collect()`.

Collectors run once, in a background thread of the training process. They use no signals and
change nothing; what they can't find out they leave out. Import each from its own module:
`git`, `environment`, `hardware`; `console` and `redact` are used by the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.hookspecs import hookimpl

if TYPE_CHECKING:
    from unitrack.hookspecs import Collector

__all__ = ["unitrack_register_collectors"]


@hookimpl
def unitrack_register_collectors() -> list[Collector]:
    """Return the built-in collectors."""
    # Imported when they are used: `import unitrack` should not pay for them.
    from unitrack.capture.environment import EnvironmentCollector
    from unitrack.capture.git import GitCollector
    from unitrack.capture.hardware import HardwareCollector

    return [GitCollector(), EnvironmentCollector(), HardwareCollector()]
