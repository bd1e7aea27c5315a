"""A model's state in MLflow's words and our tags, and back: pure, for `_registry` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

import msgspec

from unitrack.errors import RegistryError
from unitrack.registry import Change, Stage
from unitrack.registry.changes import new_model, redo
from unitrack.registry.outside import moved, stage_moved
from unitrack.registry.state import ModelFile, VersionRecord

__all__ = [
    "APPLIED", "DIGEST", "SCHEME", "Native", "Read", "encode", "essence", "key_of", "read", "record_of", "tags_of",
    "wanted_stages",
]  # fmt: skip

APPLIED, DIGEST, SCHEME = "unitrack.applied", "unitrack.digest", "unitrack"
_CHANGE, _VERSION, _REGISTERED = "unitrack.change.", "unitrack.version", "unitrack.registered"
_CHUNK = 4900  # characters of a tag's value; servers take 5,000 or more
_STAGES: Mapping[Stage | None, str] = {
    None: "None", "experimental": "None", "staging": "Staging", "production": "Production", "retired": "Archived",
}  # fmt: skip
_OURS: Mapping[str, Stage] = {"Staging": "staging", "Production": "production", "Archived": "retired"}
_MLFLOW = "MLflow"
_DELETED = "deleted in MLflow"
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """What MLflow itself says: aliases by name, stages by version; `updated` in milliseconds."""

    aliases: Mapping[str, int] = {}
    stages: Mapping[int, str] = {}
    updated: int = 0
    by_stages: bool = False


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A model as read. The first `written` changes of its history are in tags, `applied` of them carried out."""

    model: ModelFile
    written: int
    applied: int
    native: Native


# -- to MLflow -----------------------------------------------------------------------------------


def key_of(position: int) -> str:
    """Return the tag of a change."""
    return f"{_CHANGE}{position + 1:06d}"


def encode(change: Change) -> str:
    """Return a change as a tag's value."""
    return msgspec.json.encode(change).decode()


def essence(record: VersionRecord) -> VersionRecord:
    """Return what a version's tags keep: all but the stage, which the history tells, and the description."""
    return msgspec.structs.replace(record, stage=None, description="")


def tags_of(record: VersionRecord, change: Change) -> dict[str, str]:
    """Return the tags of a version: what was registered, in pieces that fit, how, and the digest to search by."""
    text = msgspec.json.encode(essence(record)).decode()
    pieces = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    tags = {_VERSION if number == 0 else f"{_VERSION}.{number}": piece for number, piece in enumerate(pieces)}
    tags[_REGISTERED] = encode(change)
    return tags if record.digest is None else {**tags, DIGEST: record.digest}


def wanted_stages(model: ModelFile) -> dict[int, str]:
    """Return the stage MLflow should have each version in."""
    return {record.version: _STAGES[record.stage] for record in model.versions if record.run != _DELETED}


# -- from MLflow ---------------------------------------------------------------------------------


def record_of(tags: Mapping[str, str]) -> VersionRecord | None:
    """Return what a version's tags keep, None for a version that was not registered by unitrack."""
    if _VERSION not in tags:
        return None
    pieces = [tags[_VERSION]]
    while f"{_VERSION}.{len(pieces)}" in tags:
        pieces.append(tags[f"{_VERSION}.{len(pieces)}"])
    return _decode("".join(pieces), VersionRecord, _VERSION)


def read(
    name: str,
    tags: Mapping[str, str],
    versions: Iterable[Any],
    native: Native,
    foreign_run: Callable[[Any], tuple[str, str | None]],
) -> Read:
    """Return a model's state. `foreign_run` gives run and commit of a version that others registered."""
    versions = {int(one.version): one for one in versions}
    records = {number: _record(one, foreign_run) for number, one in versions.items()}
    for gap in range(1, max(records, default=0)):
        if gap not in records:
            records[gap] = _gap(gap, records)
    written = _changes(tags)
    model = new_model(name)
    for change in [*written, *_unwritten(written, records, versions)]:
        if change.version not in records:
            records[change.version] = _gap(change.version, records)
        model = redo(model, change, records[change.version])
    model = msgspec.structs.replace(model, versions=tuple(sorted(model.versions, key=lambda one: one.version)))
    applied = int(tags.get(APPLIED, "0"))
    if applied == len(written):
        for change in _moved(model, native):
            model = redo(model, change, model.versions[change.version - 1])
    return Read(model=model, written=len(written), applied=applied, native=native)


def _changes(tags: Mapping[str, str]) -> list[Change]:
    found: list[Change] = []
    while key_of(len(found)) in tags:
        key = key_of(len(found))
        found.append(_decode(tags[key], Change, key))
    return found


def _record(version: Any, foreign_run: Callable[[Any], tuple[str, str | None]]) -> VersionRecord:
    known = record_of(version.tags)
    if known is not None:
        return msgspec.structs.replace(known, version=int(version.version), description=version.description or "")
    run, commit = foreign_run(version)
    return VersionRecord(
        version=int(version.version),
        run=run,
        artifact=version.tags.get("unitrack.artifact"),
        digest=version.tags.get(DIGEST),
        commit=commit,
        description=version.description or "",
        by=version.user_id or _MLFLOW,
        time=_time(version.creation_timestamp),
    )


def _gap(number: int, records: Mapping[int, VersionRecord]) -> VersionRecord:
    """Stand in for a version that was deleted in MLflow: numbers stay what they were, and it can't be used."""
    after = min((other for other in records if other > number), default=None)
    when = records[after].time if after is not None else _time(0)
    return VersionRecord(version=number, run=_DELETED, description=_DELETED, by=_MLFLOW, time=when)


def _unwritten(
    written: Iterable[Change], records: Mapping[int, VersionRecord], versions: Mapping[int, Any]
) -> list[Change]:
    """Return the registrations that no tag of the model tells: by others, or by us just before a kill."""
    known = {change.version for change in written if change.action == "register"}
    found = []
    for number, record in sorted(records.items()):
        if number not in known:
            own = versions[number].tags.get(_REGISTERED) if number in versions else None
            found.append(
                Change(time=record.time, by=record.by, action="register", version=number)
                if own is None
                else _decode(own, Change, _REGISTERED)
            )
    return found


def _moved(model: ModelFile, native: Native) -> list[Change]:
    """Return what somebody did in MLflow itself, as changes of ours."""
    when = _time(native.updated)
    if native.by_stages:
        now = {number: _OURS.get(stage) for number, stage in native.stages.items()}
        was = {record.version: record.stage for record in model.versions}
        return [
            stage_moved(number, was[number], now[number] or "experimental", system=_MLFLOW, when=when)
            for number in sorted(now)
            if _STAGES[was[number]] != native.stages[number]
        ]
    return moved(model, native.aliases, system=_MLFLOW, when=when)


def _decode(text: str, kind: type[_Kind], key: str) -> _Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RegistryError(f"the tag {key} is damaged ({error}): put it back as it was, or delete the model") from None


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, tz=timezone.utc)
