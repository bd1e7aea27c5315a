"""The section `[backends.neptune]`: what may stand there, and the place it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.errors import ConfigError, FatalBackendError
from unitrack.lowering import Policy, choose_policies
from unitrack_neptune._limits import LEGACY, SCALE, Limits
from unitrack_neptune._mapping import KINDS

if TYPE_CHECKING:
    from unitrack_neptune._place import Place

__all__ = ["QUIET", "Options", "check", "limits", "place", "policies"]

QUIET = {
    "NEPTUNE_LOGGER_LEVEL": "none",
    "NEPTUNE_DISABLE_COLORS": "true",
    "NEPTUNE_LOG_FAILURE_ACTION": "raise",  # a value the client can't take is an error, never dropped
    "NEPTUNE_RETRIES_TIMEOUT": "3",  # the worker's policy governs
    "NEPTUNE_REQUEST_TIMEOUT": "20",
    "NEPTUNE_RAISE_ERROR_ON_DISK_USAGE_EXCEEDED": "true",
}
"""Settings of the clients, which read them when they are imported; what the environment has wins."""
_CLIENTS = {"neptune-scale": "neptune_scale", "neptune": "neptune"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the section may hold. The credential comes from NEPTUNE_API_TOKEN."""

    client: Literal["neptune-scale", "neptune"] = "neptune-scale"
    """Which of Neptune's clients: that of 3.x, or that of 1.x and 2.x servers."""
    mode: Literal["offline", "online"] = "offline"
    """Files for `neptune sync`, or a server."""
    project: str | None = None
    """`workspace/name`; NEPTUNE_PROJECT unless given. Offline files need none."""
    server: str | None = None
    """The server's URL if it isn't the one that the token names."""
    dir: str = ".neptune"
    """Where offline files go."""
    batch: int = 2000
    """Events to offer at once."""
    lowering: dict[str, Any] = {}


def check(options: Mapping[str, Any]) -> Options:
    """Return the options, or raise ConfigError that names the wrong one."""
    try:
        checked = msgspec.convert(dict(options), Options)
    except msgspec.ValidationError as error:
        known = ", ".join(Options.__struct_fields__)
        raise ConfigError(f"[backends.neptune] {error}; the options are: {known}") from None
    if not 1 <= checked.batch <= 100_000:
        raise ConfigError(f"[backends.neptune] batch is 1 to 100000, not {checked.batch}", key="batch")
    if checked.project is not None and not all(checked.project.partition("/")):
        message = f"[backends.neptune] project is workspace/name, not {checked.project!r}"
        raise ConfigError(message, key="project")
    policies(checked)
    return checked


def policies(options: Options) -> dict[str, Policy]:
    """Return what to do about each kind of lowering. Raises ConfigError."""
    return choose_policies(KINDS, options.lowering, section="backends.neptune.lowering")


def limits(options: Options) -> Limits:
    """Return the bounds of the chosen client."""
    return SCALE if options.client == "neptune-scale" else LEGACY


def place(options: Options) -> Place:
    """Return where the operations go, and import the one client it needs. Raises FatalBackendError."""
    for name, word in QUIET.items():
        os.environ.setdefault(name, word)
    project = options.project or os.environ.get("NEPTUNE_PROJECT")
    if options.mode == "online" and not project:
        raise FatalBackendError("set `project` in [backends.neptune], or NEPTUNE_PROJECT, to workspace/name")
    try:
        return _made(options, project)
    except ModuleNotFoundError as error:
        extra = "scale" if options.client == "neptune-scale" else "legacy"
        raise FatalBackendError(
            f"the client {options.client} is not installed where the worker runs ({error}): "
            f'pip install "unitrack-neptune[{extra}]"'
        ) from error


def _made(options: Options, project: str | None) -> Place:
    __import__(_CLIENTS[options.client])
    folder = Path(options.dir)
    if options.client == "neptune-scale":
        if options.mode == "offline":
            from unitrack_neptune._scale_offline import ScaleOffline

            return ScaleOffline(folder, project)
        from unitrack_neptune._scale_online import ScaleOnline

        return ScaleOnline(options.server, project or "")
    if options.mode == "offline":
        from unitrack_neptune._legacy_offline import LegacyOffline

        return LegacyOffline(folder)
    from unitrack_neptune._legacy_online import LegacyOnline

    return LegacyOnline(options.server, project or "")
