"""What changed in the columns themselves: gone, new, of another kind, in another order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from unitrack.monitor.samples import kind_of_type

__all__ = ["SchemaChange", "schema_changes"]

_NAMED = 8


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the columns. `gates` tells whether it is drift; a column that is new is only told."""

    what: Literal["removed", "added", "retyped", "reordered"]
    column: str
    reason: str
    gates: bool = True


def schema_changes(
    reference: Sequence[Sequence[str]], fresh: Sequence[Sequence[str]], *, ignore: Collection[str] = ()
) -> tuple[SchemaChange, ...]:
    """Compare columns, given as names and types in order.

    Types of one kind are one: what a library calls its floats, or whether whole numbers are floats because one of
    them is missing, changes nothing for a model.
    """
    ours = {name: kind for name, kind in reference if name not in ignore}
    theirs = {name: kind for name, kind in fresh if name not in ignore}
    gone = [name for name in ours if name not in theirs]
    new = [name for name in theirs if name not in ours]
    found = [SchemaChange(what="removed", column=name, reason=f"it was {ours[name] or 'there'}") for name in gone]
    found += [_retyped(name, ours[name], theirs[name]) for name in ours if _differ(ours[name], theirs.get(name))]
    common = [name for name in ours if name in theirs]
    order = [name for name in theirs if name in ours]
    found += _reordered(common, order)
    return (
        *found,
        *(SchemaChange(what="added", column=name, reason=f"it is {theirs[name]}", gates=False) for name in new),
    )


def _differ(one: str, other: str | None) -> bool:
    kinds = {kind_of_type(one), None if other is None else kind_of_type(other)}
    return len(kinds) == 2 and None not in kinds


def _retyped(name: str, before: str, after: str) -> SchemaChange:
    return SchemaChange(what="retyped", column=name, reason=f"it was {before} and is {after}")


def _reordered(common: Sequence[str], order: Sequence[str]) -> list[SchemaChange]:
    if list(common) == list(order):
        return []
    moved = [name for name, other in zip(common, order, strict=True) if name != other]
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    reason = f"{', '.join(moved[:_NAMED])}{more} stand elsewhere: a model that takes columns by position gets others"
    return [SchemaChange(what="reordered", column=moved[0], reason=reason)]
