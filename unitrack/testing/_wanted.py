"""What a run's records amount to, whatever tracker they go to. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from unitrack.backend import Record
from unitrack.events import Artifact, DatasetUsed, Media, Metrics, Params, RunStarted, Tags, Unknown
from unitrack.model import restore

__all__ = ["Value", "Wanted", "leaves", "wanted"]

_EXACT = 2**53


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a metric, and what may keep a tracker from holding it as it is.

    The words of `troubles` are `non-finite`, `fractional`, `no step`, and `order` for a step that is negative, beyond
    2**53, or not above all before it.
    """

    step: float | None
    value: float
    troubles: frozenset[str] = frozenset()


class Wanted(msgspec.Struct, kw_only=True):
    """What a run amounts to."""

    metrics: dict[str, list[Value]] = {}
    params: dict[str, Any] = {}
    tags: dict[str, str | None] = {}
    gone: set[str] = set()
    """Tags that were removed."""
    files: dict[str, str] = {}
    """Digest by name of the artifacts that are files, the last version of each."""
    trees: dict[str, str] = {}
    media: dict[tuple[str, str], bytes | str] = {}
    """By name and digest or text: inline text, or a digest."""
    datasets: list[str] = []
    parent: str | None = None
    types: set[str] = set()
    """Types of events that this version doesn't know."""


def wanted(records: Iterable[Record], *, dead: Collection[tuple[str, int]] = ()) -> Wanted:
    """Fold records, in the order in which they are sent; `dead` are the keys of those that were refused."""
    want = Wanted()
    for record in records:
        if record.key not in dead:
            _fold(want, record.event)
    return want


def _fold(want: Wanted, event: Any) -> None:
    if isinstance(event, Metrics):
        for name, value in event.values.items():
            _fold_value(want.metrics.setdefault(name, []), event.step, value)
    elif isinstance(event, Params):
        want.params.update(leaves(event.values))
    elif isinstance(event, Tags):
        _fold_tags(want, event)
    elif isinstance(event, RunStarted):
        want.tags.update(dict.fromkeys(event.tags))
        want.parent = event.parent or want.parent
    elif isinstance(event, DatasetUsed):
        want.datasets.append(event.name)
    elif isinstance(event, Unknown):
        want.types.add(event.type)
    else:
        _fold_content(want, event)


def _fold_content(want: Wanted, event: Any) -> None:
    if isinstance(event, Artifact):
        if event.use == "output" and event.digest is not None:
            (want.trees if event.tree else want.files)[event.name] = event.digest
    elif isinstance(event, Media):
        content = event.digest if event.inline is None else event.inline
        if content is not None and event.kind != "histogram":
            want.media[event.name, str(content)] = content


def _fold_tags(want: Wanted, event: Tags) -> None:
    want.tags.update(dict.fromkeys(event.add))
    want.tags.update(event.values)
    want.gone.difference_update(event.add, event.values)
    for name in event.remove:
        want.tags.pop(name, None)
        want.gone.add(name)


def _fold_value(values: list[Value], step: float | None, value: Any) -> None:
    number = float(restore(value))
    troubles = set() if math.isfinite(number) else {"non-finite"}
    if step is None:
        troubles.add("no step")
    else:
        if step != int(step):
            troubles.add("fractional")
        if not 0 <= step < _EXACT or any(before.step is None or before.step >= step for before in values):
            troubles.add("order")
    values.append(Value(step=None if step is None else float(step), value=number, troubles=frozenset(troubles)))


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested params, named by their path."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", restore(value)
