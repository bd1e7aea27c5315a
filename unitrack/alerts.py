"""Alerts carried to people: the same message not again and again, never a flood, and a notifier as a backend.

A notifier is configured like a tracker, `[backends.slack]`. Beside training its worker follows the journals and
delivers what `run.alert` logged, with the retries, cursors and dead letters of every backend. Commands deliver what
they have to tell, such as a failed verdict, through the same object.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from unitrack.backend import Capabilities, ExportResult, Lowering, Record, RunInfo
from unitrack.errors import ConfigError
from unitrack.events import Alert, FinalStatus, Level
from unitrack.files import write_atomic

__all__ = ["Carrier", "Limits", "Message", "Notifier", "NotifierBackendFactory", "NotifierFactory", "carrier"]

_LEVELS: tuple[Level, ...] = ("info", "warning", "error")
_HOUR = 3600.0
_OLD = 24 * _HOUR  # an alert that nobody carried for a day is no news any more
Delivery = Literal["sent", "repeated", "held back", "below level"]


class Notifier(Protocol):
    """Carries alerts and verdicts to people."""

    name: str

    def notify(self, title: str, text: str, level: str) -> None:
        """Deliver one message; raise RetryableError to be called again, FatalBackendError if that is in vain."""
        ...


class NotifierFactory(Protocol):
    """Makes a notifier from its section `[backends.NAME]`; imports no client."""

    name: str

    def open(self, options: Mapping[str, Any]) -> Notifier:
        """Return the notifier; raise ConfigError naming the option that is wrong."""
        ...


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What people are told. `about` says of what: a run, a verdict, a model."""

    title: str
    text: str = ""
    level: Level = "info"
    about: str = ""

    @property
    def digest(self) -> str:
        """Return what is equal for equal messages."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys that every notifier's section has."""

    level: Level = "info"
    """Messages below it are not carried."""
    repeat: float = _HOUR
    """Seconds in which an equal message is carried once."""
    limit: int = 20
    """Messages an hour; what is above is counted, and the count told with the next message."""


class _Carried(msgspec.Struct, kw_only=True):
    """What was carried of late: when by digest, and how many were held back since."""

    sent: dict[str, float] = {}
    held: int = 0


class Carrier:
    """Hands messages to one notifier, within its limits, which hold over processes: they are kept in `file`."""

    def __init__(
        self, notifier: Notifier, limits: Limits, file: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = notifier.name
        self._notifier, self._limits, self._file, self._clock = notifier, limits, file, clock

    def carry(self, message: Message) -> Delivery:
        """Deliver one message. Raises what the notifier raises, and then nothing counts as carried."""
        if _LEVELS.index(message.level) < _LEVELS.index(self._limits.level):
            return "below level"
        now, carried = self._clock(), self._read()
        carried.sent = {key: at for key, at in carried.sent.items() if now - at < max(_HOUR, self._limits.repeat)}
        if now - carried.sent.get(message.digest, float("-inf")) < self._limits.repeat:
            return "repeated"
        if sum(now - at < _HOUR for at in carried.sent.values()) >= self._limits.limit:
            carried.held += 1
            self._write(carried)
            return "held back"
        text = message.text if not message.about else f"{message.text}\n{message.about}".strip()
        if carried.held:
            text = f"{text}\n({carried.held} other messages were held back)".strip()
        self._notifier.notify(message.title, text, message.level)
        carried.sent[message.digest], carried.held = now, 0
        self._write(carried)
        return "sent"

    def _read(self) -> _Carried:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Carried)
        except (OSError, msgspec.MsgspecError):
            return _Carried()

    def _write(self, carried: _Carried) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, msgspec.json.encode(carried))


def carrier(factory: NotifierFactory, options: Mapping[str, Any], store: Path) -> Carrier:
    """Open the notifier of a section `[backends.NAME]`. Raises ConfigError that names a wrong option."""
    own = {key: value for key, value in options.items() if key in Limits.__struct_fields__}
    try:
        limits = msgspec.convert(own, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a section [backends] of type {factory.name!r}: {error}") from None
    notifier = factory.open({key: value for key, value in options.items() if key not in own})
    place = hashlib.sha256(msgspec.json.encode(dict(options), order="sorted")).hexdigest()[:8]  # two channels are two
    return Carrier(notifier, limits, store / "alerts" / f"{factory.name}-{place}.json")


class NotifierBackendFactory:
    """Makes a backend of a notifier."""

    def __init__(self, factory: NotifierFactory) -> None:
        self.name = factory.name
        self._factory = factory

    def create(self, options: Mapping[str, Any]) -> NotifierBackend:
        """Check the options. Raises ConfigError that names the wrong one."""
        carrier(self._factory, options, Path())
        return NotifierBackend(self._factory, options)


class NotifierBackend:
    """Carries the alerts of runs, and nothing else."""

    capabilities = Capabilities(batch=1000)

    def __init__(self, factory: NotifierFactory, options: Mapping[str, Any]) -> None:
        self._factory, self._options = factory, options
        self._carrier: Carrier | None = None
        self._about = ""

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Take note of the run."""
        self._carrier = carrier(self._factory, self._options, run.folder.parent.parent)
        named = f"{run.name} ({run.id})" if run.name else run.id
        self._about = f"run {named} of {run.project}"
        return {}

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Carry alerts one at a time, so that one that can't be carried holds up none that was."""
        for done, record in enumerate(records):
            if not isinstance(record.event, Alert):
                continue
            if done:
                return ExportResult(acked=done)
            return ExportResult(acked=1, lowered=self._carry(record.event))
        return ExportResult(acked=len(records))

    def _carry(self, alert: Alert) -> tuple[Lowering, ...]:
        assert self._carrier is not None
        if time.time() - alert.time > _OLD:
            return (Lowering(kind="alert", name=alert.title, detail="was older than a day and was not carried"),)
        what = self._carrier.carry(Message(title=alert.title, text=alert.text, level=alert.level, about=self._about))
        if what in ("repeated", "held back"):
            return (Lowering(kind="alert", name=alert.title, detail=f"was {what}"),)
        return ()

    def flush(self, timeout: float) -> None:
        """Nothing is pending."""

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Nothing is held."""
