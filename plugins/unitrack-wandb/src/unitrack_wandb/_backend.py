"""The backend `wandb`: what joins the pure mapping and the ways into W&B."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from unitrack.backend import Capabilities, ExportResult, Record, Rejection, RunInfo
from unitrack.errors import ConfigError
from unitrack.events import FinalStatus
from unitrack.lowering import Lowerings, Policy, choose_policies
from unitrack_wandb._mapping import KINDS, Mapper
from unitrack_wandb._objects import missing
from unitrack_wandb._place import Options, Place
from unitrack_wandb._plan import FileOp

__all__ = ["WandbBackend", "WandbFactory"]

REPORT = "unitrack/lowered.json"


class WandbFactory:
    """Makes backends from their section of the settings; imports nothing of W&B."""

    name = "wandb"

    def create(self, options: Mapping[str, Any]) -> WandbBackend:
        """Check the options. Raises ConfigError that names the wrong one."""
        try:
            checked = msgspec.convert(dict(options), Options)
        except msgspec.ValidationError as error:
            known = ", ".join(Options.__struct_fields__)
            raise ConfigError(f"[backends.wandb] {error}; the options are: {known}") from None
        if checked.mode not in ("online", "offline"):
            raise ConfigError(f"[backends.wandb] mode is online or offline, not {checked.mode!r}", key="mode")
        if not 1 <= checked.batch <= 10_000:
            raise ConfigError(f"[backends.wandb] batch is 1 to 10000, not {checked.batch}", key="batch")
        policies = choose_policies(KINDS, checked.lowering, section="backends.wandb.lowering")
        return WandbBackend(checked, policies)


class WandbBackend:
    """Sends a run to W&B."""

    def __init__(self, options: Options, policies: Mapping[str, Policy]) -> None:
        self._options, self._policies = options, policies
        self._lowerings = Lowerings(policies)
        self.capabilities = Capabilities(
            artifacts=True, media=True, datasets=True, nested_runs=True, non_finite=True, fractional_steps=True,
            batch=options.batch,
        )  # fmt: skip
        self._place: Place | None = None
        self._run: RunInfo | None = None
        self._mapper: Mapper | None = None
        self._told = 0

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Find the run by unitrack's id, or make it."""
        # The worker's policy governs; and W&B's client is to be as quiet as a library.
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._run, self._mapper = run, None
        if self._place is None:
            self._place = self._make_place()
        opened = self._place.open(run)
        self._lowerings, self._told = Lowerings(self._policies), 0
        for kind, name, detail in opened.state.lowered:
            self._lowerings.tell(kind, name, detail)
        self._mapper = Mapper(opened.state, self._lowerings, started=run.started)
        self._tell_parent(run)
        return {"target": opened.target, "folder": opened.folder}

    def _make_place(self) -> Place:
        if self._options.mode == "offline":
            from unitrack_wandb._offline import OfflineRun

            return OfflineRun(self._options)
        from unitrack_wandb._online import OnlineRun

        return OnlineRun(self._options)

    def _tell_parent(self, run: RunInfo) -> None:
        if run.parent is not None:
            trouble = "W&B nests no runs"
            self._lowerings.tell("parent", run.parent, f"{trouble}: the parent is in the config under unitrack.parent")

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Send records; they are durable in W&B, or in the folder, when this returns."""
        mapper, place, run = self._ready()
        rejected = [Rejection(record=one, reason=reason) for one in records if (reason := missing(one, run.objects))]
        self._mapper = None  # a failure leaves its state ahead of W&B's
        mapper.refuse([one.record for one in rejected])
        ops, refused = mapper.map(records)
        place.apply(ops, mapper.state, self._lowerings)
        self._mapper = mapper
        told, self._told = self._lowerings.all[self._told :], len(self._lowerings.all)
        return ExportResult(acked=len(records), rejected=(*rejected, *refused), lowered=told)

    def _ready(self) -> tuple[Mapper, Place, RunInfo]:
        assert self._run is not None
        if self._mapper is None:
            self.open(self._run, {})
        assert self._mapper is not None
        assert self._place is not None
        return self._mapper, self._place, self._run

    def flush(self, timeout: float) -> None:
        """Nothing is pending: `export` returns when W&B has it."""

    def keep_report(self, report: bytes) -> None:
        """Put the report among the run's files."""
        mapper, place, _run = self._ready()
        place.apply([FileOp(REPORT, data=report)], mapper.state, self._lowerings)

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Tell W&B how the run ended, if it did."""
        if self._run is None or self._place is None:
            return
        try:
            if status is not None:
                self._end(status, ended)
        finally:
            self._place.close()
            self._run = self._mapper = None

    def _end(self, status: FinalStatus, ended: float | None) -> None:
        mapper, place, _run = self._ready()
        mapper.state.about |= {"status": status, "ended": ended}
        place.end(status, mapper.state, self._lowerings)
