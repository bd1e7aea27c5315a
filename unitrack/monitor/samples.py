"""Rows of a data set as columns: what is there of each, and what kind of values it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Column", "Kind", "Sample", "kind_of_type"]

Kind = Literal["number", "category", "time", "nested", "empty"]

_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("nested", ("list", "struct", "map", "binary", "fixed_size", "large_list", "extension")),
    ("time", ("date", "time", "duration", "interval")),
    ("category", ("bool", "dict", "categor", "enum", "str", "object", "utf8", "large_string", "large_utf8", "text")),
    ("number", ("int", "uint", "float", "double", "halffloat", "decimal", "number")),
)


def kind_of_type(name: str) -> Kind | None:
    """Return what a type's name says of its values (`int64`, `dictionary<...>`); None if it says nothing."""
    word = name.lower()
    return next((kind for kind, beginnings in _KINDS if word.startswith(beginnings)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a sample. `type` is its type as the file has it.

    Numbers have `numbers`, a float64 array of what is there and finite; categories have `counts` by text. `missing`
    counts rows without a value, NaN and infinity among them.
    """

    name: str
    type: str
    kind: Kind
    missing: int = 0
    numbers: Any = None
    counts: dict[str, int] | None = None

    @property
    def present(self) -> int:
        """How many rows have a value."""
        if self.kind == "number":
            return len(self.numbers)
        return sum((self.counts or {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Columns of a data set in their order. `rows` were read of `total`; `source` names it in messages."""

    source: str
    columns: tuple[Column, ...]
    rows: int
    total: int

    def column(self, name: str) -> Column | None:
        """Return a column by name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def schema(self) -> list[list[str]]:
        """Names and types, in order."""
        return [[column.name, column.type] for column in self.columns]
