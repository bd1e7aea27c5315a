"""The local registry: one JSON file a model in a folder, `<store>/registry/`, made to be committed to git."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from unitrack.errors import RegistryError
from unitrack.files import write_atomic
from unitrack.model import check_run_id, metric_name, metric_value, restore, text
from unitrack.registry import changes, codec
from unitrack.registry.interface import LATEST, ModelVersion, Reference, Stage, check_model_name, parse_reference
from unitrack.registry.lock import exclusive
from unitrack.registry.state import Change, ModelFile, VersionRecord

__all__ = ["Registry", "utc_now", "whoever_runs_this"]


class Registry:
    """The models in the folder `root`. Safe for many processes at once; a reader waits for nobody.

    `clock` gives the time of a change (aware, UTC), `identity` the name of who makes it, and a
    change waits up to `timeout` seconds for others to finish theirs.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], datetime] | None = None,
        identity: Callable[[], str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.folder = Path(root)
        self._clock = clock or utc_now
        self._identity = identity or (lambda: whoever_runs_this(self.folder))
        self._timeout = timeout

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

        model = self._change(name, change, create=True)
        return _public(model, model.versions[-1])

    def models(self) -> tuple[str, ...]:
        """Return the names of all models, sorted."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.stem for path in self.folder.glob("*.json") if not path.name.startswith(".")))

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return all versions of a model, oldest first."""
        model = self._read(name)
        return tuple(_public(model, record) for record in model.versions)

    def history(self, name: str) -> tuple[Change, ...]:
        """Return everything that was done to a model, oldest first."""
        return self._read(name).history

    def get(self, reference: str) -> ModelVersion:
        """Return the version that `name`, `name@alias` or `name:3` names."""
        parsed = parse_reference(reference)
        model = self._read(parsed.name)
        return _public(model, changes.resolve(model, parsed))

    def find(self, reference: str) -> ModelVersion | None:
        """Return the version that a reference names, or None if there is none; a damaged file still raises."""
        parsed = parse_reference(reference)
        if parsed.name not in self.models():
            return None
        model = self._read(parsed.name)
        try:
            return _public(model, changes.resolve(model, parsed))
        except RegistryError:
            return None

    def set_alias(self, name: str, alias: str, version: int, *, reason: str, by: str | None = None) -> ModelVersion:
        """Make an alias name this version; a stage as alias follows the rules of `set_stage`."""
        stamp = self._stamp(_reason(reason), by)
        model = self._change(name, lambda model: changes.set_alias(model, alias, version, stamp))
        return _version(model, version)

    def delete_alias(self, name: str, alias: str, *, reason: str, by: str | None = None) -> None:
        """Take an alias away; the history keeps where it pointed."""
        stamp = self._stamp(_reason(reason), by)
        self._change(name, lambda model: changes.delete_alias(model, alias, stamp))

    def set_stage(
        self, name: str, version: int, stage: Stage, *, reason: str, by: str | None = None, force: bool = False
    ) -> ModelVersion:
        """Move a version to a life-cycle stage along `changes.TRANSITIONS`; `force` overrules and is recorded."""
        stamp = self._stamp(_reason(reason), by)
        model = self._change(name, lambda model: changes.set_stage(model, version, stage, stamp, force=force))
        return _version(model, version)

    def rollback(self, name: str, *, reason: str, by: str | None = None) -> ModelVersion:
        """Put the previous production version back, retire the present one, and return the one put back."""
        stamp = self._stamp(_reason(reason), by)
        model = self._change(name, lambda model: changes.rollback(model, stamp))
        return _public(model, changes.resolve(model, Reference(name=name, alias="production")))

    def _stamp(self, reason: str, by: str | None) -> changes.Stamp:
        now = self._clock().astimezone(timezone.utc).replace(microsecond=0)
        return changes.Stamp(by=_line(by or self._identity()) or "unknown", time=now, reason=reason)

    def _path(self, name: str) -> Path:
        return self.folder / f"{check_model_name(name)}.json"

    def _read(self, name: str) -> ModelFile:
        path = self._path(name)
        # Asked by listing: a file system that ignores case would open Digits.json for digits.
        if name not in self.models():
            known = ", ".join(self.models()[:20]) or "none yet"
            raise RegistryError(f"the registry {self.folder} has no model {name!r}; it has {known}")
        try:
            return codec.decode(path.read_bytes(), path)
        except OSError as error:
            raise RegistryError(f"{path} can't be read: {error.strerror}") from error

    def _change(self, name: str, change: Callable[[ModelFile], ModelFile], *, create: bool = False) -> ModelFile:
        path = self._path(name)
        if create:
            self._create_folder()
        elif not path.exists():
            return self._read(name)  # says that there is no such model, and leaves no lock file behind
        # One lock for all spellings of a name, so that none slips in beside another.
        with exclusive(self.folder / f".{name.lower()}.lock", timeout=self._timeout):
            before = self._read_or_new(name) if create else self._read(name)
            after = change(before)
            if after is not before:
                self._write(path, after)
        return after

    def _read_or_new(self, name: str) -> ModelFile:
        known = self.models()
        if name in known:
            return self._read(name)
        twin = next((other for other in known if other.lower() == name.lower()), None)
        if twin is not None:
            raise RegistryError(
                f"the registry has the model {twin!r}, and {name!r} would be the same file where case is ignored: "
                f"use {twin!r} or another name"
            )
        return changes.new_model(name)

    def _create_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"{self.folder} can't be made: {error.strerror}") from error

    def _write(self, path: Path, model: ModelFile) -> None:
        try:
            for scratch in self.folder.glob(f".{path.name}.*.tmp"):  # of a writer that was killed: the lock is ours
                scratch.unlink(missing_ok=True)
            write_atomic(path, codec.encode(model))
        except OSError as error:
            raise RegistryError(f"{path} can't be written: {error.strerror}; nothing was changed") from error


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
