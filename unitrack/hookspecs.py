"""The hooks of unitrack: what a plugin may add and be told of.

A plugin is a module or object with functions of these names, marked with `unitrack.hookimpl`
and announced as an entry point of group `unitrack`:

    [project.entry-points.unitrack]
    mytracker = "unitrack_mytracker"

Hooks that register return objects; unitrack then calls each object alone, inside its own
try, so that one plugin's fault is named and costs nobody else anything. No hook is called
per event. Hooks that notify return nothing. An exception in a hook is reported with the
plugin's distribution and version; it never reaches training.

Ordered by when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import pluggy

if TYPE_CHECKING:  # a plugin that adds no command needs no click
    import click

    from unitrack.config import TrainSettings
    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.verdict import Verdict

from unitrack.alerts import Notifier, NotifierFactory
from unitrack.backend import BackendFactory
from unitrack.events import Event
from unitrack.foreign import Reader

__all__ = [
    "Collector",
    "DatasetResolver",
    "DatasetVersion",
    "ExecutorFactory",
    "GateFinding",
    "GateRule",
    "HealthCheck",
    "HealthResult",
    "HookSpecs",
    "Notifier",
    "NotifierFactory",
    "Processor",
    "ReportFormat",
    "hookimpl",
]

hookspec = pluggy.HookspecMarker("unitrack")
hookimpl = pluggy.HookimplMarker("unitrack")


class Collector(Protocol):
    """Captures one fact about the surroundings of a run."""

    name: str

    def collect(self) -> Mapping[str, Any]:
        """Return a JSON-safe mapping; empty when there is nothing to tell."""
        ...


class Processor(Protocol):
    """Changes or drops events before they are written; named in the setting `processors`."""

    name: str

    def __call__(self, event: Event) -> Event | None:
        """Return the event to write, or None to drop it. Pure: no I/O, no clock."""
        ...


class DatasetVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of which data a path or URI names.

    `version` is the system's own word for it (a commit, a revision, a number), the same for the same bytes and never a
    name that moves. `digest` is `<algorithm>:<hex>` over the content where the system has one, such as `md5:...`.
    """

    uri: str
    version: str
    digest: str | None = None
    metadata: dict[str, Any] = {}


class DatasetResolver(Protocol):
    """Knows the version of data that some system keeps."""

    name: str

    def resolve(self, uri: str) -> DatasetVersion | None:
        """Return the version of `uri`, or None when it isn't this system's. Answer within seconds, hash no data.

        `uri` has a scheme (`s3://...`), or is the absolute path of a file or folder, which may not be there: the
        system may know the version of what nobody has fetched yet. Raise what you like: it is told in words.
        """
        ...


class HealthResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a health check found; `message` says the remedy when not `ok`."""

    ok: bool
    message: str


class HealthCheck(Protocol):
    """One question `unitrack doctor` asks."""

    name: str

    def check(self) -> HealthResult:
        """Look, within a few seconds."""
        ...


class GateFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate rule decides of one thing; `reason` is read by whoever has to mend it."""

    name: str
    decision: Literal["pass", "fail", "undecided", "reported"]
    reason: str


class GateRule(Protocol):
    """Judges a candidate by more than one metric at a time, or by something of its own."""

    name: str

    def judge(self, decisions: Sequence[MetricDecision]) -> Iterable[GateFinding]:
        """Return findings, from what was decided for the policy's metrics: values of each seed, figures, slices.

        The same decisions have to give the same findings. No finding can undo a failed metric.
        """
        ...


class ReportFormat(Protocol):
    """Writes a verdict for readers of one kind. Plain attributes do for `name` and `suffix`."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def suffix(self) -> str:
        """What the names of its files end in, such as `.html`."""
        ...

    def render(self, verdict: Verdict) -> str | bytes:
        """Return the report, from the verdict alone: no I/O, no clock. Texts in it are foreign: escape them."""
        ...


class RegistryFactory(Protocol):
    """Makes one kind of registry; `name` is what the key `registry` of the settings says."""

    name: str

    def open(self, options: Mapping[str, Any]) -> Any:
        """Return a `unitrack.registry.Registry` for the section `[registries.NAME]`. Raises ConfigError."""
        ...


class ExecutorFactory(Protocol):
    """Makes one kind of executor; `name` is what the key `executor` of `[train]` says."""

    name: str

    def open(self, train: TrainSettings, *, store: Path) -> Any:
        """Return a `unitrack.rerun.executors.Executor` for these settings. Raises ConfigError or EvidenceError."""
        ...


class HookSpecs(Protocol):  # a Protocol, so that specifications need no body
    """Every hook, in the order of a run's life. Each says where it is called and what an exception there does."""

    @hookspec
    def unitrack_register_collectors(self) -> Iterable[Collector]:
        """Return collectors of facts about a run's surroundings.

        Called in a process of its own beside training, which `init()` starts with the same Python, `sys.path`,
        environment and folder; the setting `capture` names those that are asked. What they print goes to stderr.
        An exception in `collect` becomes an `error` entry of the capture.

        Example: `return [ClusterCollector()]`
        """

    @hookspec
    def unitrack_register_processors(self) -> Iterable[Processor]:
        """Return processors of events.

        Called in the training process by `init()`, only if the setting `processors` names any. An exception
        in a processor drops the event and counts it as lost.

        Example: `return [RedactEmails()]`
        """

    @hookspec(firstresult=True)
    def unitrack_to_json(self, value: object) -> Any:
        """Return a JSON-safe tree for a parameter of a type unitrack doesn't know, or None to pass.

        Called in the training process for params only, never per metric, and after every kind of object that
        unitrack spells itself; the first answer wins. An exception counts as None.

        Example: `return value.as_dict() if isinstance(value, MyConfig) else None`
        """

    @hookspec
    def unitrack_run_started(self, run_id: str, folder: Path) -> None:
        """Take note that a run began.

        Called in the process that asks the collectors, after them. An exception is a warning in training.

        Example: `(folder / "job").write_text(os.environ["SLURM_JOB_ID"])`
        """

    @hookspec
    def unitrack_run_finished(self, run_id: str, folder: Path, status: str) -> None:
        """Take note that a run ended as `finished`, `failed` or `killed`.

        Called in the training process by `finish()`, after the journal was sealed; not when the process dies.
        Only if a plugin has this hook does training load plugins for it. An exception changes nothing.

        Example: `if status == "failed": page_someone(run_id)`
        """

    @hookspec
    def unitrack_register_backends(self) -> Iterable[BackendFactory]:
        """Return factories of backends, made usable by a section `[backends.NAME]`.

        Called in worker processes and by commands, never by training. An exception leaves this plugin's
        backends out and is named by the worker that wanted one.

        Example: `return [MlflowFactory()]`
        """

    @hookspec
    def unitrack_backend_failed(self, run_id: str, backend: str, reason: str) -> None:
        """Take note that a backend gave up on a run for now.

        Called in the dispatcher's process, once for each run and backend. An exception changes nothing.

        Example: `metrics.increment("tracker_down", tags={"backend": backend})`
        """

    @hookspec
    def unitrack_register_dataset_resolvers(self) -> Iterable[DatasetResolver]:
        """Return resolvers of data versions, asked in order until one knows.

        Called in the training process by `log_dataset`, which loads the plugins if one has this hook, and by
        `unitrack lock`, `rerun` and `gate` for each of `[train].inputs`. An exception leaves the version out in
        training, and ends a command with its reason: data of unknown version is no evidence.

        Example: `return [DvcResolver()]`
        """

    @hookspec
    def unitrack_register_readers(self) -> Iterable[Reader]:
        """Return readers, which turn the runs of a tracker or of its files into runs of ours.

        Called in the process of `unitrack import` and `unitrack copy`. An exception ends the command with its reason.

        Example: `return [NeptuneParquetReader()]`
        """

    @hookspec
    def unitrack_register_registries(self) -> Iterable[RegistryFactory]:
        """Return factories of model registries beside the local one.

        Called in the process of commands, and in training by `use_model`. An exception ends the command or
        the call with its reason.

        Example: `return [MlflowRegistryFactory()]`
        """

    @hookspec
    def unitrack_register_executors(self) -> Iterable[ExecutorFactory]:
        """Return factories of executors (`unitrack.rerun.executors.Executor`), which run jobs.

        Called in the process of `unitrack rerun` and `unitrack gate`. An exception ends the command with
        its reason: a job that could not run is no evidence.

        Example: `return [SlurmFactory()]`
        """

    @hookspec
    def unitrack_register_gate_rules(self) -> Iterable[GateRule]:
        """Return rules that add decisions of their own to a gate.

        Called in the process of `unitrack gate`, after the last pair; each rule is called alone. An exception ends the
        gate closed: the verdict is undecided, never `pass`.

        Example: `return [FairnessRule()]`
        """

    @hookspec
    def unitrack_verdict_reached(self, verdict: Path, outcome: str) -> None:
        """Take note of a verdict: where `verdict.json` is, and `pass`, `fail` or `undecided`.

        Called in the process of `unitrack gate`, after the file was written. An exception doesn't change
        the verdict.

        Example: `upload(verdict) if outcome == "pass" else None`
        """

    @hookspec
    def unitrack_register_report_formats(self) -> Iterable[ReportFormat]:
        """Return formats a verdict can be written in.

        Called in the process of `unitrack report`. An exception ends the command with its reason; the verdict stands.

        Example: `return [ConfluencePage()]`
        """

    @hookspec
    def unitrack_register_notifiers(self) -> Iterable[NotifierFactory]:
        """Return factories of notifiers, which carry alerts to people and are configured like backends.

        Called in workers, which deliver the alerts of runs with the retries of any backend, and by commands, which
        deliver verdicts, drift and dead trackers. An exception in a worker is that of any backend; a command warns.

        Example: `return [SlackFactory()]`
        """

    @hookspec
    def unitrack_register_health_checks(self) -> Iterable[HealthCheck]:
        """Return what `unitrack doctor` should ask besides its own questions.

        Called in the process of `unitrack doctor`. An exception in `check` is shown as a failed check.

        Example: `return [ServerReachable()]`
        """

    @hookspec
    def unitrack_add_commands(self) -> Mapping[str, click.Command]:
        """Return commands to add to `unitrack`, by name; a built-in name can't be taken.

        Called in the process of the command line when a name isn't built in, and by
        `unitrack plugins`. An exception leaves the plugin's commands out.

        Example: `return {"csv-path": command}`
        """
