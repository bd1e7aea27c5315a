"""Say what differs between candidate and baseline besides their numbers. Pure: others ask git."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.gate.causes import Sources, likely_cause

if TYPE_CHECKING:
    from unitrack.events import DatasetUsed
    from unitrack.reader import RunView
    from unitrack.rerun.job import JobResult

__all__ = ["Change", "Facts", "Lineage", "Side", "compare", "facts_of", "hardware_difference", "test_data_of"]

Kind = Literal["code", "params", "data", "packages", "image", "hardware", "seeds"]

_HARDWARE = ("cpu", "gpu_driver", "gpus", "machine")  # what moves results; memory and load do not
_TEST_SPLITS = ("test", "eval", "evaluation", "holdout", "validation", "valid", "val", "dev")
_MOST = 50
_LONGEST = 200
_NO_BASELINE = "There is no baseline to differ from."


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What one run recorded about itself, flat: name to text. `machine` is the class its executor told, for sure."""

    params: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    packages: Mapping[str, str] = {}
    image: Mapping[str, str] = {}
    hardware: Mapping[str, str] = {}
    seeds: Mapping[str, str] = {}
    machine: str | None = None


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A commit and what its runs recorded, in the order of the seeds."""

    commit: str
    facts: Sequence[Facts]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One named thing that differs; None where a side does not have it."""

    kind: Kind
    name: str
    baseline: str | None = None
    candidate: str | None = None


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs. `commits` are `<short sha> <subject>`, newest first, `files` as git names them."""

    commits: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    omitted: int = 0
    likely_cause: str


def facts_of(view: RunView, result: JobResult | None = None, *, seed: int | None = None) -> Facts:
    """Take from a run, and from its job's result, what can explain a difference."""
    environment, hardware = view.captures.get("environment", {}), view.captures.get("hardware", {})
    packages = environment.get("packages", {})
    return Facts(
        params=flat(view.params),
        data={each.name: _version(each) for each in view.datasets},
        packages={**_texts(environment, ("python",)), **flat(packages if isinstance(packages, dict) else {})},
        image=_image(result),
        hardware=_texts(hardware, _HARDWARE),
        seeds={} if seed is None else {"seed": str(seed)},
        machine=None if result is None else result.hardware,
    )


def _image(result: JobResult | None) -> dict[str, str]:
    """Return the image of a job: `none` for one that ran in none, nothing where nobody told."""
    if result is None or (result.image is None and result.hardware is None):
        return {}
    return {"image": result.image or "none"}


def test_data_of(view: RunView) -> dict[str, str]:
    """Return which version of which test data a run used: of datasets whose split says so."""
    return {each.name: _version(each) for each in view.datasets if (each.split or "").strip().lower() in _TEST_SPLITS}


def _version(used: DatasetUsed) -> str:
    rows = "" if used.rows is None else f" ({used.rows:,} rows)"
    return f"{used.digest or used.version or used.uri}{rows}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested mapping as dotted names and texts."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def _texts(capture: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    return {name: str(capture[name]) for name in names if capture.get(name) is not None}


def compare(
    candidate: Side,
    baseline: Side,
    *,
    commits: Sequence[str],
    files: Sequence[str],
    constants: Collection[str] = (),
) -> Lineage:
    """Compare both sides seed by seed; a thing that differs in several seeds is named once.

    `constants` are those of `files` in which nothing but values such as numbers and texts differs.
    """
    found: dict[tuple[str, str], Change] = {}
    for new, old in zip(candidate.facts, baseline.facts, strict=False):
        for change in _differences(new, old):
            found.setdefault((change.kind, change.name), change)
    changes = sorted(found.values(), key=lambda change: (change.kind, change.name))
    cut = [max(0, len(items) - _MOST) for items in (commits, files, changes)]
    named: dict[str, list[str]] = {}
    for change in changes:
        named.setdefault(change.kind, []).append(_words(change))
    return Lineage(
        commits=tuple(commit[:_LONGEST] for commit in commits[:_MOST]),
        files=tuple(file[:_LONGEST] for file in files[:_MOST]),
        changes=tuple(changes[:_MOST]),
        omitted=sum(cut),
        likely_cause=likely_cause(
            Sources(named=named, files=files, constants=constants), same=candidate.commit == baseline.commit
        )
        if baseline.commit
        else _NO_BASELINE,
    )


def _differences(new: Facts, old: Facts) -> list[Change]:
    kinds: tuple[Kind, ...] = ("params", "data", "packages", "image", "hardware", "seeds")
    found = [
        Change(kind=kind, name=name[:_LONGEST], baseline=_cut(before.get(name)), candidate=_cut(after.get(name)))
        for kind in kinds
        for before, after in [(getattr(old, kind), getattr(new, kind))]
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    told = any(one.kind == "hardware" and None not in (one.baseline, one.candidate) for one in found)
    if _other_class(new, old) and not told:  # a run need not capture its machine
        found.append(Change(kind="hardware", name="class", baseline=_cut(old.machine), candidate=_cut(new.machine)))
    return found


def _other_class(new: Facts, old: Facts) -> bool:
    return None not in (new.machine, old.machine) and new.machine != old.machine


def _words(change: Change) -> str:
    """Name a change with both values, where they are short enough to read."""
    old, new = change.baseline or "none", change.candidate or "none"
    return f"{change.name} {old} → {new}" if len(old) + len(new) <= 60 else change.name


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def hardware_difference(candidate: Side, baseline: Side, *, images: bool = False) -> str | None:
    """Say how the machines of a pair differ, or None if what both recorded is alike.

    What a run captured is compared, and what executors told of its job, which no training can leave out. With `images`
    other images count, too: a candidate may change its image, a machine may not change under it.
    """
    for new, old in zip(candidate.facts, baseline.facts, strict=False):
        for before, after in ((old.hardware, new.hardware), (old.image, new.image) if images else ({}, {})):
            for name in sorted({*after} & {*before}):
                if after[name] != before[name]:
                    return f"{name} {after[name]} against {before[name]}"
        if _other_class(new, old):
            return f"{new.machine} against {old.machine}"
    return None
