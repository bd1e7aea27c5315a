"""What every registry can do, by the same rules: a registry only says how a model is read, changed and fetched."""

from __future__ import annotations

import abc
import getpass
import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from unitrack.errors import RegistryError
from unitrack.model import check_run_id, metric_name, metric_value, restore, text
from unitrack.registry import changes
from unitrack.registry.interface import LATEST, ModelVersion, Reference, Stage, parse_reference
from unitrack.registry.state import Change, ModelFile, VersionRecord

__all__ = ["Registry", "utc_now", "whoever_runs_this"]


class Registry(abc.ABC):
    """The models of one place. Every call raises RegistryError if it can't be done as asked.

    `where` names the place in messages. `clock` gives the time of a change (aware, UTC), `identity` the name of who
    makes it.
    """

    where: str

    def __init__(
        self, *, clock: Callable[[], datetime] | None = None, identity: Callable[[], str] | None = None
    ) -> None:
        self._clock = clock or utc_now
        self._identity = identity or (lambda: whoever_runs_this(Path()))

    # -- what a registry brings ------------------------------------------------------------------

    @abc.abstractmethod
    def models(self) -> tuple[str, ...]:
        """Return the names of all models, sorted."""

    @abc.abstractmethod
    def state(self, name: str) -> ModelFile:
        """Return everything that is known of a model."""

    @abc.abstractmethod
    def change(self, name: str, change: Callable[[ModelFile], ModelFile], *, create: bool = False) -> ModelFile:
        """Replace a model's state by what `change` makes of it and return that; `create` makes a model that is new.

        Only versions and history grow. A kill leaves a beginning of the new history, never half a change.
        """

    def fetch(self, version: ModelVersion, destination: Path) -> Path | None:
        """Download a version's files into `destination`; None if this registry keeps none, as a store's own does."""
        return None

    # -- what people do --------------------------------------------------------------------------

    def register(
        self,
        name: str,
        *,
        run: str,
        artifact: str | None = None,
        digest: str | None = None,
        commit: str | None = None,
        metrics: Mapping[str, float] = {},
        description: str = "",
        by: str | None = None,
    ) -> ModelVersion:
        """Add the next version of a model, made by `run`; it is in no stage yet."""
        check_run_id(run)
        numbers = {_line(metric_name(key)): metric_value(value, what=key) for key, value in sorted(metrics.items())}
        stamp = self._stamp("", by)

        def change(model: ModelFile) -> ModelFile:
            return changes.register(
                model,
                stamp,
                run=run,
                artifact=_line_or_none(artifact),
                digest=_line_or_none(digest),
                commit=_line_or_none(commit),
                metrics=numbers,
                description=text(description),
            )

        model = self.change(name, change, create=True)
        return _public(model, model.versions[-1])

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return all versions of a model, oldest first."""
        model = self.state(name)
        return tuple(_public(model, record) for record in model.versions)

    def history(self, name: str) -> tuple[Change, ...]:
        """Return everything that was done to a model, oldest first."""
        return self.state(name).history

    def get(self, reference: str) -> ModelVersion:
        """Return the version that `name`, `name@alias` or `name:3` names."""
        parsed = parse_reference(reference)
        model = self.state(parsed.name)
        return _public(model, changes.resolve(model, parsed))

    def find(self, reference: str) -> ModelVersion | None:
        """Return the version that a reference names, or None if there is none; a damaged file still raises."""
        parsed = parse_reference(reference)
        if parsed.name not in self.models():
            return None
        model = self.state(parsed.name)
        try:
            return _public(model, changes.resolve(model, parsed))
        except RegistryError:
            return None

    def set_alias(self, name: str, alias: str, version: int, *, reason: str, by: str | None = None) -> ModelVersion:
        """Make an alias name this version; a stage as alias follows the rules of `set_stage`."""
        stamp = self._stamp(_reason(reason), by)
        model = self.change(name, lambda model: changes.set_alias(model, alias, version, stamp))
        return _version(model, version)

    def delete_alias(self, name: str, alias: str, *, reason: str, by: str | None = None) -> None:
        """Take an alias away; the history keeps where it pointed."""
        stamp = self._stamp(_reason(reason), by)
        self.change(name, lambda model: changes.delete_alias(model, alias, stamp))

    def set_stage(
        self, name: str, version: int, stage: Stage, *, reason: str, by: str | None = None, force: bool = False
    ) -> ModelVersion:
        """Move a version to a life-cycle stage along `changes.TRANSITIONS`; `force` overrules and is recorded."""
        stamp = self._stamp(_reason(reason), by)
        model = self.change(name, lambda model: changes.set_stage(model, version, stage, stamp, force=force))
        return _version(model, version)

    def rollback(self, name: str, *, reason: str, by: str | None = None) -> ModelVersion:
        """Put the previous production version back, retire the present one, and return the one put back."""
        stamp = self._stamp(_reason(reason), by)
        model = self.change(name, lambda model: changes.rollback(model, stamp))
        return _public(model, changes.resolve(model, Reference(name=name, alias="production")))

    def _stamp(self, reason: str, by: str | None) -> changes.Stamp:
        now = self._clock().astimezone(timezone.utc).replace(microsecond=0)
        return changes.Stamp(by=_line(by or self._identity()) or "unknown", time=now, reason=reason)


def utc_now() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(timezone.utc)


def whoever_runs_this(folder: Path) -> str:
    """Return git's `user.name` as it holds in `folder`, or else the login name."""
    where = next((parent for parent in (folder, *folder.resolve().parents) if parent.is_dir()), None)
    try:
        answer = subprocess.run(["git", "config", "user.name"], cwd=where, capture_output=True, timeout=10, check=False)
        name = answer.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.SubprocessError):  # no git, or one that hangs
        name = ""
    return name or _login_name()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _version(model: ModelFile, number: int) -> ModelVersion:
    return _public(model, model.versions[number - 1])


def _public(model: ModelFile, record: VersionRecord) -> ModelVersion:
    pointing = sorted(alias for alias, number in model.aliases.items() if number == record.version)
    highest = [LATEST] if record.version == len(model.versions) else []
    return ModelVersion(
        name=model.name,
        version=record.version,
        run=record.run,
        artifact=record.artifact,
        digest=record.digest,
        commit=record.commit,
        metrics=restore(record.metrics),
        description=record.description,
        by=record.by,
        time=record.time,
        stage=record.stage,
        aliases=(*pointing, *highest),
    )


def _reason(reason: str) -> str:
    line = _line(reason)
    if not line:
        raise RegistryError("a change of the registry needs a reason: say in a few words why it is made")
    return line


def _line(words: str) -> str:
    """Return `words` on one line, without control characters: they end in files, tables and terminals."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text(words)).split())


def _line_or_none(words: str | None) -> str | None:
    return None if words is None else _line(words)
