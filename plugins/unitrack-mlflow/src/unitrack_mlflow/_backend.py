"""The backend `mlflow`: what joins the pure mapping and the client."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import Capabilities, ExportResult, Record, RunInfo
from unitrack.errors import ConfigError
from unitrack.lowering import choose_policies
from unitrack_mlflow._errors import ServerFaultError
from unitrack_mlflow._mapping import to_plan
from unitrack_mlflow._plan import KINDS

if TYPE_CHECKING:
    from unitrack.events import FinalStatus
    from unitrack_mlflow._client import Tracker

__all__ = ["MlflowBackend", "MlflowFactory", "Options"]

_FAULTS = 3
_LOWERING = "backends.mlflow.lowering"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[backends.mlflow]`. Credentials come from the environment, as MLflow reads them."""

    tracking_uri: str | None = None
    """MLFLOW_TRACKING_URI or MLflow's default unless given."""
    experiment: str | None = None
    """The run's project unless given."""
    batch: int = 1000
    """Events to offer at once."""
    metrics_per_request: int = 1000
    """At most 1000."""
    register: bool | dict[str, str] = False
    """Whether logged models become versions of registered models, all or those named: artifact to registered model."""
    lowering: Mapping[str, Any] = {}
    """Policies by kind."""


class MlflowFactory:
    """Makes backends from their section of the settings; imports nothing of MLflow."""

    name = "mlflow"

    def create(self, options: Mapping[str, Any]) -> MlflowBackend:
        """Check the options. Raises ConfigError that names the wrong one."""
        try:
            checked = msgspec.convert(dict(options), Options)
        except msgspec.ValidationError as error:
            known = ", ".join(Options.__struct_fields__)
            raise ConfigError(f"[backends.mlflow] {error}; the options are: {known}") from None
        for name in ("batch", "metrics_per_request"):
            if not 1 <= getattr(checked, name) <= 1000:
                raise ConfigError(f"[backends.mlflow] {name} is 1 to 1000, not {getattr(checked, name)}", key=name)
        choose_policies(KINDS, checked.lowering, section=_LOWERING)
        return MlflowBackend(checked)


class MlflowBackend:
    """Sends a run to MLflow."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._policies = choose_policies(KINDS, options.lowering, section=_LOWERING)
        self.capabilities = Capabilities(
            artifacts=True, media=True, datasets=True, nested_runs=True, non_finite=False, batch=options.batch
        )
        self._tracker: Tracker | None = None
        self._run: RunInfo | None = None
        self._faults = 0

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Find the run by unitrack's id, or make it."""
        # The worker's policy governs: the client's own retries would hide a dead server for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from unitrack_mlflow._client import Limits, Tracker

        if self._tracker is None:
            limits = Limits(metrics=self._options.metrics_per_request)
            self._tracker = Tracker(
                self._options.tracking_uri, self._options.experiment, limits, register=self._options.register
            )
        self._run = run
        return self._tracker.open(run)

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Send records; they are durable in MLflow when this returns."""
        assert self._tracker is not None
        assert self._run is not None
        plan = to_plan(records, self._tracker.held, started=self._run.started, policies=self._policies)
        try:
            rejected = [*plan.rejected, *self._tracker.apply(plan, self._run.objects)]
        except ServerFaultError as fault:
            self._faults += 1
            if self._faults < _FAULTS:
                raise
            self._tracker.probe()
            # A server that can write and fails again and again fails on what it is given: let the worker find it.
            raise ValueError(str(fault)) from fault
        self._faults = 0
        return ExportResult(acked=len(records), rejected=tuple(rejected), lowered=plan.lowered)

    def flush(self, timeout: float) -> None:
        """Nothing is pending: `export` returns when MLflow has it."""

    def keep_report(self, report: bytes) -> None:
        """Put the report of what was lowered among the run's artifacts."""
        if self._tracker is not None:
            self._tracker.keep("unitrack/lowered.json", report)

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Tell MLflow how the run ended, if it did."""
        if self._tracker is not None and status is not None:
            self._tracker.end(status, ended)
