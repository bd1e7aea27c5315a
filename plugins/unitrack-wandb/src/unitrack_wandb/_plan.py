"""What is to be done in W&B: the result of the mapping and the input of the two ways there."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Union

import msgspec

from unitrack.backend import Record

__all__ = [
    "EVENT_KEY", "MEDIA_KEY", "STEP_KEY", "ConfigOp", "DefineOp", "FileOp", "InputOp", "LogArtifactOp", "Op", "Row",
    "SendAlertOp", "State", "SummaryOp", "TagsOp",
]  # fmt: skip

STEP_KEY = "unitrack/step"
EVENT_KEY = "unitrack/event"
"""In every row: `<writer>:<seq>` of the event it holds."""
MEDIA_KEY = "unitrack/media"
"""In a row with media: what W&B's own types have no room for."""


class Row(NamedTuple):
    """One row of the history: keys to JSON, the event's identity, its time."""

    values: list[tuple[str, str]]
    event: str
    time: float
    step: str | None = None
    is_metrics: bool = False


class ConfigOp(NamedTuple):
    """Set one key of the config, nested value and all."""

    key: str
    value: Any


class DefineOp(NamedTuple):
    """Say which row holds the steps of a metric, and what its summary is."""

    key: str
    step: str | None
    goal: str | None = None
    summary: str | None = None


class SummaryOp(NamedTuple):
    """Set a key of the summary by hand."""

    key: str
    value: Any


class TagsOp(NamedTuple):
    """Set the run's tags, all of them."""

    tags: tuple[str, ...]


class FileOp(NamedTuple):
    """A file of the run: an object of the store or the bytes themselves."""

    path: str
    digest: str | None = None
    data: bytes | None = None


class LogArtifactOp(NamedTuple):
    """An artifact: a file, a folder's manifest (`tree`), or a reference."""

    name: str
    type: str
    entry: str
    digest: str | None
    tree: bool
    uri: str | None
    aliases: tuple[str, ...]
    metadata: dict[str, Any]
    original: str


class InputOp(NamedTuple):
    """An artifact that the run used."""

    name: str
    original: str
    aliases: tuple[str, ...]


class SendAlertOp(NamedTuple):
    """Tell people."""

    title: str
    text: str
    level: Literal["INFO", "WARN", "ERROR"]


Op = Union[Row, ConfigOp, DefineOp, SummaryOp, TagsOp, FileOp, LogArtifactOp, InputOp, SendAlertOp]


class State(msgspec.Struct, kw_only=True):
    """What a restarted worker must know of what is in W&B. It is kept there or beside it."""

    rows: int = 0
    writers: dict[str, int] = {}
    refused: list[tuple[str, int]] = []
    """Records that were rejected: they may be offered again, though later ones are there."""
    names: dict[str, dict[str, str]] = {}
    """For each kind of name: W&B's to the run's."""
    params: dict[str, Any] = {}
    tags: list[str] = []
    about: dict[str, Any] = {}
    """The key `unitrack` of the config."""
    steps: dict[str, str] = {}
    """For each metric that is defined, the key of its steps; empty if it has none."""
    definitions: dict[str, dict[str, Any]] = {}
    by_hand: list[str] = []
    statistics: dict[str, list[Any]] = {}
    lowered: list[tuple[str, str, str]] = []
    """What was told, for a worker that is killed before it could tell."""

    def is_done(self, record: Record) -> bool:
        """Tell whether W&B has the record already."""
        writer, seq = record.key
        return seq <= self.writers.get(writer, 0) and (writer, seq) not in self.refused
