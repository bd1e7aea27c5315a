"""The backend `tensorboard`: what joins the pure mapping, the encoder and the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import Capabilities, ExportResult, Record, Rejection, RunInfo
from unitrack.errors import ConfigError, UsageError
from unitrack.files import write_atomic
from unitrack.lowering import Lowerings, choose_policies
from unitrack.objects import ObjectStore
from unitrack_tensorboard._folder import Description, RunFolder
from unitrack_tensorboard._mapping import KINDS, Mapper, artifact_path, older_path
from unitrack_tensorboard._names import Tags

if TYPE_CHECKING:
    from unitrack.events import FinalStatus
    from unitrack_tensorboard._encode import Encoder
    from unitrack_tensorboard._plan import Place, Plan

__all__ = ["Options", "TensorboardBackend", "TensorboardFactory"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[backends.tensorboard]`."""

    logdir: str = "tensorboard"
    """The folder for `tensorboard --logdir`; a relative one counts from the folder of the settings file."""
    batch: int = 1000
    """Events to offer at once."""
    lowering: Mapping[str, Any] = {}
    """Policies by kind."""


class TensorboardFactory:
    """Makes backends from their section of the settings; imports nothing of TensorBoard."""

    name = "tensorboard"

    def create(self, options: Mapping[str, Any]) -> TensorboardBackend:
        """Check the options. Raises ConfigError that names the wrong one."""
        try:
            checked = msgspec.convert(dict(options), Options)
        except msgspec.ValidationError as error:
            known = ", ".join(Options.__struct_fields__)
            raise ConfigError(f"[backends.tensorboard] {error}; the options are: {known}") from None
        if not checked.logdir or "://" in checked.logdir:
            raise ConfigError(
                f"[backends.tensorboard] logdir is a folder of this machine, not {checked.logdir!r}", key="logdir"
            )
        if not 1 <= checked.batch <= 10_000:
            raise ConfigError(f"[backends.tensorboard] batch is 1 to 10000, not {checked.batch}", key="batch")
        choose_policies(KINDS, checked.lowering, section="backends.tensorboard.lowering")
        return TensorboardBackend(checked)


class TensorboardBackend:
    """Writes a run into its own folder of a logdir."""

    def __init__(self, options: Options) -> None:
        self._policies = choose_policies(KINDS, options.lowering, section="backends.tensorboard.lowering")
        self._logdir = Path(os.path.abspath(Path(options.logdir).expanduser()))  # workers run in the settings' folder
        self.capabilities = Capabilities(
            artifacts=True, media=True, datasets=True, nested_runs=False, non_finite=True, batch=options.batch
        )

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Open the run's folder, or make it, and cut off what a kill left behind."""
        from unitrack_tensorboard import _encode

        self._codec = _encode
        self._objects = ObjectStore(run.objects)
        self._encoder: Encoder = _encode.Encoder(self._objects)
        self._folder = folder = RunFolder(self._logdir / run.id, started=run.started)
        if any(folder.position.writers.get(writer, 0) < seq for writer, seq in acked.items()):
            folder.restart()  # it was put back from an older copy
        self._lowerings, self._told = Lowerings(self._policies), 0
        self._tags = Tags(self._lowerings, None if folder.is_new else folder.read("names.json", dict))
        self._mapper = Mapper(self._tags, self._lowerings, started=run.started)
        known = None if folder.is_new else folder.read("run.json", Description)
        self._description = _described(known, run)
        for one in self._description.lowered:  # what is skipped on a replay is told again all the same
            self._lowerings.tell(one.kind, one.name, one.detail)
        folder.sweep()
        folder.begin(_encode.header(run.started))
        self._describe()
        return {"target": f"{folder.path}#{folder.position.token}"}

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Write what the event file lacks; it is on the disk when this returns."""
        position = self._folder.position
        fresh = [record for record in records if not position.has(record.writer, record.event.seq)]
        plan = self._mapper.plan(fresh)
        rejected = [*plan.rejected, *self._place(plan)]
        data = self._encode(plan, rejected)
        self._keep(plan)
        for record in fresh:
            position.add(record.writer, record.event.seq)
        for rejection in rejected:
            position.miss(rejection.record.writer, rejection.record.event.seq)
        self._folder.append(data)
        lowered = self._lowerings.all[self._told :]
        self._told += len(lowered)
        return ExportResult(acked=len(records), rejected=tuple(rejected), lowered=lowered)

    def flush(self, timeout: float) -> None:
        """Nothing is pending: `export` returns when it is on the disk."""

    def keep_report(self, report: bytes) -> None:
        """Put the report of what was lowered beside the event file."""
        write_atomic(self._folder.own / "lowered.json", report)

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Tell how the run ended, behind the position: a run that is resumed writes over it."""
        if status is not None:
            ended = self._description.started if ended is None else ended
            step = max(self._folder.position.writers.values(), default=0)
            self._folder.write(self._codec.ending(status, ended, step))
            self._description.status, self._description.ended = status, ended
            self._folder.keep("run.json", self._description)

    # -- files -----------------------------------------------------------------------------------

    def _place(self, plan: Plan) -> list[Rejection]:
        """Put files where they belong; return the records whose objects aren't in the store."""
        rejected = []
        for place in plan.places:
            try:
                self._place_one(place)
            except UsageError as error:
                rejected.append(Rejection(record=place.record, reason=str(error)))
        return rejected

    def _place_one(self, place: Place) -> None:
        known = self._description.artifacts
        before = known.get(place.path)
        name = place.path.partition("/")[2]
        if before not in (None, place.digest):
            self._lowerings.tell("artifact-version", name, "the name is the last version's; others are in versions/")
            self._folder.place(older_path(name, before), before, self._objects, tree=_is_folder(self._folder, place))
        path = place.path
        if _in_the_way(path, known):
            path = older_path(name, place.digest)
            self._lowerings.tell("artifact-path", name, f"a file can't be a folder too: this one is {path}")
        self._folder.place(path, place.digest, self._objects, tree=place.tree)
        if path == artifact_path(name):
            known[path] = place.digest

    # -- what is written -------------------------------------------------------------------------

    def _encode(self, plan: Plan, rejected: list[Rejection]) -> bytes:
        out = {rejection.record.key for rejection in rejected}
        data = bytearray()
        for line in plan.lines:
            if line.record.key in out:
                continue
            try:
                data += self._encoder.line(line)
            except UsageError as error:
                rejected.append(Rejection(record=line.record, reason=str(error)))
        return bytes(data)

    def _keep(self, plan: Plan) -> None:
        """Keep documents before the position: after a kill the same records change them the same way."""
        if (names := self._tags.document()) is not None:
            self._folder.keep("names.json", names)
        self._description.params.update(plan.params)
        for tag, value in plan.tags.items():
            if value is None:
                self._description.tags.pop(tag, None)
            else:
                self._description.tags[tag] = value
        told = list(self._lowerings.all)
        if plan.params or plan.tags or plan.places or told != self._description.lowered:
            self._description.lowered = told
            self._describe()

    def _describe(self) -> None:
        """Write what describes the run as it is now: a document, and the small event file of the HPARAMS page."""
        run = self._description
        self._folder.keep("run.json", run)
        data = self._codec.header(run.started) + self._codec.session(run.id, run.started, run.params)
        self._folder.replace(f"{self._folder.position.file}.hparams", data)


def _described(known: Description | None, run: RunInfo) -> Description:
    """Return the description of the run as it goes on."""
    made = known or Description(id=run.id, project=run.project, started=run.started)
    return msgspec.structs.replace(
        made, project=run.project, name=run.name, group=run.group, parent=run.parent, started=run.started,
        status=None, ended=None,
    )  # fmt: skip


def _is_folder(folder: RunFolder, place: Place) -> bool:
    return (folder.own / place.path).is_dir()


def _in_the_way(path: str, known: Mapping[str, str]) -> bool:
    """Tell whether another artifact's file would have to be a folder for this one, or the other way round."""
    return any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in known)
