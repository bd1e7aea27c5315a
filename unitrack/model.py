"""The neutral values of a run: ids, names, numbers and plain trees.

Pure functions that turn what training code hands over into what JSON can hold, without
importing the packages the values come from.
"""

from __future__ import annotations

import datetime
import enum
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import msgspec

from unitrack.errors import UsageError
from unitrack.events import Metric, Step

__all__ = [
    "Spell",
    "check_artifact_name",
    "check_run_id",
    "check_step",
    "metric_name",
    "metric_value",
    "new_run_id",
    "number",
    "plain",
    "restore",
    "text",
]

Spell = Callable[[object], Any]

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DEPTH = 64
_LARGEST_ARRAY = 1000


def new_run_id() -> str:
    """Make an id that sorts by time, reads aloud and does not collide (30 random bits a second)."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    alphabet = "abcdefghjkmnpqrstuvwxyz023456789"
    return f"{stamp}-{''.join(alphabet[byte % 32] for byte in os.urandom(6))}"


def check_run_id(run_id: str) -> str:
    """Return `run_id`, or raise: it names a folder, so it may hold letters, digits, `.`, `_` and `-` only."""
    if not isinstance(run_id, str):
        raise TypeError(f"a run id is a str, not {type(run_id).__name__}")
    if not _RUN_ID.fullmatch(run_id) or ".." in run_id:
        raise UsageError(
            f"{run_id[:140]!r} can't be a run id: use up to 128 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return run_id


def check_artifact_name(name: str) -> str:
    """Return `name`, or raise: relative, forward slashes, no `..`, no control characters, 512 at most."""
    if not isinstance(name, str):
        raise TypeError(f"an artifact's name is a str, not {type(name).__name__}")
    parts = name.split("/")
    bad = not name or len(name) > 512 or "\\" in name or not name.isprintable()
    if bad or any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"{name[:140]!r} can't be an artifact's name: "
            "use a relative path with '/' and no '..', 512 characters at most"
        )
    return name


def metric_name(name: object) -> str:
    """Return the text of a metric's name: of a str itself, else what JSON makes of a key (a number, bytes).

    Raises TypeError for what can't be a key.
    """
    if type(name) is not str:
        try:
            (name,) = msgspec.to_builtins({name: None}, str_keys=True)
        except TypeError:
            raise TypeError(f"a metric's name is a str, not {type(name).__name__}: {name!r:.80}") from None
    return text(str(name))


def check_step(step: object) -> Step | None:
    """Return a finite step as int or float, or None; raise TypeError or ValueError for anything else."""
    if step is None:
        return None
    value = number(step, what="step")
    if isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"a step is a finite number or None, not {step!r:.80}")
    return value


def number(value: object, *, what: str = "value") -> int | float | bool:
    """Return the Python number in `value`: numpy, torch and JAX scalars, Decimal and Fraction count.

    Raises TypeError when there is none, or more than one.
    """
    if isinstance(value, (int, float)):
        return value if type(value) in (int, float, bool) else _base_number(value)
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (ValueError, RuntimeError, TypeError) as error:
            raise TypeError(f"{what} holds more than one number ({type(value).__name__}): {error}") from None
        if isinstance(value, (int, float)):
            return value
    if hasattr(value, "__float__") and not isinstance(value, (str, bytes)):
        return _wide(value)
    raise TypeError(f"{what} is not a number but {type(value).__name__}: {value!r:.80}")


def _base_number(value: int | float) -> int | float:
    return int(value) if isinstance(value, int) else float(value)


def metric_value(value: object, *, what: str = "value") -> Metric:
    """Return `value` as the journal holds a number: 64-bit int, float, bool or a non-finite word."""
    plain_number = number(value, what=what)
    if isinstance(plain_number, int):
        return plain_number if -(2**63) <= plain_number < 2**63 else _float_word(_wide(plain_number))
    return _float_word(plain_number)


def _wide(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _float_word(value: float) -> Metric:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text(value: str) -> str:
    """Return `value` with lone surrogates, which UTF-8 can't hold, replaced by `?`; TypeError if it is no str."""
    if not isinstance(value, str):
        raise TypeError(f"this takes a str, not {type(value).__name__}: {value!r:.80}")
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value


def plain(value: Any, *, spell: Spell | None = None, _parents: tuple[int, ...] = ()) -> Any:
    """Return `value` as a tree that JSON holds without loss of what can be kept.

    Mappings, sequences, sets, dataclasses, enums, paths, dates, numbers, small arrays and objects
    that know themselves as a dict are kept in kind; any other object becomes its repr
    without memory addresses, so that equal runs have equal params. A value inside itself
    becomes `"<cycle>"`. `restore` undoes the spelling of non-finite numbers. `spell` is asked about
    objects whose kind is unknown before their repr is taken, and returns None to pass.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, spell=spell, _parents=_parents)
    if isinstance(value, str):
        return _escape(text(str(value)))
    if isinstance(value, (int, float)):
        whole = _base_number(value)
        return whole if isinstance(whole, int) else _float_word(whole)
    if id(value) in _parents or len(_parents) >= _MAX_DEPTH:
        return "<cycle>" if id(value) in _parents else "<too deep>"
    return _plain_object(value, spell, (*_parents, id(value)))


def _plain_object(value: Any, spell: Spell | None, parents: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): plain(item, spell=spell, _parents=parents) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, spell=spell, _parents=parents) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, spell=spell, _parents=parents) for item in value), key=repr)
    if isinstance(value, (PurePath, os.PathLike)):
        return _escape(text(os.fspath(value))) if isinstance(os.fspath(value), str) else repr(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, type) or callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    fields = _fields(value)
    if fields is not None:
        return {_key(key): plain(item, spell=spell, _parents=parents) for key, item in fields.items()}
    return _plain_number_or_repr(value, spell, parents)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return the named fields of dataclasses, Namespaces, pydantic, attrs and msgspec objects."""
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses  # who made one has paid for it

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    names = getattr(type(value), "__struct_fields__", None)
    if names is None:
        names = [a.name for a in getattr(type(value), "__attrs_attrs__", ())] or None
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if hasattr(type(value), "model_fields"):
        return dict(value)
    if type(value).__name__ == "Namespace" and hasattr(value, "__dict__"):
        return dict(vars(value))
    return None


def _plain_number_or_repr(value: Any, spell: Spell | None, parents: tuple[int, ...]) -> Any:
    tolist = getattr(value, "tolist", None)
    if callable(tolist) and getattr(value, "size", 0) is not None:
        size = math.prod(getattr(value, "shape", ()) or (1,))
        if size <= _LARGEST_ARRAY:
            return plain(tolist(), _parents=parents)
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    if hasattr(value, "__float__"):
        with suppress(TypeError, ValueError, OverflowError):  # a symbol, a fraction beyond floats
            return plain(float(value), _parents=parents)
    if isinstance(value, Iterable) and isinstance(value, Sized) and len(value) <= _LARGEST_ARRAY:
        return [plain(item, spell=spell, _parents=parents) for item in value]
    known = None if spell is None else spell(value)
    if known is not None:
        return plain(known, _parents=parents)  # not asked again: what it returns is as far as it goes
    return _escape(text(_ADDRESS.sub("", repr(value)))[:_LARGEST_ARRAY])


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    return text(key) if isinstance(key, str) else str(plain(key))


def _escape(value: str) -> str:
    # A text that spells a non-finite number gets a backslash, so that it comes back as text.
    return "\\" + value if value.lstrip("\\") in _NON_FINITE else value


def restore(value: Any) -> Any:
    """Return the tree that `plain` spelled: non-finite words become floats again."""
    if isinstance(value, dict):
        return {key: restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore(item) for item in value]
    if isinstance(value, str):
        if value in _NON_FINITE:
            return _NON_FINITE[value]
        return value[1:] if value[:1] == "\\" and value.lstrip("\\") in _NON_FINITE else value
    return value
