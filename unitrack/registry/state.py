"""A model as its file holds it: immutable values, made anew by every change.

`schemas/model.schema.json` is generated from these types. Field order is the order in the file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Union

import msgspec

from unitrack.events import Metric
from unitrack.registry.interface import Stage

__all__ = ["SCHEMA_VERSION", "Action", "Change", "ModelFile", "VersionRecord"]

SCHEMA_VERSION: Literal[1] = 1

Action = Literal["register", "alias", "delete_alias", "stage", "rollback"]
_Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]*$")]
_Version = Annotated[int, msgspec.Meta(ge=1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version: what was registered, and the life-cycle stage it is in now."""

    version: _Version
    stage: Stage | None = None
    run: _Line
    artifact: _Line | None = None
    digest: _Line | None = None
    commit: _Line | None = None
    metrics: dict[_Line, Metric] = {}
    description: str = ""
    by: _Line
    time: _Time


class Change(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"before": "from", "after": "to"},
):
    """One entry of the history: who did what to a version, when and why.

    `before` and `after` (`from` and `to` in the file) are stages, or version numbers when an alias moved.
    """

    time: _Time
    by: _Line
    action: Action
    version: _Version
    alias: _Line | None = None
    before: Union[_Version, Stage, None] = None
    after: Union[_Version, Stage, None] = None
    reason: _Line = ""
    forced: bool = False


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model: its versions by number, its aliases, and everything that was ever done to it, oldest first."""

    schema: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    aliases: dict[Annotated[str, msgspec.Meta(pattern=r"^[\w-]{1,255}$")], _Version] = {}
    versions: tuple[VersionRecord, ...] = ()
    history: tuple[Change, ...] = ()
