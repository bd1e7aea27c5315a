"""The tags of a run: TensorBoard takes any text but the empty one, and one kind of data a tag.

The first to use a tag has it. What comes later under the same name but of another kind, and a name that is
empty or stands where this backend writes, gets a tag of its own; `names.json` holds the way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from unitrack.lowering import Lowerings, NameMap

__all__ = ["RESERVED", "Tags", "safe_path"]

RESERVED = ("unitrack/", "system/", "summary/", "_hparams_/")
_LONGEST = 400
_BAD_IN_PATH = re.compile(r"[^\w.\- +=@,()]")


class Tags:
    """Tags for names; `known` is the document of an earlier process."""

    def __init__(self, lowerings: Lowerings, known: Mapping[str, Any] | None = None) -> None:
        known = known or {}
        self._lowerings = lowerings
        self._kinds: dict[str, str] = dict(known.get("kinds", {}))
        changed = {tag: f"{row['kind']}/{row['name']}" for tag, row in known.get("changed", {}).items()}
        self._map = NameMap(_clean, longest=_LONGEST, known=changed)
        self._size = self._measure()

    def tag(self, kind: str, name: str) -> str | None:
        """Return the tag for what `name` holds, None if it is to be left out. Raises RefusedError."""
        if name and not name.startswith(RESERVED) and self._kinds.setdefault(name, kind) == kind:
            return name
        tag = self._map.key(f"{kind}/{name}")
        told = self._lowerings.decide(
            "name", name or "(empty)", trouble="the tag can't be had", remedy=f"the tag is {tag}"
        )
        return None if told == "skip" else tag

    def name(self, tag: str) -> str:
        """Return the run's name for a tag."""
        qualified = self._map.changed.get(tag)
        return tag if qualified is None else qualified.partition("/")[2]

    def document(self) -> dict[str, Any] | None:
        """Return what a later process needs, None if nothing came since the last call."""
        if (size := self._measure()) == self._size:
            return None
        self._size = size
        rows = {tag: qualified.partition("/") for tag, qualified in self._map.changed.items()}
        changed = {tag: {"kind": kind, "name": name} for tag, (kind, _, name) in rows.items()}
        return {"version": 1, "changed": changed, "kinds": self._kinds}

    def _measure(self) -> tuple[int, int]:
        return len(self._kinds), len(self._map.changed)


def _clean(name: str, room: int) -> str:
    """Return the readable part of a tag for a name that can't be one; never the name itself."""
    kind, _, rest = name.partition("/")
    return f"{kind}: {rest or '(empty)'}"[:room]


def safe_path(name: str) -> str:
    """Return a relative path that resembles `name` and leads nowhere else; not reversible."""
    parts = [_BAD_IN_PATH.sub("_", part)[:100] for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" for part in parts)
