"""The backend `neptune`: what joins the pure mapping and the places it sends to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unitrack.backend import Capabilities, ExportResult, Record, Rejection, RunInfo
from unitrack.lowering import Lowerings, RefusedError
from unitrack_neptune import _mapping
from unitrack_neptune._draft import Draft
from unitrack_neptune._files import found
from unitrack_neptune._names import Paths
from unitrack_neptune._options import Options, check, limits, place, policies
from unitrack_neptune._position import load_position, save_position

if TYPE_CHECKING:
    from unitrack.events import FinalStatus
    from unitrack_neptune._place import Place, Sent

__all__ = ["NeptuneBackend", "NeptuneFactory"]

_HAD = (
    "the server took some points for repeated or too late: points that were sent before, "
    "or another process writes into the same series"
)


class NeptuneFactory:
    """Makes backends from their section of the settings; imports no client."""

    name = "neptune"

    def create(self, options: Mapping[str, Any]) -> NeptuneBackend:
        """Check the options. Raises ConfigError that names the wrong one."""
        return NeptuneBackend(check(options))


class NeptuneBackend:
    """Sends a run to Neptune, or into files for `neptune sync`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._limits = limits(options)
        self._policies = policies(options)
        self.capabilities = Capabilities(
            artifacts=True, media=True, datasets=True, nested_runs=True, fractional_steps=True, batch=options.batch
        )
        self._place: Place | None = None
        self._again = False

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Find how far the run has come, or begin it."""
        if self._place is not None:
            self._place.end()  # opened again: the run's target has changed
        self._place = place(self._options)
        try:
            return self._open(run, acked)
        except BaseException:
            self._place.end()
            raise

    def _open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        assert self._place is not None
        self._run = run
        self._file = self._place.position(run)
        self._position = load_position(self._file, acked)
        self._paths = Paths(self._limits.path, self._position.fields, self._position.names)
        mark = self._place.begin(run, self._position.mark)
        self._position.mark = mark
        self._begin()
        self._again = True  # a kill may have cut off what comes first now
        return {"target": f"{self._place.target}#{self._position.generation}"}

    def _begin(self) -> None:
        """Say who the run is, unless Neptune has been told the same."""
        draft = self._draft()
        _mapping.head(draft, self._run)
        told = hashlib.sha256(repr(draft.ops).encode()).hexdigest()
        if told != self._position.head:
            self._send(draft)
        self._position.head = told
        self._save()

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Send records that Neptune doesn't hold; they are durable there when this returns."""
        lowerings = Lowerings(self._policies)
        draft = self._draft(lowerings)
        replayed = any(self._position.has(*record.key) for record in records)
        rejected = {record.key: reason for record in records if (reason := self._map(draft, record)) is not None}
        for rejection in self._send(draft):
            rejected.setdefault(rejection.record.key, rejection.reason)
        for record in records:
            self._position.pass_to(*record.key, held=record.key not in rejected)
        self._position.told(lowerings.all)
        self._save()
        lowered = tuple(self._position.lowered) if replayed else lowerings.all
        refused = [Rejection(record=one, reason=rejected[one.key]) for one in records if one.key in rejected]
        return ExportResult(acked=len(records), rejected=tuple(refused), lowered=lowered)

    def _map(self, draft: Draft, record: Record) -> str | None:
        """Add what becomes of a record; return why it is refused, if it is."""
        if self._position.has(*record.key):
            return None
        mark = draft.begin()
        try:
            _mapping.to_ops(draft, record, started=self._run.started)
        except RefusedError as error:
            draft.rollback(mark)
            return str(error)
        return None

    def _draft(self, lowerings: Lowerings | None = None) -> Draft:
        return Draft(self._position, self._paths, self._limits, lowerings or Lowerings(self._policies))

    def _send(self, draft: Draft) -> list[Rejection]:
        assert self._place is not None
        draft.finish()
        ops, rejected = found(draft.ops, self._run.objects)
        draft.forget({rejection.record.key for rejection in rejected})
        again, self._again = self._again, True  # what fails comes again, and may have arrived
        sent: Sent = self._place.send(ops)
        self._again = False
        if sent.refused and not again:
            draft.lowerings.tell("step", "(server)", _HAD)
        if sent.mark:
            self._position.mark = sent.mark
        draft.commit()
        return rejected

    def _save(self) -> None:
        save_position(self._file, self._position)

    def keep_report(self, report: bytes) -> None:
        """Put the report at `unitrack/lowered.json`."""
        digest = hashlib.sha256(report).hexdigest()
        if digest == self._position.report:
            return
        draft = self._draft()
        draft.file("unitrack/lowered.json", name="lowered.json", data=report)
        self._send(draft)
        self._position.report = digest
        self._save()

    def flush(self, timeout: float) -> None:
        """Nothing is pending: `export` returns when Neptune has it."""

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Tell Neptune how the run ended, if it did."""
        if self._place is None:
            return
        if status is not None:
            draft = self._draft()
            _mapping.ending(draft, status, ended)
            self._send(draft)
            self._position.head = ""  # a run that is resumed is running again
            self._save()
        self._place.end()
