"""Options of a section, and what the environment adds: secrets never stand in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from unitrack.errors import ConfigError

__all__ = ["checked", "needed"]

_Options = TypeVar("_Options", bound=msgspec.Struct)


def checked(name: str, options: Mapping[str, Any], kind: type[_Options]) -> _Options:
    """Return the options of the notifier `name`. Raises ConfigError that names the wrong one."""
    try:
        return msgspec.convert(dict(options), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"the notifier {name}: {error}; its options are: {known}") from None


def needed(name: str, option: str, given: str | None, *variables: str) -> str:
    """Return an option's value, or a variable's. Raises ConfigError that says how to give it."""
    found = given or next((value for variable in variables if (value := os.environ.get(variable))), None)
    if found is None:
        ways = " or ".join((f"the option {option}", *(f"the variable {variable}" for variable in variables)))
        raise ConfigError(f"the notifier {name} needs {ways}", key=f"backends.{name}.{option}")
    return found
