"""What a tracker must hold of a run: pure, from the run's records, what the backend declares and what it reported.

The rule: what is held may differ from the journal only where a lowering names the thing, or where the tracker
can't hold that type of event, declares so, and one lowering of kind `event` says so. `differences` has a sentence
for everything that breaks it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from unitrack.backend import Capabilities, Lowering, Record
from unitrack.objects import ObjectStore
from unitrack.testing._wanted import Value, Wanted, wanted
from unitrack.testing.held import HeldRun

__all__ = ["Told", "differences"]

_Pair = tuple["float | None", float]


class Told:
    """What a backend reported of a run, and whether it accounts for a difference.

    A lowering accounts for what it names; one of kind `event` for the whole type of event it names; one with its name
    in parentheses, such as `(none)`, for all metrics that were logged without a step. `dead` are the records that
    were refused.
    """

    def __init__(self, lowered: Iterable[Lowering] = (), dead: Iterable[Record] = ()) -> None:
        self.lowered = tuple(lowered)
        self.dead = {record.key for record in dead}
        self._kinds: dict[str, set[str]] = {}
        for one in self.lowered:
            self._kinds.setdefault(one.name, set()).add(one.kind)
        self.in_general = any(name[:1] == "(" and name[-1:] == ")" for name in self._kinds)

    def name(self, name: str, *, kind: str | None = None) -> bool:
        """Tell whether a lowering, of this kind if one is given, names it."""
        kinds = self._kinds.get(name, set())
        return bool(kinds) if kind is None else kind in kinds

    def type(self, word: str) -> bool:
        """Tell whether a whole type of event was reported."""
        return self.name(word, kind="event")

    def kind(self, word: str) -> bool:
        """Tell whether a lowering of this kind was reported."""
        return any(word in kinds for kinds in self._kinds.values())


def differences(
    records: Iterable[Record], held: HeldRun, told: Told, able: Capabilities, objects: ObjectStore
) -> list[str]:
    """Return what is held otherwise than the run's records say without having been reported."""
    want = wanted(records, dead=told.dead)
    files = sorted(_files(want, objects))
    return [
        *_metrics(want, held, told, able),
        *_params(want, held, told),
        *_tags(want, held, told),
        *_contents(files, held, told, "artifact", able=able.artifacts),
        *_contents(_media(want, objects), held, told, "media", able=able.media),
        *_rest(want, held, told, able),
    ]


# -- metrics -------------------------------------------------------------------------------------


def _metrics(want: Wanted, held: HeldRun, told: Told, able: Capabilities) -> Iterator[str]:
    for name, values in want.metrics.items():
        found = [(step, float(value)) for step, value in held.metrics.get(name, ())]
        yield from _metric(name, values, found, told, able)


def _metric(
    name: str, values: Sequence[Value], found: Sequence[_Pair], told: Told, able: Capabilities
) -> Iterator[str]:
    short = _short(name)
    there = Counter(map(_spelled, found))
    lacking = []
    for value in values:
        key = _spelled((value.step, value.value))
        if there[key]:
            there[key] -= 1
        else:
            lacking.append(value)
    for value in lacking:
        if not _may_lack(name, value, told, able):
            yield f"the metric {short} lacks {value.value} at step {value.step}, which no lowering names"
    extra = sum(there.values())
    if extra > len(lacking):
        yield f"the metric {short} has {extra - len(lacking)} values too many: {_some(+there)}"
    if not lacking and not told.name(name):
        yield from _order(short, values, found)


def _may_lack(name: str, value: Value, told: Told, able: Capabilities) -> bool:
    """Tell whether a value may be held otherwise: not if any tracker can hold it, or this one says it can."""
    can = {"non-finite": able.non_finite, "fractional": able.fractional_steps}
    troubles = {trouble for trouble in value.troubles if not can.get(trouble, False)}
    if not troubles:
        return told.name(name, kind="name")
    return told.name(name) or ("no step" in troubles and told.in_general)


def _order(short: str, values: Sequence[Value], found: Sequence[_Pair]) -> Iterator[str]:
    logged = sorted(values, key=lambda value: -math.inf if value.step is None else value.step)
    if [_spelled((one.step, one.value)) for one in logged] != list(map(_spelled, found)):
        yield f"the metric {short} is not held in the order of its steps and times"


def _spelled(pair: _Pair) -> str:
    step, value = pair
    return f"{value + 0.0!r} at {None if step is None else float(step)!r}"


# -- params and tags -----------------------------------------------------------------------------


def _params(want: Wanted, held: HeldRun, told: Told) -> Iterator[str]:
    for name, value in want.params.items():
        if told.name(name):
            continue
        if name not in held.params:
            yield f"the param {_short(name)} is not held, and no lowering names it"
        elif not same_value(value, held.params[name]):
            yield f"the param {_short(name)} is {_short(held.params[name])}, not {_short(value)}: no lowering names it"


def same_value(logged: Any, held: Any) -> bool:
    """Tell whether `held` is `logged`, or a text that spells it as `str`, `repr` or JSON do."""
    if type(logged) is type(held) and (logged == held or repr(logged) == repr(held)):
        return True
    if isinstance(logged, bool) != isinstance(held, bool) and not isinstance(held, str):
        return False
    if isinstance(logged, (int, float)) and isinstance(held, (int, float)):
        return float(logged) == float(held)
    if isinstance(logged, list) and isinstance(held, (list, tuple)):
        return len(logged) == len(held) and all(map(same_value, logged, held))
    return isinstance(held, str) and (held in (str(logged), repr(logged)) or _is_json_of(held, logged))


def _is_json_of(text: str, value: Any) -> bool:
    try:
        return repr(json.loads(text)) == repr(value)
    except ValueError:
        return False


def _tags(want: Wanted, held: HeldRun, told: Told) -> Iterator[str]:
    if not told.type("tags"):
        for name, text in want.tags.items():
            if not _has_tag(held, name, text) and not told.name(name):
                yield f"the tag {_short(name)} is not held, and no lowering names it"
    for name in want.gone:
        if _has_tag(held, name, None) and not told.name(name):
            yield f"the tag {_short(name)} is held, though it was removed"


def _has_tag(held: HeldRun, name: str, text: str | None) -> bool:
    if text is None:
        return name in held.tags
    if isinstance(held.tags, dict):
        return bool(held.tags.get(name) == text)
    return f"{name}={text}" in held.tags


# -- files ---------------------------------------------------------------------------------------


def _files(want: Wanted, objects: ObjectStore) -> Iterator[tuple[str, str, bytes]]:
    """Yield the artifact, path and bytes of each file."""
    for name, digest in want.files.items():
        if objects.verify(digest):  # else there is nothing to compare with
            yield name, name, objects.get(digest).read_bytes()
    for name, digest in want.trees.items():
        for entry in objects.manifest(digest).files:
            yield name, f"{name}/{entry.path}", objects.get(entry.digest).read_bytes()


def _media(want: Wanted, objects: ObjectStore) -> list[tuple[str, str, bytes]]:
    data: Callable[[bytes | str], bytes] = lambda one: (  # noqa: E731
        objects.get(str(one)).read_bytes() if str(one).startswith("sha256:") else str(one).encode()
    )
    return [(name, name, data(content)) for (name, _), content in want.media.items()]


def _contents(
    files: Sequence[tuple[str, str, bytes]],
    held: HeldRun,
    told: Told,
    word: str,
    *,
    able: bool,
) -> Iterator[str]:
    if not files:
        return
    if not able:
        if not told.type(word) and not any(told.name(name) for name, _, _ in files):
            yield f"events of type {word} can't be held, and no lowering says so"
        return
    copies = Counter(held.files.values())
    for name, path, data in files:
        if told.name(name) or told.name(path):
            continue
        if not copies[data]:
            yield f"the {word} {_short(path)} is not held with the bytes it has, and no lowering names {_short(name)}"
        elif copies[data] > sum(other == data for _, _, other in files):
            yield f"the {word} {_short(path)} is held {copies[data]} times"
        elif not any(path in place for place, bytes_ in held.files.items() if bytes_ == data):
            yield f"the {word} {_short(path)} is held under another name, and no lowering names {_short(name)}"


# -- all else ------------------------------------------------------------------------------------


def _rest(want: Wanted, held: HeldRun, told: Told, able: Capabilities) -> Iterator[str]:
    for name in want.datasets:
        if (
            not told.name(name)
            and not (able.datasets and name in held.datasets)
            and (able.datasets or not told.type("dataset"))
        ):
            yield f"the dataset {_short(name)} is not held, and no lowering says so"
    if want.parent is not None and held.parent != want.parent and (able.nested_runs or not told.kind("parent")):
        yield f"the parent is {held.parent}, not {want.parent}, and no lowering of kind `parent` says so"
    for word in want.types:
        if not told.name(word):
            yield f"the event of a later version, {word}, left no trace, and no lowering names it"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text):,} characters)"


def _some(values: Iterable[str]) -> str:
    return ", ".join(list(values)[:5])
