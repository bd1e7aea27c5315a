"""`unitrack.lock`: what trainings depend on and their commit doesn't say, pinned and committed with it.

Written by `unitrack lock`, read by all that trains again: the image a tag stood for, inputs outside of git, the files
that pin packages, and the commands. Whoever trains with a lock that is out of date is told so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import jsonschema
import msgspec

from unitrack import schemas
from unitrack.capture.environment import LOCK_FILES
from unitrack.errors import ConfigError, EvidenceError
from unitrack.rerun.executors.engine import is_of

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.rerun.inputs import PinnedInput

__all__ = [
    "LOCK_FILE",
    "Drift",
    "Lock",
    "LockedImage",
    "decode",
    "drift",
    "encode",
    "observe",
    "read_lock",
    "refuse_drift",
]

LOCK_FILE = "unitrack.lock"
SCHEMA = 1

_LARGEST = 4 << 20  # bytes
_MOST_NAMED = 3
_DEPENDENCIES = (
    *(name for name in LOCK_FILES if name != LOCK_FILE),
    "pyproject.toml",
    "environment.yml",
    "environment.yaml",
)
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
_Pinned = Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@sha256:[0-9a-f]{64}$")]


class LockedImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image jobs run in: as the settings name it, and by digest."""

    asked: str
    pinned: _Pinned


class LockedInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input outside of git: a digest over its files' names and contents, and its version if a system keeps one."""

    name: str
    sha256: _Sha256 | None = None
    files: int = 0
    bytes: int = 0
    system: str | None = None
    version: str | None = None


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lock file. `commands` are those of `[train]` and `[evaluate]`, `dependencies` files by SHA-256."""

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA
    image: LockedImage | None = None
    commands: Mapping[str, tuple[str, ...]] = {}
    inputs: tuple[LockedInput, ...] = ()
    dependencies: Mapping[str, _Sha256] = {}


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was locked; None stands for what isn't there."""

    what: str
    locked: str | None
    now: str | None

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.locked is None:
            return f"{self.what} is not in it"
        return f"{self.what} {'is gone' if self.now is None else 'changed'}"


def observe(
    settings: Settings,
    *,
    inputs: Sequence[PinnedInput],
    pin: Callable[[str], str] | None = None,
    known: Lock | None = None,
) -> Lock:
    """Return the lock of a project as it is now.

    `inputs` are those of `[train]` and `[evaluate]` as they are pinned. An image keeps the digest that it has in
    `known`; any other is `pin`'s to find, and stays unpinned where there is no `pin`.
    """
    train, evaluate = settings.train, settings.evaluate
    if train is None:
        raise ConfigError("there is no section [train]: nothing to lock", key="train")
    commands = {"train": train.command}
    if evaluate is not None and evaluate.command:
        commands["evaluate"] = evaluate.command
    return Lock(
        image=_image(None if train.container is None else train.container.image, pin, known),
        commands=commands,
        inputs=tuple(sorted(dict.fromkeys(map(_input, inputs)), key=lambda one: one.name)),
        dependencies=_dependencies(settings.root),
    )


def _image(asked: str | None, pin: Callable[[str], str] | None, known: Lock | None) -> LockedImage | None:
    if asked is None:
        return None
    if "@sha256:" in asked:
        return LockedImage(asked=asked, pinned=asked)
    if known is not None and known.image is not None and known.image.asked == asked:
        return known.image
    return LockedImage(asked=asked, pinned=asked if pin is None else pin(asked))


def _input(one: PinnedInput) -> LockedInput:
    return LockedInput(
        name=one.name,
        sha256=f"sha256:{one.digest}" if one.files else None,
        files=len(one.files),
        bytes=sum(file.size for file in one.files),
        system=one.system,
        version=one.version,
    )


def _dependencies(root: Path) -> dict[str, str]:
    wanted = {*_DEPENDENCIES}
    names = [path.name for path in root.iterdir() if path.is_file() and _pins(path.name.lower(), wanted)]
    return {name: f"sha256:{hashlib.sha256((root / name).read_bytes()).hexdigest()}" for name in sorted(names)}


def _pins(name: str, wanted: set[str]) -> bool:
    parts = name.startswith(("requirements", "constraints")) and name.endswith(".txt")
    return parts or name in wanted or (name.startswith("pylock.") and name.endswith(".toml"))


def drift(locked: Lock, now: Lock) -> tuple[Drift, ...]:
    """Return all in which the two differ."""
    before, after = dict(_flat(locked)), dict(_flat(now))
    names = dict.fromkeys([*before, *after])
    return tuple(
        Drift(what=name, locked=before.get(name), now=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _flat(lock: Lock) -> Iterator[tuple[str, str]]:
    if lock.image is not None:
        yield "the image", f"{lock.image.asked} {lock.image.pinned}"
    for name, words in lock.commands.items():
        yield f"the command of [{name}]", msgspec.json.encode(words).decode()
    for one in lock.inputs:
        version = "" if one.version is None else f"{one.system} {one.version}"
        yield f"the input {one.name}", " ".join(filter(None, (one.sha256, version)))
    for name, digest in lock.dependencies.items():
        yield name, digest


def refuse_drift(locked: Lock, now: Lock, root: Path) -> None:
    """Raise EvidenceError if a project is not what its lock says."""
    found = drift(locked, now)
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        words = ", ".join(map(str, found[:_MOST_NAMED]))
        raise EvidenceError(
            f"{root / LOCK_FILE} is out of date: {words}{more}. `unitrack lock --check` shows it; "
            "run `unitrack lock` and commit the file, or put things back"
        )


def read_lock(root: Path) -> Lock | None:
    """Return a project's lock, None if it has none. Raises ConfigError for what is none."""
    path = root / LOCK_FILE
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(
                f"it has more than {_LARGEST >> 20} MiB: make it anew with `unitrack lock`", file=str(path)
            )
        return decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"it can't be read: {error.strerror}", file=str(path)) from error


def decode(data: bytes, source: str) -> Lock:
    """Read a lock as somebody may have edited it. Raises ConfigError, with the place in the file."""
    try:
        tree: Any = msgspec.json.decode(data)
        newer = tree.get("schema") if isinstance(tree, dict) else None
        if isinstance(newer, int) and newer > SCHEMA:
            raise ConfigError(f"a later unitrack made it (schema {newer}): update unitrack", file=source)
        jsonschema.validate(tree, schemas.load("lock"))
        lock = msgspec.convert(tree, Lock)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(f"it is no lock: {error}; make it anew with `unitrack lock`", file=source) from error
    except jsonschema.ValidationError as error:
        place = ".".join(map(str, error.absolute_path)) or "the whole file"
        raise ConfigError(f"{place}: {error.message[:300]}; make it anew with `unitrack lock`", file=source) from error
    if lock.image is not None and "@" not in lock.image.asked and not is_of(lock.image.pinned, lock.image.asked):
        words = f"image: {lock.image.pinned} is none of {lock.image.asked}; make it anew with `unitrack lock`"
        raise ConfigError(words, file=source)
    return lock


def encode(lock: Lock) -> bytes:
    """Return a lock's text, the same for equal locks, a thing a line."""
    tree = msgspec.to_builtins(lock)
    tree["dependencies"] = dict(sorted(tree["dependencies"].items()))
    return msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n"
