"""A model's state in what W&B keeps of it, and back: pure, for `_registry` alone.

The history is an artifact of its own, each version of it the model's whole file after some changes. W&B numbers
versions as they are committed, and each names the one it was made from, so of two that were made from the same one
the first counts, for everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from unitrack.errors import RegistryError
from unitrack.registry import Change
from unitrack.registry.changes import new_model, redo
from unitrack.registry.outside import moved, stage_moved
from unitrack.registry.state import ModelFile, VersionRecord

__all__ = ["Entry", "Link", "Member", "Read", "about", "chain", "decode_links", "encode_links", "read", "summary"]

_WANDB = "W&B"
_UNLINKED = "taken out of the collection in W&B"


class Link(msgspec.Struct, frozen=True):
    """The artifact that is linked as a version: W&B's id of it, and its name where it was logged."""

    id: str
    source: str


class Links(msgspec.Struct, frozen=True):
    """The file beside the model's: links by version, and what makes each entry's digest its own."""

    token: str
    links: dict[str, Link]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the history, `index` in W&B's count from 0; `applied` if W&B's own words were made to agree."""

    index: int
    model: ModelFile
    links: Mapping[int, Link]
    applied: bool


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the collection as W&B tells it. `told` is what unitrack said of the artifact, if it made it."""

    index: int
    link: Link
    aliases: tuple[str, ...]
    created: datetime
    description: str
    told: Mapping[str, Any]


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A model as read. `parent` is the entry it stands in, which holds the first `written` changes of its history.

    `settled` tells whether nothing remains to be carried out.
    """

    model: ModelFile
    links: Mapping[int, Link]
    members: Mapping[int, Member]
    parent: int | None
    written: int
    settled: bool


def chain(parents: Mapping[int, int | None]) -> list[int]:
    """Return the entries that count, oldest first, of all there are with the entry each was made from.

    The last one is the head. Somebody may have deleted old entries.
    """
    found: list[int] = []
    for index in sorted(parents):
        parent = parents[index]
        if not found or parent == found[-1] or (parent is not None and parent > found[-1] and parent not in parents):
            found.append(index)
    return found


def read(
    name: str, entry: Entry | None, members: Iterable[Member], foreign_run: Callable[[Member], tuple[str, str | None]]
) -> Read:
    """Return a model's state. `foreign_run` gives run and commit of a version that others linked."""
    there = sorted(members, key=lambda member: member.index)
    model = new_model(name) if entry is None else entry.model
    settled = entry is None or entry.applied
    links = {} if entry is None else dict(entry.links)
    ids = {member.link.id for member in there}
    gone = [number for number, link in links.items() if link.id not in ids] if settled else []
    for number in gone:
        del links[number]
    known = {link.id: number for number, link in links.items()}
    for member in there:
        if member.link.id not in known:
            number = len(model.versions) + 1
            model, known[member.link.id] = _join(model, number, member, foreign_run), number
            links[number] = member.link
    by_number = {known[member.link.id]: member for member in there}
    if settled:
        model = _with_moves(model, by_number, gone)
    parent, written = (None, 0) if entry is None else (entry.index, len(entry.model.history))
    return Read(model=model, links=links, members=by_number, parent=parent, written=written, settled=settled)


def _join(
    model: ModelFile, number: int, member: Member, foreign_run: Callable[[Member], tuple[str, str | None]]
) -> ModelFile:
    run, commit = foreign_run(member)
    record = VersionRecord(
        version=number, run=_line(run), artifact=_word(member.told.get("name")), commit=_word(commit),
        digest=_word(member.told.get("digest")), description=member.description, by=_WANDB, time=member.created,
    )  # fmt: skip
    return redo(model, Change(time=record.time, by=_WANDB, action="register", version=number), record)


def _with_moves(model: ModelFile, members: Mapping[int, Member], gone: Iterable[int]) -> ModelFile:
    """Return the model with what was done in W&B itself: aliases moved, versions taken out."""
    when = max((member.created for member in members.values()), default=_EPOCH)
    if model.history:
        when = max(when, model.history[-1].time)
    aliases = {alias: number for number, member in members.items() for alias in member.aliases}
    for change in moved(model, aliases, system=_WANDB, when=when):
        model = redo(model, change, model.versions[change.version - 1])
    for number in gone:
        record = model.versions[number - 1]
        if record.stage != "retired":
            change = stage_moved(number, record.stage, "retired", system=_WANDB, when=when, reason=_UNLINKED)
            model = redo(model, change, record)
    return model


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# -- what is written -----------------------------------------------------------------------------


def about(record: VersionRecord) -> dict[str, Any]:
    """Return what an artifact that stands for a version says of it; the words are the backend's where it has them."""
    told = {"name": record.artifact, "digest": record.digest, "run": record.run, "commit": record.commit}
    return {"unitrack": {**told, "version": record.version, "metrics": dict(record.metrics), "files": False}}


def summary(model: ModelFile, since: int) -> str:
    """Return in a few lines what an entry adds, for those who look at it in W&B."""
    lines = [_deed(change) for change in model.history[since:][:20]]
    more = len(model.history) - since - len(lines)
    return "\n".join([*lines, f"... and {more} more"] if more > 0 else lines)


def _deed(change: Change) -> str:
    what = {"alias": f"is {change.alias}", "delete_alias": f"is {change.alias} no more", "register": "registered"}
    reason = f": {change.reason}" if change.reason else ""
    deed = what.get(change.action, f"{change.before or 'no stage'} -> {change.after}")
    return f"version {change.version} {deed}, by {change.by}{reason}"


def encode_links(links: Mapping[int, Link], token: str) -> bytes:
    """Return the file of links; `token` makes the entry's content its own, or W&B would take it for an older one."""
    return msgspec.json.encode(Links(token, {str(number): link for number, link in sorted(links.items())}))


def decode_links(data: bytes, model: ModelFile) -> dict[int, Link]:
    """Return the links of a model's versions. Raises RegistryError for anything else."""
    try:
        found = msgspec.json.decode(data, type=Links).links
        links = {int(number): link for number, link in found.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise RegistryError(f"its links are damaged ({error})") from None
    if not links.keys() <= {record.version for record in model.versions}:
        raise RegistryError("its links name versions that the model doesn't have")
    return links


def _word(value: object) -> str | None:
    return _line(value) if isinstance(value, str) else None


def _line(words: str) -> str:
    """Return foreign words on one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
