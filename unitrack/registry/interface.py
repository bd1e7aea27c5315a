"""The words every model registry shares.

A reference names one version: `digits` or `digits@latest` (the highest version),
`digits:3` (version 3), `digits@production` (the version of that alias or life-cycle stage).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args

import msgspec

from unitrack.errors import RegistryError

__all__ = [
    "LATEST",
    "STAGES",
    "ModelVersion",
    "Number",
    "Reference",
    "Stage",
    "check_alias",
    "check_model_name",
    "parse_reference",
]

LATEST = "latest"
Stage = Literal["experimental", "staging", "production", "retired"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Number = float | int | bool

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[\w-]{1,255}")
_LIKE_A_VERSION = re.compile(r"[vV][0-9]+")
_REFERENCE = re.compile(r"(?P<name>[^@:/\s]+)(?:@(?P<alias>[\w-]{1,255})|:(?P<version>[0-9]{1,9}))?")
# Windows opens a device, not a file, under these names, whatever follows the dot.
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model: which run made it, of what bytes, and where it stands now.

    `digest` is `sha256:<hex>` of the artifact, `commit` the code's, `time` when it was registered (UTC).
    """

    name: str
    version: int
    run: str
    artifact: str | None = None
    digest: str | None = None
    commit: str | None = None
    metrics: Mapping[str, Number] = {}
    description: str = ""
    by: str
    time: datetime
    stage: Stage | None = None
    aliases: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The words that always name this version, such as `digits:3`."""
        return f"{self.name}:{self.version}"


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed reference: a model with an alias or a version, never both; with neither, the latest."""

    name: str
    alias: str | None = None
    version: int | None = None


def check_model_name(name: str) -> str:
    """Return `name`, or raise RegistryError: it names a file on every system, so few characters are allowed."""
    if not isinstance(name, str):
        raise TypeError(f"a model's name is a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"{name[:140]!r} can't be a model's name: use up to 128 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    if _DEVICE.fullmatch(name):
        raise RegistryError(f"{name!r} can't be a model's name: it is a device on Windows; choose another")
    return name


def check_alias(alias: str) -> str:
    """Return `alias`, or raise RegistryError: the rules are MLflow's, and no alias looks like a stage."""
    if not isinstance(alias, str):
        raise TypeError(f"an alias is a str, not {type(alias).__name__}")
    if not _ALIAS.fullmatch(alias):
        raise RegistryError(f"{alias[:140]!r} can't be an alias: use 1 to 255 letters, digits, '_' and '-'")
    if _LIKE_A_VERSION.fullmatch(alias):
        raise RegistryError(f"{alias!r} can't be an alias: it looks like a version, which is NAME:{alias[1:]}")
    if alias.lower() == LATEST:
        raise RegistryError(f"{alias!r} can't be set: 'latest' is always the highest version")
    if alias.lower() in STAGES and alias not in STAGES:
        raise RegistryError(f"{alias!r} can't be an alias: write the stage as {alias.lower()!r}")
    return alias


def parse_reference(reference: str) -> Reference:
    """Return the parts of `name`, `name@alias` or `name:3`; raise RegistryError for anything else."""
    if not isinstance(reference, str):
        raise TypeError(f"a reference to a model is a str, not {type(reference).__name__}")
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise RegistryError(f"{reference[:300]!r} does not name a model's version: write NAME, NAME@ALIAS or NAME:3")
    version = match["version"]
    return Reference(
        name=check_model_name(match["name"]),
        alias=match["alias"],
        version=None if version is None else int(version),
    )
