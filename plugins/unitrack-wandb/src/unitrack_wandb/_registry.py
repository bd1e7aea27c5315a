"""The registry `wandb`: models of a W&B registry, by unitrack's rules and with unitrack's history.

A model is a collection, a version an artifact linked into it, and free aliases are W&B's own, as are `staging` and
`production`. What W&B has no word for is in an artifact beside them, `history.NAME`: each version of it is the model's
whole file after some changes, with who and why. W&B numbers its versions one after the other, so of two who change
one model at the same moment the second notices and does it again on what the first made of it. A change is written
there before it is carried out, and the alias `applied` names the last that was: a reader believes the history where
the two differ after a kill, and W&B's own words otherwise, as somebody who moved an alias there would expect.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from unitrack.errors import ConfigError, RegistryError
from unitrack.registry import ModelVersion, Registry, check_model_name, codec
from unitrack.registry.changes import new_model
from unitrack.registry.outside import wanted_aliases
from unitrack.registry.state import ModelFile, VersionRecord
from unitrack_wandb import _registry_state as kept
from unitrack_wandb._registry_shelf import HISTORY, MODEL, Pen, RegistryOptions, Shelf
from unitrack_wandb._registry_state import Entry, Link, Member, Read

__all__ = ["RegistryOptions", "WandbRegistry", "WandbRegistryFactory"]

_HISTORY, _STANDINS = "history.", "version."
_APPLIED = "applied"
_LINKS = "links.json"
_LONGEST_NAME, _LONGEST_ALIAS = 128 - len(_HISTORY), 128
_ATTEMPTS = 20


class WandbRegistryFactory:
    """Opens the registry; asks nothing of W&B before it is used."""

    name = "wandb"

    def open(self, options: Mapping[str, Any]) -> WandbRegistry:
        """Check the options. Raises ConfigError that names the wrong one."""
        try:
            checked = msgspec.convert(dict(options), RegistryOptions)
        except msgspec.ValidationError as error:
            known = ", ".join(RegistryOptions.__struct_fields__)
            raise ConfigError(f"[registries.wandb] {error}; the options are: {known}") from None
        return WandbRegistry(checked)


class WandbRegistry(Registry):
    """One registry of W&B. Many may change a model at once."""

    def __init__(self, options: RegistryOptions, **known: Any) -> None:
        super().__init__(**known)
        self._shelf = Shelf(options)
        self._seen: dict[str, Entry] = {}
        self._runs: dict[str, tuple[str, str | None]] = {}
        self.where = self._shelf.where

    # -- reading ---------------------------------------------------------------------------------

    def models(self) -> tuple[str, ...]:
        """Return the names of the collections that unitrack can name."""
        with self._shelf.asked():
            models, histories = self._shelf.collections()
        told = [name.removeprefix(_HISTORY) for name in histories if name.startswith(_HISTORY)]
        return tuple(sorted({name for name in (*models, *told) if _can_be_named(name)}))

    def state(self, name: str) -> ModelFile:
        """Return everything that is known of a model."""
        with self._shelf.asked():
            read, _ = self._read(check_model_name(name))
        if read is None:
            known = ", ".join(self.models()[:20]) or "none yet"
            raise RegistryError(f"{self.where} has no model {name!r}; it has {known}")
        return read.model

    def _read(self, name: str) -> tuple[Read | None, dict[str, Any]]:
        """Return what is known of a model, and W&B's artifacts of its versions by their id."""
        entry, members = self._at_one_moment(name)
        artifacts = {member.link.id: artifact for member, artifact in members}
        if entry is None and not members and name not in self._shelf.collections()[0]:
            return None, {}

        def foreign_run(member: Member) -> tuple[str, str | None]:
            return self._foreign_run(name, member, artifacts[member.link.id])

        return kept.read(name, entry, [member for member, _ in members], foreign_run), artifacts

    def _at_one_moment(self, name: str) -> tuple[Entry | None, list[tuple[Member, Any]]]:
        """Return the head and the collection's versions between two changes of others, who would seem to be W&B."""
        entry = self._head(name)
        for _ in range(_ATTEMPTS):
            members, before = self._shelf.members(name), entry
            entry = self._head(name)
            if entry == before:
                return entry, members
        raise RegistryError(f"{self.where}: others change {name!r} all the time: try again later")

    def _head(self, name: str) -> Entry | None:
        """Return the last entry of a model's history that counts."""
        entries = self._shelf.history(_HISTORY + name)
        if not entries:
            return None
        index = kept.chain({number: _parent(one) for number, one in entries.items()})[-1]
        found = entries[index]
        if found.id not in self._seen:
            self._seen[found.id] = self._entry(name, index, found)
        return msgspec.structs.replace(self._seen[found.id], applied=_APPLIED in found.aliases)

    def _entry(self, name: str, index: int, artifact: Any) -> Entry:
        file = f"{name}.json"
        where = f"{artifact.qualified_name}/{file}"
        try:
            data, links = self._shelf.read(artifact, file, _LINKS, largest=codec.LARGEST_FILE)
            model = codec.decode(data, Path(where))
            return Entry(index=index, model=model, links=kept.decode_links(links, model), applied=False)
        except RegistryError as error:
            what = str(error).removesuffix(f"; {codec.REMEDY}")
            raise RegistryError(
                f"{self.where}: {where} is damaged: {what}. Delete {artifact.qualified_name} in W&B to go back to what "
                "was before it"
            ) from None

    def _foreign_run(self, name: str, member: Member, artifact: Any) -> tuple[str, str | None]:
        """Return the run and commit of a version that was not registered here: unitrack's id where it sent the run."""
        told = member.told.get("run"), member.told.get("commit")
        if isinstance(told[0], str):  # it stands for a version whose history was deleted
            return told[0], told[1]
        if member.link.id not in self._runs:
            found = self._shelf.run_of(artifact)
            self._runs[member.link.id] = found or (f"wandb-{name}-v{member.index}", None)
        return self._runs[member.link.id]

    # -- changing --------------------------------------------------------------------------------

    def change(self, name: str, change: Callable[[ModelFile], ModelFile], *, create: bool = False) -> ModelFile:
        """Write down what `change` makes of a model, then carry it out; again if another came first."""
        _check_length(check_model_name(name))
        with self._shelf.asked(), self._shelf.pen() as pen:
            for _ in range(_ATTEMPTS):
                read, _ = self._read(name)
                if read is None and not create:
                    return self.state(name)  # says that there is no such model
                before = new_model(name) if read is None else read.model
                after = change(before)
                if after is before and (read is None or read.settled):
                    return after
                if after is before or self._write(name, read, after, pen):
                    self._carry_out(name)
                    return after
        raise RegistryError(f"{self.where}: others change {name!r} all the time, and nothing was done: try again later")

    def _write(self, name: str, read: Read | None, after: ModelFile, pen: Pen) -> bool:
        """Write an entry, and tell whether it counts; one that doesn't is taken away again."""
        _check_aliases(after)
        parent = None if read is None else read.parent
        since = 0 if read is None else read.written
        links = kept.encode_links(self._links(name, read, after, pen), secrets.token_hex(8))
        made = pen.log(
            _HISTORY + name, HISTORY, {f"{name}.json": codec.encode(after), _LINKS: links},
            metadata={"parent": parent, "changes": len(after.history)}, description=kept.summary(after, since),
        )()  # fmt: skip
        index = int(made.version.removeprefix("v"))
        if index == (0 if parent is None else parent + 1):
            return True
        entries = self._shelf.history(_HISTORY + name)
        if index in kept.chain({number: _parent(one) for number, one in entries.items()}):
            return True
        made.delete(delete_aliases=True)
        return False

    def _links(self, name: str, read: Read | None, after: ModelFile, pen: Pen) -> dict[int, Link]:
        """Return which artifact is each version: those of runs that were sent, and made for all others."""
        links = {} if read is None else dict(read.links)
        known = 0 if read is None else len(read.model.versions)
        wanted = set(wanted_aliases(after).values())
        made: dict[int, Callable[[], Any]] = {}
        for record in after.versions:
            if record.version in links or (record.version <= known and record.version not in wanted):
                continue  # the latter were taken out of the collection, and may stay so
            found = self._sent(record, links)
            if found is not None:
                links[record.version] = found
            else:
                made[record.version] = self._stand_in(name, record, pen)
        for number, wait in made.items():
            artifact = wait()
            links[number] = Link(artifact.id, artifact.source_qualified_name)
        return links

    def _sent(self, record: VersionRecord, links: Mapping[int, Link]) -> Link | None:
        """Return the artifact of a version's run; W&B links one into a collection once, whatever is registered."""
        if record.digest is None:
            return None
        found = self._shelf.sent(record.run, record.digest, record.artifact)
        return None if found is None or found.id in {link.id for link in links.values()} else found

    def _stand_in(self, name: str, record: VersionRecord, pen: Pen) -> Callable[[], Any]:
        """Make what stands for a version in W&B: the same for the same version, so a killed one is found again."""
        content = hashlib.sha256(msgspec.json.encode(record)).hexdigest()[:16]
        where = f"{quote(record.run, safe='')}/{quote(record.artifact or 'none', safe='')}"
        reference = f"unitrack://{where}?{name}:{record.version}:{content}"
        return pen.log(
            _STANDINS + name, MODEL, {}, metadata=kept.about(record), description=record.description,
            reference=reference,
        )  # fmt: skip

    def _carry_out(self, name: str) -> None:
        """Make W&B's own words say what the history says; if another changed the model meanwhile, what that says."""
        done = None
        for _ in range(_ATTEMPTS):
            entry = self._head(name)
            if entry is None or (entry.applied and entry.index == done):
                return
            self._move_aliases(entry, self._link_all(entry))
            if not entry.applied:
                self._shelf.add_aliases(self._shelf.history(_HISTORY + name)[entry.index], {_APPLIED})
            done = entry.index

    def _link_all(self, entry: Entry) -> list[tuple[Member, Any]]:
        """Link what isn't yet, and return the collection's versions as they are then."""
        name, wanted = entry.model.name, wanted_aliases(entry.model)
        members = self._shelf.members(name)
        there = {member.link.id for member, _ in members}
        missing = {number: link for number, link in sorted(entry.links.items()) if link.id not in there}
        for number, link in missing.items():
            self._shelf.link(link, name, [alias for alias, holder in wanted.items() if holder == number])
        return self._shelf.members(name) if missing else members

    def _move_aliases(self, entry: Entry, members: list[tuple[Member, Any]]) -> None:
        numbers = {link.id: number for number, link in entry.links.items()}
        wanted = wanted_aliases(entry.model)
        # What moves before what goes: nobody finds production without a version in between.
        for member, artifact in members:
            holder = numbers.get(member.link.id)
            self._shelf.add_aliases(artifact, {one for one, number in wanted.items() if number == holder})
        for member, artifact in members:
            self._shelf.drop_aliases(artifact, set(member.aliases) - wanted.keys())

    # -- files -----------------------------------------------------------------------------------

    def fetch(self, version: ModelVersion, destination: Path) -> Path | None:
        """Download a version's files; None for one whose run was never sent to this W&B."""
        with self._shelf.asked():
            read, _ = self._read(version.name)
            member = None if read is None else read.members.get(version.version)
            if member is None or member.told.get("files") is False:
                return None
            return self._shelf.fetch(version.name, member, destination)


def _parent(artifact: Any) -> int | None:
    parent = artifact.metadata.get("parent")
    return parent if isinstance(parent, int) else None


def _can_be_named(name: str) -> bool:
    try:
        check_model_name(name)
    except RegistryError:
        return False
    return True


def _check_length(name: str) -> None:
    if len(name) > _LONGEST_NAME:
        raise RegistryError(f"{name!r} can't be a model's name in W&B: use up to {_LONGEST_NAME} characters")


def _check_aliases(model: ModelFile) -> None:
    for alias in model.aliases:
        if len(alias) > _LONGEST_ALIAS:
            raise RegistryError(f"{alias!r} can't be an alias in W&B: use up to {_LONGEST_ALIAS} characters")
