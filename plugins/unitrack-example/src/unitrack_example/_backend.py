"""The backend `csv`: what joins the pure mapping and the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack.backend import Capabilities, ExportResult, Record, RunInfo
from unitrack.errors import ConfigError

if TYPE_CHECKING:
    from unitrack.events import FinalStatus
    from unitrack_example._client import CsvRun

__all__ = ["CsvBackend", "CsvFactory"]


class CsvFactory:
    """Makes backends from `[backends.csv]`."""

    name = "csv"

    def create(self, options: Mapping[str, Any]) -> CsvBackend:
        """Check the options; the section may hold `folder` only."""
        unknown = sorted(set(options) - {"folder"})
        if unknown:
            raise ConfigError(f"[backends.csv] has no option {unknown[0]!r}; it has: folder", key=unknown[0])
        folder = options.get("folder", "csv-runs")
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"[backends.csv] folder is a path, not {folder!r}", key="folder")
        return CsvBackend(Path(folder))


class CsvBackend:
    """Writes each run into a folder of its own."""

    capabilities = Capabilities(non_finite=True, fractional_steps=True, batch=500)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: CsvRun | None = None

    def open(self, run: RunInfo, acked: Mapping[str, int]) -> Mapping[str, Any]:
        """Find or make the run's folder. A real backend imports its client here."""
        from unitrack_example._client import CsvRun

        folder = self._folder / run.id
        self._run = CsvRun(folder)
        self._run.describe(id=run.id, project=run.project, name=run.name, started=run.started, status="running")
        return {"target": str(folder.absolute())}  # another folder gets the whole run

    def export(self, records: Sequence[Record]) -> ExportResult:
        """Append what isn't there yet; it is durable when this returns."""
        from unitrack_example._mapping import to_rows

        assert self._run is not None
        mapped = to_rows(records)
        self._run.add(mapped.rows)
        return ExportResult(acked=len(records), lowered=mapped.lowered)

    def flush(self, timeout: float) -> None:
        """Nothing is pending: `export` returns when all is durable."""

    def close(self, status: FinalStatus | None, ended: float | None) -> None:
        """Note how the run ended, if it did."""
        if self._run is not None and status is not None:
            self._run.describe(status=status, ended=ended)
        self._run = None
