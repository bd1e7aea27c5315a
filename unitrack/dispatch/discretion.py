"""Keep credentials out of what a worker writes and says: trackers put URLs and headers into their errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from unitrack.config import is_secret

__all__ = ["Discretion"]

_HIDDEN = "***"
_SHORTEST = 6  # a shorter value would hide half of every message
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/?#\"'<>@]{1,1000}(?=@)")
_HEADER = re.compile(
    r"(\b(?:authorization|bearer|basic)\b[\"']?\s{0,3}[:=]?\s{0,3}[\"']?)[A-Za-z0-9._~+/=-]{16,}", re.I
)


class Discretion:
    """Hides what it was told of: the values of secret variables and options, and user and password in any URL."""

    def __init__(self, environment: Mapping[str, str], options: Mapping[str, Any] | None = None) -> None:
        values = {value for name, value in environment.items() if is_secret(name)}
        values |= set(_secrets(options or {})) | {part for text in _texts(options or {}) for part in _userinfo(text)}
        values |= {part for value in environment.values() if "://" in value for part in _userinfo(value)}
        found = sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, found))) if found else None

    def text(self, text: str) -> str:
        """Return `text` without credentials."""
        text = _HEADER.sub(rf"\1{_HIDDEN}", _URL.sub(rf"\1{_HIDDEN}", text))
        return text if self._values is None else self._values.sub(_HIDDEN, text)

    def value(self, value: Any) -> Any:
        """Return a JSON value without credentials; the keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, (list, tuple)) else value


def _userinfo(url: str) -> Iterator[str]:
    """Yield the passwords in URLs, which a client may spell out on its own."""
    yield from re.findall(r"://[^\s/?#@:]*:([^\s/?#@]+)@", url)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, str) and is_secret(str(name)):
            yield value
        elif isinstance(value, Mapping):
            yield from _secrets(value)
