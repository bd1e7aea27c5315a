"""What commands tell people through the notifiers of the settings: they warn if they can't, and go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from unitrack.alerts import Carrier, Message, carrier
from unitrack.cli._output import note
from unitrack.errors import RetryableError, UnitrackError

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.plugins import Plugins

__all__ = ["Told", "tell"]

_ATTEMPTS = 3
_LONGEST_PAUSE = 10.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message at one notifier: `sent`, `repeated`, `held back`, `below level` or `failed`."""

    notifier: str
    outcome: str
    reason: str | None = None


def tell(
    settings: Settings, plugins: Plugins, message: Message, *, pause: Callable[[float], None] = time.sleep
) -> tuple[Told, ...]:
    """Hand a message to each notifier among the backends; what fails is a warning, never an error."""
    factories = plugins.named("notifiers")
    told = []
    for name, backend in settings.backends.items():
        if backend.type not in factories:
            continue
        try:
            outcome = _carry(carrier(factories[backend.type], backend.options, settings.store), message, pause)
            told.append(Told(notifier=name, outcome=outcome))
        except (UnitrackError, OSError) as error:
            note(f"unitrack: warning: {name} could not be told {message.title!r}: {error}")
            told.append(Told(notifier=name, outcome="failed", reason=str(error)))
    return tuple(told)


def _carry(to: Carrier, message: Message, pause: Callable[[float], None]) -> str:
    for attempt in range(_ATTEMPTS - 1):
        try:
            return to.carry(message)
        except RetryableError as error:
            pause(min(error.after or 2.0**attempt, _LONGEST_PAUSE))
    return to.carry(message)
