"""One registry made equal to another: the same versions, stages, aliases and history, change by change.

Where both have a common beginning, only the rest is made, so a mirror that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from unitrack.errors import RegistryError
from unitrack.registry import changes
from unitrack.registry.base import Registry
from unitrack.registry.state import Change, ModelFile, VersionRecord

__all__ = ["Behind", "behind", "mirror"]

_TOGETHER = 50  # changes a call: a local file is written anew each time


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """What a target still lacks of a model: `changes` out of `total` in the source's history."""

    model: str
    changes: int
    total: int
    new: bool


def behind(source: Registry, target: Registry, name: str) -> Behind:
    """Compare a model in two registries. Raises RegistryError if the target went a way of its own."""
    wanted = source.state(name)
    new = name not in target.models()
    have = 0 if new else _common(wanted, target.state(name), source, target)
    return Behind(model=name, changes=len(wanted.history) - have, total=len(wanted.history), new=new)


def mirror(source: Registry, target: Registry, name: str, *, progress: Callable[[int], object] = lambda _: None) -> int:
    """Make a model in `target` what it is in `source` and return how many changes that took.

    `progress` gets the number of changes just made. Raises RegistryError if the target went a way of its own:
    nothing is overwritten.
    """
    wanted = source.state(name)
    made = 0
    while True:
        missing = 0

        def catch_up(have: ModelFile) -> ModelFile:
            nonlocal missing
            start = _common(wanted, have, source, target)
            part = list(islice(wanted.history, start, start + _TOGETHER))
            missing = len(part)
            for change in part:
                have = changes.redo(have, change, wanted.versions[change.version - 1])
            return have

        target.change(name, catch_up, create=True)
        if not missing:
            return made
        made += missing
        progress(missing)


def _common(wanted: ModelFile, have: ModelFile, source: Registry, target: Registry) -> int:
    """Return how many changes the target has, all of which have to be the source's."""
    for position, theirs, ours in _pairs(wanted, have):
        if theirs != ours:
            raise RegistryError(
                f"{target.where} and {source.where} went different ways with {wanted.name!r}: after {position} equal "
                f"changes there is {_words(ours)} there, and {_words(theirs)} here. Mirror into a registry that only "
                "mirrors, or sync the other way round"
            )
    return len(have.history)


def _pairs(wanted: ModelFile, have: ModelFile) -> Iterator[tuple[int, object, object]]:
    for position, ours in enumerate(have.history):
        theirs = wanted.history[position] if position < len(wanted.history) else None
        yield position, theirs, ours
        if theirs is not None and ours.action == "register":
            number = ours.version - 1
            yield position, _lasting(wanted.versions[number]), _lasting(have.versions[number])


def _lasting(record: VersionRecord) -> VersionRecord:
    """Return a version as it was registered: its stage is the history's to tell."""
    return msgspec.structs.replace(record, stage=None)


def _words(change: object) -> str:
    if change is None:
        return "missing"
    if isinstance(change, VersionRecord):
        return f"version {change.version} of run {change.run} ({change.digest or 'no artifact'})"
    assert isinstance(change, Change)
    words = {
        "register": "registered",
        "alias": f"alias {change.alias}",
        "delete_alias": f"without alias {change.alias}",
    }
    what = words.get(change.action, f"{change.action} {change.after}")
    return f"version {change.version} {what} by {change.by} at {change.time:%Y-%m-%d %H:%M:%S}"
