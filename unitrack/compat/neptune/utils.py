"""`neptune.utils`."""

from __future__ import annotations

from typing import Any

__all__ = ["stringify_unsupported"]


def stringify_unsupported(value: Any, expand: bool = False) -> Any:
    """Return the value as it is: unitrack keeps lists, sets and None in kind, and other objects by their repr."""
    return value
