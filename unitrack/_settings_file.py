"""Find the settings file of a folder, read it, and know on which line each key stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import msgspec

from unitrack.errors import ConfigError

__all__ = ["Key", "Origin", "SettingsFile", "find", "key_lines"]

Key = tuple[Union[str, int], ...]
"""The way to a value: names of keys, and positions in arrays of tables."""

# Texts, not compiled: most processes find no file to scan, and compiling costs 3 ms.
_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"\\\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?\s*$"
_ASSIGNMENT = rf"\s*({_DOTTED})\s*="
_OPAQUE = r'(?s)"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|" + r"#[^\n]*"
_ERROR_LINE = r"\s*\(at line (\d+), column \d+\)"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value came from: `label` says it, `file` and `line` if it was a file."""

    label: str
    file: str | None = None
    line: int | None = None


class SettingsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A settings file as read: unitrack's part of it, and the line of each key."""

    path: Path
    tree: dict[str, Any]
    lines: Mapping[Key, int]

    def origin(self, key: Key) -> Origin:
        """Return where the key stands, or the nearest that holds it; no line when that is not sure."""
        known = (self.lines.get(key[:length]) for length in range(len(key), 0, -1))
        line = next((line for line in known if line is not None), None)
        label = str(self.path) if line is None else f"{self.path}:{line}"
        return Origin(label=label, file=str(self.path), line=line)


def find(start: Path) -> SettingsFile | None:
    """Read the settings file of the folder `start` or its nearest ancestor that has one.

    Raises ConfigError for a file that can't be read or parsed, and for two in one folder.
    """
    for folder in (start, *start.parents):
        own = _read(folder / "unitrack.toml", ())
        shared = _read(folder / "pyproject.toml", ("tool", "unitrack"))
        if own and shared:
            raise ConfigError(
                f"[tool.unitrack] in {shared.path} says settings too; keep one of the two", file=str(own.path)
            )
        if own or shared:
            return own or shared
    return None


def _read(path: Path, table: tuple[str, ...]) -> SettingsFile | None:
    text = _text(path)
    if text is None or (table and table[-1] not in text):  # most pyproject files are not worth parsing
        return None
    tree: Any = _parse(text, path)
    for name in table:
        tree = tree.get(name) if isinstance(tree, dict) else None
    if tree is None:
        return None
    if not isinstance(tree, dict):
        raise ConfigError(f"{'.'.join(table)} must be a table", file=str(path), key=".".join(table))
    lines = {key[len(table) :]: line for key, line in key_lines(text).items() if key[: len(table)] == table}
    return SettingsFile(path=path, tree=tree, lines=lines)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read: {error}", file=str(path)) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(_ERROR_LINE, str(error))
        message = re.sub(_ERROR_LINE, "", str(error))
        line = int(at[1]) if at else None
        raise ConfigError(f"this is not TOML: {message}", file=str(path), line=line) from None
    return tree


def key_lines(text: str) -> dict[Key, int]:
    """Map each key and table of a valid TOML text to its line, from 1.

    Keys inside inline tables and keys spelled with escapes are left out.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    for number, line in _statements(text):
        header = re.match(_HEADER, line)
        if header:
            table = _enter(_names(header[2]), counts, array=header[1] == "[[")
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], number)
            continue
        assignment = re.match(_ASSIGNMENT, line)
        for name in _names(assignment[1]) if assignment else ():
            lines.setdefault((*table, name), number)
            table = (*table, name)
        if assignment:
            table = table[: len(table) - len(_names(assignment[1]))]
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the first line of each statement with its number, long strings and comments taken out."""
    depth = 0
    for number, line in enumerate(re.sub(_OPAQUE, _blank, text).split("\n"), 1):
        if depth == 0:
            yield number, line
        depth += sum(line.count(c) for c in "[{") - sum(line.count(c) for c in "]}")


def _blank(match: re.Match[str]) -> str:
    # A plain quoted name may be a key, so it stays; anything else that is quoted only has to keep its lines.
    found = match[0]
    if found.startswith("#"):
        return ""
    is_name = not found.startswith(('"""', "'''")) and not re.search(r"[\\\[\]{}=#]", found)
    return found if is_name else '"?"' + "\n" * found.count("\n")


def _names(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in re.findall(_NAME, dotted)]


def _enter(names: list[str], counts: dict[Key, int], *, array: bool) -> Key:
    """Return the table a header opens; a name of an array of tables means its last one."""
    table: Key = ()
    for position, name in enumerate(names):
        table = (*table, name)
        if array and position == len(names) - 1:
            counts[table] = counts.get(table, 0) + 1
        if table in counts:
            table = (*table, counts[table] - 1)
    return table
