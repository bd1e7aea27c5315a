"""What the process of captures is told, and says: one JSON line a message."""

from __future__ import annotations

from typing import Any, Union

import msgspec

__all__ = ["Captured", "Ended", "Found", "Job", "KeptFile", "Message", "Sampled"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Its argument: the run, its folder, the collectors to ask, the script, and seconds between samples, 0 for none."""

    run: str
    folder: str
    collectors: tuple[str, ...] = ()
    script: str | None = None
    seconds: float = 0.0


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    pass


class Found(_Message, frozen=True, kw_only=True):
    """The first line: every hook that some plugin has."""

    hooks: tuple[str, ...]


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a collector has kept in the store of objects."""

    name: str
    digest: str
    size: int


class Captured(_Message, frozen=True, kw_only=True):
    """What one collector found, as plain as an event holds it."""

    name: str
    values: dict[str, Any]
    files: tuple[KeptFile, ...] = ()


class Sampled(_Message, frozen=True, kw_only=True):
    """The load of the machine since the last sample."""

    values: dict[str, float]


class Ended(_Message, frozen=True, kw_only=True):
    """The last line but for samples: all were asked. `problems` name the plugins that failed."""

    problems: tuple[str, ...] = ()


Message = Union[Found, Captured, Sampled, Ended]
