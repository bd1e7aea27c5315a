"""Names MLflow takes: the same name always becomes the same key, and no two names one key.

A name that doesn't fit keeps what can be kept and gets eight hex digits of its SHA-256; the tag
`unitrack.name.<digits>` holds the name as it was.
"""

from __future__ import annotations

import functools
import hashlib
import posixpath
import re

import msgspec

__all__ = ["LONGEST", "Key", "digest8", "to_key", "to_path"]

LONGEST = 250
_BAD = re.compile(r"[^/\w.\- :]")
_BAD_IN_PATH = re.compile(r"[^\w.\- +=@,()]")


class Key(msgspec.Struct, frozen=True):
    """A key for MLflow; `mark` is the hash in it if it differs from the name."""

    text: str
    mark: str | None = None


def digest8(text: str) -> str:
    """Return eight hex digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=10_000)
def to_key(name: str, prefix: str = "") -> Key:
    """Return the key of a metric, param or tag; `prefix` is in front of it and counts."""
    room = LONGEST - len(prefix)
    if len(name) <= room and not _BAD.search(name) and _is_plain(name):
        return Key(prefix + name)
    mark = digest8(name)
    parts = [part if part.strip(".") else "_" for part in _BAD.sub("_", name).split("/")]
    return Key(f"{prefix}{'/'.join(parts)[: room - 9]}-{mark}", mark)


def _is_plain(name: str) -> bool:
    """Tell whether the name is the path it spells, as MLflow demands of every key."""
    return posixpath.normpath(name) == name and name[0] != "/" and name.split("/", maxsplit=1)[0] not in (".", "..")


@functools.lru_cache(maxsize=10_000)
def to_path(name: str) -> Key:
    """Return the artifact path of a relative name; the extension stays at the end."""
    parts = name.split("/")
    if not any(_BAD_IN_PATH.search(part) or not part.strip(".") for part in parts):
        return Key(name)
    mark = digest8(name)
    kept = [_BAD_IN_PATH.sub("_", part) if part.strip(".") else "_" for part in parts]
    stem, extension = posixpath.splitext(kept[-1])
    return Key("/".join([*kept[:-1], f"{stem}-{mark}{extension}"]), mark)
