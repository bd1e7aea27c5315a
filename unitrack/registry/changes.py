"""What can be done to a model: pure functions from one state to the next.

Each but `redo` returns the very state it was given if nothing would change, so that doing a thing twice
leaves one trace in the history. Each raises RegistryError if the rules forbid it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from unitrack.errors import RegistryError
from unitrack.events import Metric
from unitrack.registry.interface import LATEST, STAGES, Reference, Stage, check_alias
from unitrack.registry.state import SCHEMA_VERSION, Change, ModelFile, VersionRecord

__all__ = [
    "TRANSITIONS",
    "Stamp",
    "delete_alias",
    "new_model",
    "redo",
    "register",
    "replay",
    "resolve",
    "rollback",
    "set_alias",
    "set_stage",
]

TRANSITIONS: Mapping[Stage | None, frozenset[Stage]] = {
    None: frozenset(("experimental", "staging")),
    "experimental": frozenset(("staging", "retired")),
    "staging": frozenset(("experimental", "production", "retired")),
    "production": frozenset(("retired",)),
    "retired": frozenset(("staging",)),
}
"""The stages a version may enter from each stage; None is a version just registered.

One version at most is in production: entering it retires the version that was there. Back to
production leads through staging, or through `rollback`.
"""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a change, when (UTC) and why."""

    by: str
    time: datetime
    reason: str = ""


def new_model(name: str) -> ModelFile:
    """Make a model without versions."""
    return ModelFile(schema=SCHEMA_VERSION, name=name)


def register(
    model: ModelFile,
    stamp: Stamp,
    *,
    run: str,
    artifact: str | None,
    digest: str | None,
    commit: str | None,
    metrics: dict[str, Metric],
    description: str,
) -> ModelFile:
    """Add the next version."""
    number = len(model.versions) + 1
    record = VersionRecord(
        version=number,
        run=run,
        artifact=artifact,
        digest=digest,
        commit=commit,
        metrics=metrics,
        description=description,
        by=stamp.by,
        time=stamp.time,
    )
    change = Change(time=stamp.time, by=stamp.by, action="register", version=number, reason=stamp.reason)
    return msgspec.structs.replace(model, versions=(*model.versions, record), history=(*model.history, change))


def set_alias(model: ModelFile, alias: str, version: int, stamp: Stamp) -> ModelFile:
    """Point an alias at a version; a life-cycle stage goes the way of `set_stage`."""
    check_alias(alias)
    stage = _as_stage(alias)
    if stage is not None:
        return set_stage(model, version, stage, stamp)
    _record(model, version)
    if model.aliases.get(alias) == version:
        return model
    change = Change(
        time=stamp.time,
        by=stamp.by,
        action="alias",
        version=version,
        alias=alias,
        before=model.aliases.get(alias),
        after=version,
        reason=stamp.reason,
    )
    return msgspec.structs.replace(model, aliases={**model.aliases, alias: version}, history=(*model.history, change))


def delete_alias(model: ModelFile, alias: str, stamp: Stamp) -> ModelFile:
    """Take an alias away; the history keeps where it pointed."""
    if _as_stage(check_alias(alias)) is not None:
        raise RegistryError(f"{alias!r} is a stage, not a free alias: move the version to another stage instead")
    if alias not in model.aliases:
        raise RegistryError(f"model {model.name!r} has no alias {alias!r}; {_aliases(model)}")
    version = model.aliases[alias]
    change = Change(
        time=stamp.time,
        by=stamp.by,
        action="delete_alias",
        version=version,
        alias=alias,
        before=version,
        reason=stamp.reason,
    )
    rest = {name: number for name, number in model.aliases.items() if name != alias}
    return msgspec.structs.replace(model, aliases=rest, history=(*model.history, change))


def set_stage(model: ModelFile, version: int, stage: Stage, stamp: Stamp, *, force: bool = False) -> ModelFile:
    """Move a version to a stage along `TRANSITIONS`, or past them with `force`; production has one holder."""
    before = _record(model, version).stage
    if _as_stage(stage) is None:
        raise RegistryError(f"{stage!r} is no stage: use one of {', '.join(STAGES)}")
    if before == stage:
        return model
    allowed = stage in TRANSITIONS[before]
    if not allowed and not force:
        raise RegistryError(_forbidden(model, version, before, stage))
    change = Change(
        time=stamp.time,
        by=stamp.by,
        action="stage",
        version=version,
        before=before,
        after=stage,
        reason=stamp.reason,
        forced=not allowed,
    )
    if stage == "production":
        model = _retire_holder(model, f"version {version} took its place", stamp)
    return _enter(model, change)


def rollback(model: ModelFile, stamp: Stamp) -> ModelFile:
    """Put back the version that was in production before the present one; done again, the one before that."""
    current = _holder(model)
    if current is None:
        raise RegistryError(
            f"no version of {model.name!r} is in production, so there is none to roll back; "
            "move a version to staging and then to production"
        )
    earlier = [number for number in _production_stack(model) if number != current]
    if not earlier:
        raise RegistryError(
            f"version {current} is the first of {model.name!r} in production: there is none before it; "
            "move it to retired to take it out of production"
        )
    version = earlier[-1]
    change = Change(
        time=stamp.time,
        by=stamp.by,
        action="rollback",
        version=version,
        before=_record(model, version).stage,
        after="production",
        reason=stamp.reason,
    )
    return _enter(_retire_holder(model, f"rolled back to version {version}", stamp), change)


def redo(model: ModelFile, change: Change, record: VersionRecord) -> ModelFile:
    """Make a change that another registry has in its history, word for word; `record` is its version there."""
    if change.action == "register":
        fresh = msgspec.structs.replace(record, stage=None)
        return msgspec.structs.replace(model, versions=(*model.versions, fresh), history=(*model.history, change))
    if change.action == "alias" and change.alias is not None:
        aliases = {**model.aliases, change.alias: change.version}
        return msgspec.structs.replace(model, aliases=aliases, history=(*model.history, change))
    if change.action == "delete_alias":
        aliases = {alias: number for alias, number in model.aliases.items() if alias != change.alias}
        return msgspec.structs.replace(model, aliases=aliases, history=(*model.history, change))
    return _enter(model, change)


def resolve(model: ModelFile, reference: Reference) -> VersionRecord:
    """Return the version that a reference names; several versions at one stage mean the highest of them."""
    if not model.versions:
        raise RegistryError(f"model {model.name!r} has no version; register one")
    if reference.version is not None:
        return _record(model, reference.version)
    alias = reference.alias or LATEST
    if alias == LATEST:
        return model.versions[-1]
    if _as_stage(alias) is not None:
        held = [record for record in model.versions if record.stage == alias]
        if not held:
            raise RegistryError(f"no version of {model.name!r} is in stage {alias!r}; {_stages(model)}")
        return held[-1]
    if alias not in model.aliases:
        raise RegistryError(f"model {model.name!r} has no alias {alias!r}; {_aliases(model)}")
    return _record(model, model.aliases[alias])


def replay(history: tuple[Change, ...]) -> tuple[int, dict[int, Stage], dict[str, int]]:
    """Return what a history amounts to: the number of versions, the stage of each that has one, the aliases."""
    versions, stages, aliases = 0, dict[int, Stage](), dict[str, int]()
    for change in history:
        if change.action == "register":
            versions += 1
        elif change.action == "alias" and change.alias is not None:
            aliases[change.alias] = change.version
        elif change.action == "delete_alias" and change.alias is not None:
            aliases.pop(change.alias, None)
        elif change.after is not None and not isinstance(change.after, int):
            stages[change.version] = change.after
    return versions, stages, aliases


def _as_stage(alias: str) -> Stage | None:
    return next((stage for stage in STAGES if stage == alias), None)


def _record(model: ModelFile, version: int) -> VersionRecord:
    if type(version) is not int:
        raise TypeError(f"a version is an int, not {type(version).__name__}")
    if not 1 <= version <= len(model.versions):
        raise RegistryError(
            f"model {model.name!r} has no version {version}; it has "
            + (f"1 to {len(model.versions)}" if model.versions else "none")
        )
    return model.versions[version - 1]


def _holder(model: ModelFile) -> int | None:
    return next((record.version for record in model.versions if record.stage == "production"), None)


def _enter(model: ModelFile, change: Change) -> ModelFile:
    versions = tuple(
        msgspec.structs.replace(record, stage=change.after) if record.version == change.version else record
        for record in model.versions
    )
    return msgspec.structs.replace(model, versions=versions, history=(*model.history, change))


def _retire_holder(model: ModelFile, why: str, stamp: Stamp) -> ModelFile:
    holder = _holder(model)
    if holder is None:
        return model
    change = Change(
        time=stamp.time,
        by=stamp.by,
        action="stage",
        version=holder,
        before="production",
        after="retired",
        reason=f"{why}: {stamp.reason}" if stamp.reason else why,
    )
    return _enter(model, change)


def _production_stack(model: ModelFile) -> list[int]:
    """Return the versions that entered production and were not rolled back, in order."""
    stack: list[int] = []
    for change in model.history:
        if change.after != "production":
            continue
        if change.action == "rollback":
            while stack and stack[-1] != change.version:
                stack.pop()
        else:
            stack.append(change.version)
    return stack


def _forbidden(model: ModelFile, version: int, before: Stage | None, stage: Stage) -> str:
    ways = [name for name in STAGES if name in TRANSITIONS[before]]
    where = f"in {before}" if before else "in no stage yet"
    return (
        f"version {version} of {model.name!r} is {where} and can't go to {stage} from there: it may go to "
        f"{' or '.join(ways)}; pass force to overrule, which the history will show"
    )


def _aliases(model: ModelFile) -> str:
    known = ", ".join(sorted(model.aliases))
    return f"it has {known}" if known else "it has none beside latest and its stages"


def _stages(model: ModelFile) -> str:
    known = ", ".join(f"{record.version} ({record.stage})" for record in model.versions[-10:] if record.stage)
    return f"in a stage are: {known}" if known else "none of its versions is in a stage"
