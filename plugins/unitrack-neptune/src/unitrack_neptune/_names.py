"""Paths that Neptune takes: one for each name and type of the run, none of them a namespace of another.

A path of Neptune's is either a field or a namespace: `loss` and `loss/train` can't be both there, and a
field keeps its first type. What doesn't fit is renamed by `unitrack.lowering.NameMap`, which can be undone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from unitrack.lowering import NameMap

__all__ = ["Paths", "clean"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_ROOM = 40
"""Bytes that stay free in a path for what stands in front of it: `late/value/`, `nonfinite/`."""

_TYPED = re.compile(r"((?:[^\0]|\0\0)*)\0([a-z]+)")
"""A name in the map that stands for its second field, of another type; a NUL in a name is doubled there."""


def clean(path: str, room: int) -> str:
    """Return the nearest path: no empty part, no blanks at the ends of a part, at most `room` bytes."""
    parts = [_CONTROL.sub("_", part).strip() or "_" for part in path.split("/")]
    text = "/".join(parts)
    if len(text.encode()) > room:
        text = text.encode()[:room].decode(errors="ignore").rstrip("/ ")
    return text


class Paths:
    """The paths of one run. `fields` maps each path in use to its type, `known` is the name map as Neptune has it."""

    def __init__(self, longest: int, fields: dict[str, str], known: Mapping[str, str]) -> None:
        self.fields = fields
        self._namespaces = {prefix for path in fields for prefix in _prefixes(path)}
        self._map = NameMap(self._fit, longest=longest - _ROOM, known=known)
        self._seen: dict[tuple[str, str], str] = {}

    def path(self, name: str, kind: str) -> str:
        """Return the path of the field `name`, which holds values of the type `kind`."""
        known = self._seen.get((name, kind))
        if known is None:
            known = self._seen[name, kind] = self._find(name, kind)
        return known

    def name(self, path: str) -> str:
        """Return the name that became `path`."""
        return _read(self._map.name(path))[0]

    @property
    def changed(self) -> dict[str, str]:
        """Path to name, for every name that Neptune can't hold as it is."""
        return self._map.changed

    @property
    def fresh(self) -> dict[str, tuple[str, str | None]]:
        """What of the name map Neptune hasn't been told: path to name, and type if it is a name's second field."""
        return {path: _read(name) for path, name in self._map.fresh.items()}

    def told(self) -> None:
        """Take note that Neptune has been told all of the map."""
        self._map.fresh.clear()

    def _find(self, name: str, kind: str) -> str:
        spelled = name.replace("\0", "\0\0")
        path = self._map.key(spelled)
        if self.fields.get(path, kind) != kind:
            path = self._map.key(f"{spelled}\0{kind}")
        if path not in self.fields:
            self.fields[path] = kind
            self._namespaces.update(_prefixes(path))
        return path

    def _fit(self, path: str, room: int) -> str:
        text = clean(path, room)
        taken = next((prefix for prefix in _prefixes(text) if prefix in self.fields), None)
        if taken is not None:
            return taken + text[len(taken) :].replace("/", ".")
        return clean(f"{text}_", room) if text in self._namespaces and text not in self.fields else text


def _read(name: str) -> tuple[str, str | None]:
    """Return the name and type that an entry of the map stands for."""
    typed = _TYPED.fullmatch(name)
    spelled, kind = (name, None) if typed is None else (typed[1], typed[2])
    return spelled.replace("\0\0", "\0"), kind


def _prefixes(path: str) -> list[str]:
    """Return the namespaces that a path lies in."""
    return [path[:at] for at, sign in enumerate(path) if sign == "/"]
