"""The events of a run: one closed union, one line of a journal each.

Field order is the order in the journal. `seq` counts from 1 without gaps within a writer,
`time` is epoch seconds. (run id, writer, seq) is an event's identity.
`schemas/event.schema.json` is generated from these types.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Union

import msgspec

__all__ = [
    "SCHEMA_VERSION",
    "Alert",
    "Artifact",
    "Capture",
    "Console",
    "DatasetUsed",
    "Event",
    "FinalStatus",
    "Media",
    "Metric",
    "MetricDefinition",
    "Metrics",
    "NonFinite",
    "Params",
    "RunStarted",
    "Status",
    "Step",
    "Summary",
    "System",
    "Tags",
    "Unknown",
    "WriterStarted",
]

SCHEMA_VERSION = 1

NonFinite = Literal["NaN", "Infinity", "-Infinity"]
Metric = Union[float, int, bool, NonFinite]
Step = Union[int, float]
FinalStatus = Literal["finished", "failed", "killed"]
Level = Literal["info", "warning", "error"]
MediaKind = Literal["image", "figure", "table", "text", "html", "audio", "video", "histogram", "file"]
Role = Literal["primary", "worker"]


class _Event(msgspec.Struct, tag_field="type", omit_defaults=True, gc=False):
    """What all events share. Built in writing order: positional on the hot path, by keyword elsewhere."""

    seq: int
    time: float


class WriterStarted(_Event, tag="writer", kw_only=True):
    """Open a journal: who writes it. Always the first event.

    `role` is `worker` for a process that helps a primary one (a forked or spawned child) and
    whose end doesn't end the run.
    """

    schema: int
    run: str
    writer: str
    host: str
    pid: int
    started: float
    role: Role = "primary"
    rank: int | None = None
    world: int | None = None
    boot: str | None = None


class RunStarted(_Event, tag="run", kw_only=True):
    """Name the run this writer logs into."""

    project: str
    name: str | None = None
    group: str | None = None
    parent: str | None = None
    tags: list[str] = []
    argv: list[str] = []
    cwd: str | None = None
    resumed: list[str] = []  # writers of the run that had ended when this one began


class Params(_Event, tag="params"):
    """Set parameters, nested as given; a later value of the same key replaces the earlier one."""

    values: dict[str, Any]


class Metrics(_Event, tag="metrics"):
    """Record numbers at a step; any order, repeated, fractional or no step."""

    values: dict[str, Metric]
    step: Step | None = None


class Summary(_Event, tag="summary"):
    """Set summary values by hand; they win over what the metrics imply."""

    values: dict[str, Any]


class Tags(_Event, tag="tags", kw_only=True):
    """Add and remove tags; `values` are tags that carry text."""

    add: list[str] = []
    remove: list[str] = []
    values: dict[str, str] = {}


class Artifact(_Event, tag="artifact", kw_only=True):
    """Log or use a versioned file or folder; the bytes are an object unless it is a reference.

    `digest` is `sha256:<hex>`: of the file, or of the manifest of a folder.
    """

    name: str
    kind: str
    digest: str | None = None
    size: int | None = None
    use: Literal["output", "input"] = "output"
    tree: bool = False
    uri: str | None = None
    aliases: list[str] = []
    metadata: dict[str, Any] = {}


class DatasetUsed(_Event, tag="dataset", kw_only=True):
    """Name the data a run read: where it is and which version of it."""

    name: str
    uri: str | None = None
    digest: str | None = None
    version: str | None = None
    split: str | None = None
    rows: int | None = None
    columns: list[list[str]] | None = None  # [name, type], in the order of the data
    metadata: dict[str, Any] = {}


class Media(_Event, tag="media", kw_only=True):
    """Show something at a step: the bytes are an object, small text and histograms stand inline."""

    name: str
    kind: MediaKind
    format: str
    step: Step | None = None
    digest: str | None = None
    size: int | None = None
    inline: Any = None
    caption: str | None = None
    metadata: dict[str, Any] = {}


class System(_Event, tag="system"):
    """Record numbers about the machine, apart from the user's metrics."""

    values: dict[str, Metric]


class Console(_Event, tag="console", kw_only=True):
    """Keep lines the process printed."""

    stream: Literal["stdout", "stderr"]
    text: str


class Capture(_Event, tag="capture", kw_only=True):
    """Record a fact about the surroundings: git, environment, hardware, seeds."""

    name: str
    values: dict[str, Any]


class Alert(_Event, tag="alert", kw_only=True):
    """Tell people something."""

    title: str
    text: str = ""
    level: Level = "info"


class MetricDefinition(_Event, tag="metric_definition", kw_only=True):
    """Say what a metric means: its goal, its summary, the metric that is its step."""

    name: str
    goal: Literal["maximize", "minimize"] | None = None
    summary: Literal["last", "min", "max", "mean", "first", "none"] | None = None
    step: str | None = None


class Status(_Event, tag="status", kw_only=True):
    """Seal the journal. Always the last event.

    `events` counts this one; `sha256` is of all bytes before this line; `lost` counts events
    that could not be written.
    """

    status: FinalStatus
    events: int
    sha256: str
    reason: str | None = None
    lost: int = 0


class Unknown(msgspec.Struct, gc=False):
    """An event of a type this version doesn't know, kept as it came."""

    type: str
    seq: int
    time: float
    raw: dict[str, Any]
    known: ClassVar[bool] = False


Known = Union[
    WriterStarted,
    RunStarted,
    Params,
    Metrics,
    Summary,
    Tags,
    Artifact,
    DatasetUsed,
    Media,
    System,
    Console,
    Capture,
    Alert,
    MetricDefinition,
    Status,
]
Event = Union[Known, Unknown]
