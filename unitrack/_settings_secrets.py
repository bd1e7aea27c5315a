"""Credentials: refused in files that are committed, hidden where settings are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unitrack._settings_layers import dotted
from unitrack.errors import ConfigError

if TYPE_CHECKING:
    from unitrack._settings_file import Key, SettingsFile

__all__ = ["is_secret", "redacted", "refuse_credentials"]

_SECRET = re.compile(
    r"(^|_)(token|password|passwd|pwd|secret|api_?key|access_?key|secret_?key|private_?key|credentials?)$"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PASSWORD_IN_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@")
_HIDDEN = "***"


def is_secret(name: str) -> bool:
    """Tell whether a key of this name holds a credential: `token`, `api_key`, `clientSecret` ..."""
    return bool(_SECRET.search(_HUMP.sub("_", name).lower().replace("-", "_")))


def redacted(name: str, value: Any) -> Any:
    """Return `value` fit to be shown: credentials by name, and passwords in URLs, are hidden."""
    if isinstance(value, Mapping):
        return {key: redacted(str(key), item) for key, item in value.items()}
    if is_secret(name):
        return _HIDDEN
    if isinstance(value, (list, tuple)):
        return [redacted(name, item) for item in value]
    return _PASSWORD_IN_URL.sub(rf"\1{_HIDDEN}@", value) if isinstance(value, str) else value


def refuse_credentials(file: SettingsFile) -> None:
    """Raise ConfigError for a credential in a `[backends]` section: such files are committed and shared."""
    for key in _secrets(file.tree.get("backends"), ("backends",)):
        variable = "UNITRACK_" + "__".join(str(part).upper().replace("-", "_") for part in key)
        raise ConfigError(
            f"{dotted(key)} is a credential and must not stand in a file; "
            f"set {variable}, or the variable the tracker itself reads, in the environment",
            file=str(file.path),
            line=file.origin(key).line,
            key=dotted(key),
        )


def _secrets(value: Any, at: Key) -> Iterator[Key]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, (*at, name))
    elif redacted(str(at[-1]), value) != (list(value) if isinstance(value, list) else value):
        yield at
