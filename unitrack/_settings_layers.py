"""Lay settings over one another, turn texts into values, and check values against their types."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from unitrack._settings_file import Key, Origin
from unitrack.errors import ConfigError

__all__ = ["Layers", "dotted", "from_text", "near"]

_T = TypeVar("_T", bound=msgspec.Struct)
_TRUTHS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
_KINDS: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


class Layers:
    """A tree of raw values, each with its origin; what is put later replaces what is there."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self._origins: dict[Key, Callable[[Key], Origin]] = {}

    def put(self, key: Key, value: Any, origin: Callable[[Key], Origin]) -> None:
        """Set one value, or each value of a mapping."""
        node: dict[Any, Any] = self.tree
        for name in key[:-1]:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        if not isinstance(value, Mapping):
            node[key[-1]] = value
            self._origins[key] = origin
            return
        if key and not isinstance(node.get(key[-1]), dict):
            node[key[-1]] = {}
            self._origins[key] = origin
        for name, item in value.items():
            self.put((*key, name), item, origin)

    def origin(self, key: Key) -> Origin:
        """Return where the value at `key` came from, or what holds it or it holds."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._origins:
                return self._origins[key[:length]](key)
        inside = (made(key) for known, made in self._origins.items() if known[: len(key)] == key)
        return next(inside, Origin(label="default"))

    def sources(self) -> dict[str, str]:
        """Return the label of the origin of each value that was put, by dotted key."""
        leaves = {key: made for key, made in self._origins.items() if not isinstance(self._at(key), dict)}
        return {dotted(key): made(key).label for key, made in leaves.items()}

    def _at(self, key: Key) -> Any:
        node: Any = self.tree
        for name in key:
            node = node.get(name) if isinstance(node, dict) else None
        return node

    def error(self, key: Key, problem: str) -> ConfigError:
        """Return the error for what is wrong at `key`; `problem` goes on from its name."""
        origin = self.origin(key)
        name = origin.label if origin.label.startswith("UNITRACK_") else dotted(key)
        return ConfigError(f"{name} {problem}", file=origin.file, line=origin.line, key=dotted(key))

    def struct(self, kind: type[_T], tree: Any, at: Key = ()) -> _T:
        """Make a struct of the values at `at`, or raise ConfigError for the first that is wrong."""
        if not isinstance(tree, Mapping):
            raise self.error(at, f"must be a table, not {tree!r:.80}")
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for name in tree:
            if name not in fields:
                raise self.error((*at, name), f"is no setting{near(str(name), fields)}")
        values = {name: self._value(fields[name].type, item, (*at, name)) for name, item in tree.items()}
        for name, field in fields.items():
            if field.required and name not in values:
                raise self.error(at, f"needs the key {name!r}: {expected(field.type)}")
        return kind(**values)

    def _value(self, kind: Any, value: Any, at: Key) -> Any:
        bare = _bare(kind)
        if _is_struct(bare):
            return self.struct(bare, value, at)
        item: Any = get_args(bare)[0] if get_origin(bare) is tuple else None
        if _is_struct(item) and isinstance(value, (list, tuple)):
            return tuple(self.struct(item, each, (*at, n)) for n, each in enumerate(value))
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            close = near(str(value), get_args(bare), listed=False) if get_origin(bare) is Literal else ""
            raise self.error(at, f"must be {expected(kind)}, not {value!r:.80}{close}") from None


def dotted(key: Key) -> str:
    """Return `gate.metrics[0].name` for `("gate", "metrics", 0, "name")`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return "".join(parts).removeprefix(".")


def near(name: str, known: Iterable[Any], *, listed: bool = True) -> str:
    """Return what to add to a message about an unknown name: the nearest one, or all of a few."""
    import difflib

    names = [str(each) for each in known]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" - did you mean {close[0]!r}?"
    return f"; there are {', '.join(sorted(names))}" if listed and len(names) < 20 else ""


def variables(kind: type[msgspec.Struct], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield each key below a struct that one variable can set, with its type."""
    for field in msgspec.structs.fields(kind):
        key, bare = (*prefix, field.name), _bare(field.type)
        yield key, field.type
        if _is_struct(bare):
            yield from variables(bare, key)


def from_text(text: str, kind: Any) -> Any:
    """Return the value of type `kind` that a variable's text spells, or the text when it spells none."""
    bare = _bare(kind)
    if bare is bool:
        return _TRUTHS.get(text.strip().lower(), text)
    if bare in (int, float):
        return _number(text, bare)
    if get_origin(bare) is tuple:
        if text.lstrip().startswith("["):
            return _json(text)
        return [from_text(part.strip(), get_args(bare)[0]) for part in text.split(",") if part.strip()]
    if bare is Any or _is_struct(bare) or get_origin(bare) not in (None, Literal):
        return _json(text)
    return text


def _number(text: str, kind: type[int | float]) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _bare(kind: Any) -> Any:
    """Take `Annotated` and `| None` off a type."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if _is_union(kind):
        return _bare(next(each for each in get_args(kind) if each is not type(None)))
    return kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def expected(kind: Any) -> str:
    """Say in words what a value of a type is."""
    choices = [each for each in get_args(kind) if each is not type(None)] if _is_union(kind) else []
    if len(choices) > 1:
        return " or ".join(map(expected, choices))
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        words = ", ".join(repr(each) for each in get_args(bare))
        return f"one of {words}" if len(get_args(bare)) > 1 else words
    if get_origin(bare) is tuple:
        item = get_args(bare)[0]
        each = "a table" if _is_struct(item) else expected(item)
        return f"a list{_bounds(kind)}, each {each}"
    return _KINDS.get(bare, "a path") + _bounds(kind)


def _bounds(kind: Any) -> str:
    if _is_union(kind):
        return _bounds(get_args(kind)[0])
    limits = next((each for each in getattr(kind, "__metadata__", ()) if isinstance(each, msgspec.Meta)), None)
    if limits is None:
        return ""
    if limits.min_length:
        return " that is not empty"
    return f" above {limits.gt}" if limits.gt is not None else f" of at least {limits.ge}"
