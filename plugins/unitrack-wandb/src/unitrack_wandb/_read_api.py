"""The reader `wandb`: runs of a W&B server, through W&B's public API. What the backend `wandb` wrote, too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import ConfigError
from unitrack.foreign import ForeignInfo, ForeignRun
from unitrack_wandb._errors import translated
from unitrack_wandb._names import clean_project, to_run_key
from unitrack_wandb._online import POSITION_KEY
from unitrack_wandb._place import Options
from unitrack_wandb._read_folder import FolderReader, run_info
from unitrack_wandb._rebuild import Entry, FoundArtifact, RebuiltRun
from unitrack_wandb._server import Server

if TYPE_CHECKING:
    from unitrack.events import Alert, FinalStatus, MetricDefinition

__all__ = ["ApiReader"]

_STATUS: Mapping[str, FinalStatus | None] = {
    "finished": "finished", "failed": "failed", "crashed": "killed", "killed": "killed", "preempted": "killed",
    "running": None, "pending": None, "preempting": None,
}  # fmt: skip


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `unitrack import wandb` may be told."""

    base_url: str | None = None
    timeout: float = 30.0


class ApiReader:
    """Reads `entity/project`, `entity/project/run`, or without an entity the account's own; or a folder."""

    name = "wandb"

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the runs, the oldest first."""
        try:
            chosen = msgspec.convert(dict(options), ReadOptions)
        except msgspec.ValidationError as error:
            raise ConfigError(f"wandb: {error}; the options are: {', '.join(ReadOptions.__struct_fields__)}") from None
        if Path(source).is_dir():
            yield from FolderReader().runs(source, {})
            return
        server = Server(chosen.base_url, timeout=chosen.timeout)
        with translated(server.where):
            for run in _found(source, server, chosen):
                with tempfile.TemporaryDirectory(prefix="unitrack-wandb-") as scratch:
                    yield RebuiltRun(ServerSource(run, server, Path(scratch)))

    def source_of(self, options: Mapping[str, Any], *, project: str, run: str) -> tuple[str, Mapping[str, Any]]:
        """Return where the backend of these options put a run."""
        chosen = msgspec.convert(dict(options), Options)
        if chosen.mode == "offline":
            return str(Path(chosen.dir or os.environ.get("WANDB_DIR") or ".").absolute() / "wandb"), {}
        name = clean_project(chosen.project or project, 128)
        entity = chosen.entity or os.environ.get("WANDB_ENTITY")
        path = f"{entity}/{name}/{to_run_key(run)}" if entity else f"{name}/{to_run_key(run)}"
        return path, {} if chosen.base_url is None else {"base_url": chosen.base_url}


def _found(source: str, server: Server, chosen: ReadOptions) -> Iterator[Any]:
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    server.viewer()  # a server that is down or refuses is told here, and says why
    api = wandb.Api(overrides={"base_url": server.url}, timeout=int(chosen.timeout))
    parts = source.strip("/").split("/")
    if len(parts) == 3:
        yield api.run(source.strip("/"))
        return
    try:
        yield from api.runs(source.strip("/"), order="+created_at")
    except ValueError:
        if len(parts) != 2:
            raise
        yield api.run(f"{api.default_entity}/{source.strip('/')}")  # a project of the account's own, and a run in it


class ServerSource:
    """One run on a server."""

    def __init__(self, run: Any, server: Server, scratch: Path) -> None:
        self._run, self._server, self._scratch = run, server, scratch
        self.config: dict[str, Any] = dict(run.config)
        self.summary: dict[str, Any] = {
            key: value for key, value in dict(run.summary._json_dict).items() if key != POSITION_KEY
        }
        self.info = self._info()

    def _info(self) -> ForeignInfo:
        run = self._run
        head = {
            "id": run.id, "project": run.project, "name": run.name, "group": getattr(run, "group", None) or None,
            "tags": tuple(run.tags or ()), "started": _seconds(run.created_at) or 0.0,
        }  # fmt: skip
        origin = f"{self._server.url}/{run.entity}/{run.project}/{run.id}"
        ended = _seconds(getattr(run, "heartbeat_at", None) or getattr(run, "heartbeatAt", None))
        return run_info(head, self.config, origin=origin, status=_STATUS.get(run.state, "killed"), ended=ended)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield all rows, none sampled away."""
        with translated(self._server.where):
            for row in self._run.scan_history():
                yield {key: value for key, value in row.items() if value is not None}

    def artifacts(self) -> Iterator[FoundArtifact]:
        """Yield what the run logged, downloaded one at a time."""
        with translated(self._server.where):
            for made in self._run.logged_artifacts():
                if made.type == "run_table" or made.type.startswith("wandb-"):
                    continue
                root = self._scratch / made.digest
                entries = tuple(_entry(made, path, entry, root) for path, entry in made.manifest.entries.items())
                yield FoundArtifact(
                    made.source_name.partition(":")[0], made.type, tuple(made.aliases), made.metadata, entries
                )

    def file(self, path: str) -> Path | None:
        """Return a file of the run, downloaded."""
        local = self._scratch / "files" / path
        if not local.resolve().is_relative_to(self._scratch.resolve()):
            return None
        if not local.is_file():
            found = [file for file in self._run.files([path]) if file.name == path]
            if not found:
                return None
            found[0].download(root=str(self._scratch / "files"), replace=True).close()
        return local

    def files(self, folder: str) -> Iterable[str]:
        """Return the paths of the run's files below a folder."""
        return sorted(file.name for file in self._run.files() if file.name.startswith(f"{folder}/"))

    def definitions(self) -> Iterable[MetricDefinition]:
        """W&B's API tells nothing of them."""
        return ()

    def alerts(self) -> Iterable[Alert]:
        """W&B's API tells nothing of them."""
        return ()


def _entry(made: Any, path: str, entry: Any, root: Path) -> Entry:
    if entry.ref:
        return Entry(path, None, str(entry.ref))
    return Entry(path, Path(made.get_entry(path).download(root=str(root))), None)


def _seconds(stamp: Any) -> float | None:
    if not isinstance(stamp, str):
        return None
    made = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    return (made if made.tzinfo else made.replace(tzinfo=timezone.utc)).timestamp()
