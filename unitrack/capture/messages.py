"""What the process of captures is told, and says: one JSON line a message."""

from __future__ import annotations

from typing import Any, Union

import msgspec

__all__ = ["Captured", "Ended", "Found", "Job", "Message"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Its argument: the run, its folder, and the names of the collectors to ask."""

    run: str
    folder: str
    collectors: tuple[str, ...] = ()


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    pass


class Found(_Message, frozen=True, kw_only=True):
    """The first line: every hook that some plugin has."""

    hooks: tuple[str, ...]


class Captured(_Message, frozen=True, kw_only=True):
    """What one collector found, as plain as an event holds it."""

    name: str
    values: dict[str, Any]


class Ended(_Message, frozen=True, kw_only=True):
    """The last line: all were asked. `problems` name the plugins that failed."""

    problems: tuple[str, ...] = ()


Message = Union[Found, Captured, Ended]
