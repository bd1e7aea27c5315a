"""Say what differs between candidate and baseline besides their numbers. Pure: others ask git."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from unitrack.reader import RunView

__all__ = ["Change", "Facts", "Lineage", "Side", "compare", "facts_of", "hardware_difference"]

Kind = Literal["code", "params", "data", "packages", "hardware"]

_HARDWARE = ("cpu", "gpu_driver", "gpus", "machine")  # what moves results; memory and load do not
_BY_WEIGHT = ("data", "packages", "hardware", "params")
_MOST = 50
_LONGEST = 200


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What one run recorded about itself, flat: name to text."""

    params: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    packages: Mapping[str, str] = {}
    hardware: Mapping[str, str] = {}


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


def facts_of(view: RunView) -> Facts:
    """Take from a run what can explain a difference."""
    environment, hardware = view.captures.get("environment", {}), view.captures.get("hardware", {})
    packages = environment.get("packages", {})
    return Facts(
        params=flat(view.params),
        data={each.name: str(each.digest or each.version or each.uri) for each in view.datasets},
        packages={**_texts(environment, ("python",)), **flat(packages if isinstance(packages, dict) else {})},
        hardware=_texts(hardware, _HARDWARE),
    )


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


def compare(candidate: Side, baseline: Side, *, commits: Sequence[str], files: Sequence[str]) -> Lineage:
    """Compare both sides seed by seed; a thing that differs in several seeds is named once."""
    found: dict[tuple[str, str], Change] = {}
    for new, old in zip(candidate.facts, baseline.facts, strict=True):
        for change in _differences(new, old):
            found.setdefault((change.kind, change.name), change)
    changes = sorted(found.values(), key=lambda change: (change.kind, change.name))
    cut = [max(0, len(items) - _MOST) for items in (commits, files, changes)]
    return Lineage(
        commits=tuple(commit[:_LONGEST] for commit in commits[:_MOST]),
        files=tuple(files[:_MOST]),
        changes=tuple(changes[:_MOST]),
        omitted=sum(cut),
        likely_cause=_likely_cause(changes, files, same=candidate.commit == baseline.commit),
    )


def _differences(new: Facts, old: Facts) -> list[Change]:
    kinds: tuple[Kind, ...] = ("params", "data", "packages", "hardware")
    return [
        Change(kind=kind, name=name[:_LONGEST], baseline=_cut(before.get(name)), candidate=_cut(after.get(name)))
        for kind in kinds
        for before, after in [(getattr(old, kind), getattr(new, kind))]
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def hardware_difference(candidate: Side, baseline: Side) -> str | None:
    """Say how the machines of a pair differ, or None if what both recorded is alike."""
    for new, old in zip(candidate.facts, baseline.facts, strict=True):
        for name in sorted({*new.hardware} & {*old.hardware}):
            if new.hardware[name] != old.hardware[name]:
                return f"{name} {new.hardware[name]} against {old.hardware[name]}"
    return None


def _likely_cause(changes: Sequence[Change], files: Sequence[str], *, same: bool) -> str:
    """Name what explains a difference best: data, then packages and hardware, then params, then code."""
    names = {kind: [change.name for change in changes if change.kind == kind] for kind in _BY_WEIGHT}
    causes = [f"{kind} ({_some(names[kind])})" for kind in _BY_WEIGHT if names[kind]]
    if files:
        causes.append(f"code ({_some(files)})")
    if causes:
        return "Changed between baseline and candidate: " + "; ".join(causes) + "."
    if same:
        return "Candidate and baseline are the same commit and recorded the same: a difference is noise."
    return "Nothing that was recorded differs: noise, or something no run captures."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
