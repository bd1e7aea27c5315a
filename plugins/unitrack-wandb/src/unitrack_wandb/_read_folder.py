"""The reader `wandb-offline`: W&B's folders, from their `.wandb` files, whoever wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unitrack import events
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.foreign import ForeignInfo, ForeignRun
from unitrack.model import new_run_id
from unitrack_wandb._log import read_log
from unitrack_wandb._names import from_run_key
from unitrack_wandb._rebuild import Entry, FoundArtifact, RebuiltRun

__all__ = ["FolderReader", "run_info", "safe_id"]

_SUMMARIES = ("min", "max", "mean", "last", "first", "none")
_LEVELS: Mapping[str, Any] = {"INFO": "info", "WARN": "warning", "ERROR": "error"}


class FolderReader:
    """Reads a folder `wandb`, or the folder of one run in it."""

    name = "wandb-offline"

    def runs(self, source: str, options: Mapping[str, Any]) -> Iterator[ForeignRun]:
        """Yield the runs, parents first; the parts of a run are one."""
        if options:
            raise ConfigError(f"{self.name} knows no option {next(iter(options))!r}: it has none")
        found = [FolderSource(logs) for logs in _by_run(_logs(Path(source)))]
        for run in _parents_first(found):
            yield RebuiltRun(run)


def _logs(folder: Path) -> list[Path]:
    for pattern in ("*.wandb", "*/*.wandb", "wandb/*/*.wandb"):
        found = sorted(path for path in folder.glob(pattern) if path.parent.name != "latest-run")
        if found:
            return found
    raise FatalBackendError(f"{folder} holds no run of W&B: give a folder `wandb`, or an offline-run-... folder in it")


def _by_run(logs: Iterable[Path]) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for log in logs:
        groups.setdefault(log.stem.removeprefix("run-"), []).append(log)
    return list(groups.values())


def _parents_first(runs: Sequence[FolderSource]) -> list[FolderSource]:
    known = {run.info.id: run for run in runs}
    ordered: dict[str, FolderSource] = {}

    def add(run: FolderSource, above: tuple[str, ...] = ()) -> None:
        parent = known.get(run.info.parent or "")
        if parent is not None and parent.info.id not in above:
            add(parent, (*above, run.info.id))
        ordered.setdefault(run.info.id, run)

    for run in runs:
        add(run)
    return list(ordered.values())


class FolderSource:
    """One run, of one or more `.wandb` files in the order of their folders' names."""

    def __init__(self, logs: Sequence[Path]) -> None:
        self._logs = sorted(logs)
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self._head: dict[str, Any] = {}
        self._alerts: list[events.Alert] = []
        self._definitions: list[events.MetricDefinition] = []
        self._ended: float | None = None
        self._code: int | None = None
        for record in self._records():
            self._take(record)
        self.info = self._info()

    def _records(self) -> Iterator[Any]:
        import wandb.proto.wandb_internal_pb2 as records

        made: Any = records
        for log in self._logs:
            for data in read_log(log):
                yield made.Record.FromString(data)

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            self._head = {
                "id": run.run_id, "project": run.project, "name": run.display_name or None,
                "group": run.run_group or None, "tags": tuple(run.tags),
                "started": self._head.get("started") or run.start_time.ToMicroseconds() / 1e6,
            }  # fmt: skip
            _update(self.config, run.config.update)
        elif kind == "config":
            _update(self.config, record.config.update)
            for item in record.config.remove:
                self.config.pop(item.key, None)
        elif kind == "summary":
            _update(self.summary, record.summary.update)
        elif kind == "history":
            row = _row(record.history)
            self._ended = row.get("_timestamp", self._ended)
        elif kind == "exit":
            self._code = record.exit.exit_code
        elif kind == "alert":
            level = _LEVELS.get(record.alert.level, "info")
            time = self._ended or self._head.get("started") or 0.0
            self._alerts.append(
                events.Alert(seq=0, time=time, title=record.alert.title, text=record.alert.text, level=level)
            )
        elif kind == "metric" and record.metric.name:
            self._define(record.metric)

    def _define(self, metric: Any) -> None:
        summary: Any = next((word for word in _SUMMARIES if getattr(metric.summary, word)), None)
        goal: Any = {1: "minimize", 2: "maximize"}.get(metric.goal)
        if summary or goal or metric.step_metric:
            step, time = metric.step_metric or None, self._head.get("started") or 0.0
            self._definitions.append(
                events.MetricDefinition(seq=0, time=time, name=metric.name, goal=goal, summary=summary, step=step)
            )

    def _info(self) -> ForeignInfo:
        if not self._head:
            raise FatalBackendError(f"{self._logs[0]} names no run: its client was killed before it said which")
        status = None if self._code is None else "finished" if self._code == 0 else "failed"
        return run_info(
            self._head,
            self.config,
            origin=f"wandb-offline:{self._logs[0].parent.name}",
            status=status,
            ended=self._ended,
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the history."""
        for record in self._records():
            if record.WhichOneof("record_type") == "history":
                yield _row(record.history)

    def artifacts(self) -> Iterator[FoundArtifact]:
        """Yield what the run logged; the tables that W&B's client logs beside its media are media."""
        for record in self._records():
            if record.WhichOneof("record_type") == "artifact" and record.artifact.type != "run_table":
                made = record.artifact
                entries = tuple(_entry(one) for one in made.manifest.contents)
                metadata = json.loads(made.metadata) if made.metadata else {}
                yield FoundArtifact(made.name, made.type, tuple(made.aliases), metadata, entries)

    def file(self, path: str) -> Path | None:
        """Return a file of the run."""
        for log in reversed(self._logs):
            root = log.parent / "files"
            found = root / path
            if found.is_file() and found.resolve().is_relative_to(root.resolve()):
                return found
        return None

    def files(self, folder: str) -> Iterable[str]:
        """Return the paths of files below a folder."""
        found: dict[str, int] = {}
        for log in self._logs:
            root = log.parent / "files"
            found |= {path.relative_to(root).as_posix(): 0 for path in (root / folder).rglob("*") if path.is_file()}
        return sorted(found)

    def definitions(self) -> Iterable[events.MetricDefinition]:
        """Return what the client defined."""
        return self._definitions

    def alerts(self) -> Iterable[events.Alert]:
        """Return what people were told."""
        return self._alerts


def run_info(
    head: Mapping[str, Any], config: Mapping[str, Any], *, origin: str, status: Any, ended: float | None
) -> ForeignInfo:
    """Return who a run is, from what W&B says and what this backend keeps in its config."""
    about = dict(config.get("unitrack") or {})
    tags = (about.get("names") or {}).get("tag") or {}
    return ForeignInfo(
        id=about.get("id") or safe_id(from_run_key(head["id"])), origin=origin,
        project=about.get("project") or head["project"] or "uncategorized",
        started=about.get("started") or head["started"], name=_own(about, "name", head["name"]),
        group=_own(about, "group", head["group"]), parent=about.get("parent"),
        tags=tuple(tags.get(tag, tag) for tag in head["tags"]), ended=about.get("ended") or ended,
        status=about.get("status") or status, reason=about.get("reason"), argv=tuple(about.get("argv") or ()),
    )  # fmt: skip


def _own(about: Mapping[str, Any], name: str, shown: str | None) -> str | None:
    return about.get(name) if "id" in about else shown


def safe_id(key: str) -> str:
    """Return a run id of unitrack's that is as near to W&B's as can be."""
    text = re.sub(r"[^A-Za-z0-9._-]", "-", key).lstrip("._-")[:128].replace("..", "-")
    return text or new_run_id()


def _row(history: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for item in history.item:
        _put(row, item.nested_key or (item.key,), _value(item))
    return row


def _value(item: Any) -> Any:
    if item.value_json:
        return json.loads(item.value_json)
    kind = item.WhichOneof("value") if "value" in type(item).DESCRIPTOR.oneofs_by_name else None
    if kind is None:
        return None
    if kind == "none":
        return None
    return json.loads(item.json) if kind == "json" else getattr(item, kind)


def _update(tree: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        _put(tree, item.nested_key or (item.key,), json.loads(item.value_json))


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        below = tree.get(key)
        tree[key] = below if isinstance(below, dict) else {}
        tree = tree[key]
    tree[path[-1]] = value


def _entry(one: Any) -> Entry:
    local = Path(one.local_path) if one.local_path else None
    return Entry(one.path, local if local is not None and local.is_file() else None, one.ref or None)
