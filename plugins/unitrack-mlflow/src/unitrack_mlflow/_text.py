"""Texts and the values they were made of: what lets a reader undo the mapping. Pure."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitrack.events import MediaKind

__all__ = ["implied_kind", "typed"]

_WORDS = {"None": None, "True": True, "False": False, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_KINDS: dict[str, MediaKind] = {
    "png": "image", "jpg": "image", "gif": "image", "webp": "image", "bmp": "image", "tiff": "image",
    "plotly.json": "figure", "json": "table", "txt": "text", "html": "html",
    "wav": "audio", "mp3": "audio", "ogg": "audio", "flac": "audio", "mp4": "video", "webm": "video",
}  # fmt: skip
_LONGEST_NUMBER = 400


def typed(text: str) -> Any:
    """Return the value with exactly this text: a number, bool or None as `str()` spells it, a JSON list, else itself.

    Text that merely looks like a number (`007`, `1e5`, `1.10`) stays text, so the way back gives the same text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text == "{}" or text[:1] == "[":
        return _tree(text)
    if len(text) > _LONGEST_NUMBER or not (text[:1].isdigit() or text[:1] == "-"):
        return text
    for kind in (int, float):
        try:
            if str(value := kind(text)) == text:
                return value
        except ValueError:
            continue
    return text


def _tree(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
        return value if json.dumps(value, ensure_ascii=False) == text else text
    except (ValueError, RecursionError):
        return text


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def implied_kind(form: str) -> MediaKind:
    """Return the kind of media that a file of this format is, unless it says another."""
    return _KINDS.get(form, "file")
