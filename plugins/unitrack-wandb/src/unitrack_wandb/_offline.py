"""An offline run's folder, as W&B's client makes it, written so that no kill loses or repeats anything.

W&B's own writer keeps records in memory until the run ends. Here a batch is on disk before it is
acknowledged, and `unitrack.json` beside the log says how far that was: what a killed worker left behind it is cut
off. `wandb sync`, `wandb leet` and everything else of W&B's reads the folder.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.files import sync_directory, write_atomic
from unitrack.lowering import NameMap
from unitrack_wandb import _names
from unitrack_wandb._log import LogWriter
from unitrack_wandb._objects import make_artifact, place_file
from unitrack_wandb._place import EXIT_CODES, Opened, Options
from unitrack_wandb._plan import (
    EVENT_KEY,
    MEDIA_KEY,
    STEP_KEY,
    ConfigOp,
    DefineOp,
    FileOp,
    InputOp,
    LogArtifactOp,
    Op,
    Row,
    SendAlertOp,
    State,
    SummaryOp,
    TagsOp,
)  # fmt: skip
from unitrack_wandb._summary import Summarizer

if TYPE_CHECKING:
    from unitrack.backend import RunInfo
    from unitrack.events import FinalStatus
    from unitrack.lowering import Lowerings

__all__ = ["POSITION", "OfflineRun", "Position"]

POSITION = "unitrack.json"
_FOLDER = r"offline-run-\d{8}_\d{6}-"


class Position(msgspec.Struct, kw_only=True):
    """How far the log is W&B's: what stands behind `offset` is cut off, the exit record included."""

    run: str
    started: float
    token: str
    part: int = 0
    offset: int = 0
    number: int = 0
    state: State = msgspec.field(default_factory=State)


class OfflineRun:
    """One run in a folder under `<dir>/wandb`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = Path(options.dir or os.environ.get("WANDB_DIR") or ".").absolute() / "wandb"
        self._log: LogWriter | None = None

    # -- the run ---------------------------------------------------------------------------------

    def open(self, run: RunInfo) -> Opened:
        """Find the run's folder or make it."""
        from wandb.proto import wandb_internal_pb2

        self._records: Any = wandb_internal_pb2
        self._run, self._key = run, _names.to_run_key(run.id)
        self._close_log()
        folder, position = self._find()
        if position is None:
            position = Position(run=run.id, started=run.started, token=secrets.token_hex(8))
        elif _is_synced(folder, self._key):
            folder = self._next_folder()
            position = msgspec.structs.replace(position, part=position.part + 1, offset=0, number=0)
        self._start(folder, position)
        return Opened(state=position.state, target=f"{self._root}#{position.token}", folder=str(folder))

    def _find(self) -> tuple[Path, Position | None]:
        """Return the folder of the run's last part and what is in it."""
        stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(self._run.started))
        first = self._root / f"offline-run-{stamp}-{self._key}"
        pattern = re.compile(_FOLDER + re.escape(self._key))
        names = sorted(os.listdir(self._root)) if self._root.is_dir() else []
        folders = [self._root / name for name in names if pattern.fullmatch(name)]
        found = [(folder, position) for folder in folders if (position := _load(folder)) is not None]
        mine = [pair for pair in found if self._is_mine(*pair)]
        return max(mine, key=lambda pair: pair[1].part) if mine else (first, None)

    def _is_mine(self, folder: Path, position: Position) -> bool:
        """Tell whether it is this run and no namesake: by its start, or by what this backend remembers."""
        token = str(self._run.state.get("target", "")).rpartition("#")[2]
        is_whole = (folder / f"run-{self._key}.wandb").exists()
        return is_whole and (position.started == self._run.started or position.token == token)

    def _next_folder(self) -> Path:
        """Return a folder for what comes after the part that was synced, named after another second."""
        now = time.time()
        while True:
            stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(now))
            folder = self._root / f"offline-run-{stamp}-{self._key}"
            if not folder.exists():
                return folder
            now += 1

    def _start(self, folder: Path, position: Position) -> None:
        self._folder, self._position = folder, position
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._log = LogWriter(folder / f"run-{self._key}.wandb", position.offset)
        self._summarizer = Summarizer(position.state)
        if position.offset == 0:
            sync_directory(folder)
            sync_directory(self._root)
            self._header()
            self._save()

    def _header(self) -> None:
        import wandb

        record = self._records.Record()
        record.header.version_info.producer = wandb.__version__
        record.header.version_info.min_consumer = "0.70.0"
        self._append(record)
        self._append(self._run_record())
        if self._position.part:  # W&B takes the parts of a run as one after the other
            return
        self._define(DefineOp(STEP_KEY, None))
        for key in (EVENT_KEY, MEDIA_KEY):
            record = self._records.Record()
            record.metric.name = key
            record.metric.options.defined = record.metric.options.hidden = record.metric.summary.none = True
            self._append(record)

    def _run_record(self) -> Any:
        run, options, state = self._run, self._options, self._position.state
        record = self._records.Record()
        made = record.run
        made.run_id, made.project = self._key, project_of(run, options, state)
        made.display_name, made.host = run.name or run.id, platform.node()
        made.tags.extend(state.tags or run.tags)
        for name, value in {
            "entity": options.entity or os.environ.get("WANDB_ENTITY"), "run_group": options.group or run.group,
            "job_type": options.job_type, "notes": options.notes,
        }.items():  # fmt: skip
            if value:
                setattr(made, name, value)
        made.start_time.FromMicroseconds(int(run.started * 1e6))
        made.starting_step = state.rows
        made.resume = self._position.part > 0
        for key, value in {**state.params, "unitrack": {**about_of(run), **state.about}}.items():
            made.config.update.add(key=key, value_json=_json(value))
        return record

    # -- what is logged --------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op], state: State, lowerings: Lowerings) -> None:
        """Write files, then records, then how far that is; each is durable before the next."""
        self._position.state = state
        self._summarizer = Summarizer(state)
        rows: list[Row] = []
        for op in ops:
            if type(op) is Row:
                self._row(op)
                rows.append(op)
            elif isinstance(op, FileOp):
                place_file(op, self._folder / "files", self._run.objects)
                record = self._records.Record()
                record.files.files.add(path=op.path)
                self._append(record)
            elif isinstance(op, DefineOp):
                self._define(op)
            else:
                self._apply_rare(op, lowerings)
        self._summarize(rows)
        state.lowered = [(one.kind, one.name, one.detail) for one in lowerings.all]
        self._save()

    def _row(self, row: Row) -> None:
        """Write a row as W&B's client does; its global step only counts rows."""
        state, time_ = self._position.state, row.time
        record = self._records.Record()
        history = record.history
        add = history.item.add
        for key, text in row.values:
            add(nested_key=(key,), value_json=text)
        if row.step is not None:
            add(nested_key=_STEP, value_json=row.step)
        add(nested_key=_EVENT, value_json=f'"{row.event}"')
        add(nested_key=_TIMESTAMP, value_json=repr(time_))
        add(nested_key=_RUNTIME, value_json=repr(max(0.0, time_ - self._run.started)))
        add(nested_key=_ROW, value_json=str(state.rows))
        history.step.num = state.rows
        state.rows += 1
        self._append(record)

    def _define(self, op: DefineOp) -> None:
        self._summarizer.define(op.key, op.summary)
        record = self._records.Record()
        metric = record.metric
        metric.name, metric.options.defined = op.key, True
        if op.step:
            metric.step_metric = op.step
        if op.summary not in (None, "last"):
            setattr(metric.summary, op.summary or "", True)
        if op.goal:
            metric.goal = {"minimize": metric.GOAL_MINIMIZE, "maximize": metric.GOAL_MAXIMIZE}[op.goal]
        self._append(record)

    def _apply_rare(self, op: Op, lowerings: Lowerings) -> None:
        record = self._records.Record()
        if isinstance(op, ConfigOp):
            value = {**about_of(self._run), **op.value} if op.key == "unitrack" else op.value
            record.config.update.add(key=op.key, value_json=_json(value))
        elif isinstance(op, SummaryOp):
            record.summary.update.add(nested_key=(op.key,), value_json=_json(op.value))
        elif isinstance(op, TagsOp):
            record = self._run_record()
        elif isinstance(op, SendAlertOp):
            record.alert.title, record.alert.text, record.alert.level = op.title, op.text, op.level
        elif isinstance(op, LogArtifactOp):
            record.artifact.CopyFrom(self._artifact(op))
            if op.original in self._options.link:
                trouble = "an offline run can't link an artifact into a collection"
                lowerings.decide("lineage", op.original, trouble=trouble, remedy="the artifact itself is there")
        elif isinstance(op, InputOp):
            trouble = "an offline run can't name another's artifact as its input"
            remedy = "it is in the config under unitrack.inputs"
            lowerings.decide("lineage", op.original, trouble=trouble, remedy=remedy)
            return
        self._append(record)

    def _artifact(self, op: LogArtifactOp) -> Any:
        from wandb.sdk.interface.interface_shared import InterfaceShared

        # What makes W&B's records of its objects; it sends nothing, so what sends may be absent.
        absent = dict.fromkeys(InterfaceShared.__abstractmethods__)
        maker: Any = type("Records", (InterfaceShared,), absent)()
        made = maker._make_artifact(make_artifact(op, self._run.objects))
        made.run_id, made.project = self._key, project_of(self._run, self._options, self._position.state)
        made.entity = self._options.entity or os.environ.get("WANDB_ENTITY") or ""
        made.user_created = made.finalize = True
        made.aliases.extend(dict.fromkeys(["latest", *op.aliases]))
        return made

    def _summarize(self, rows: Sequence[Row]) -> None:
        self._summarizer.add(rows)
        news = dict(self._summarizer.news())
        if rows:
            last = rows[-1]
            news |= {"_timestamp": repr(last.time), "_step": str(self._position.state.rows - 1)}
            news["_runtime"] = repr(max(0.0, last.time - self._run.started))
        if not news:
            return
        record = self._records.Record()
        for key, text in news.items():
            record.summary.update.add(nested_key=(key,), value_json=text)
        self._append(record)

    def _append(self, record: Any) -> None:
        assert self._log is not None
        self._position.number += 1
        record.num = self._position.number
        self._log.append(record.SerializeToString())

    def _save(self) -> None:
        """Make the log durable, then say so."""
        assert self._log is not None
        self._log.sync()
        self._position.offset = self._log.offset
        write_atomic(self._folder / POSITION, msgspec.json.encode(self._position))

    # -- the end ---------------------------------------------------------------------------------

    def end(self, status: FinalStatus, state: State, lowerings: Lowerings) -> None:
        """Write the exit record, which doesn't count for the position: a run that goes on loses it again."""
        self.apply([ConfigOp("unitrack", dict(state.about))], state, lowerings)
        assert self._log is not None
        record = self._records.Record()
        record.exit.exit_code = EXIT_CODES[status]
        record.exit.runtime = int(max(0.0, float(state.about.get("ended") or 0.0) - self._run.started))
        number = self._position.number
        self._append(record)
        self._position.number = number
        self._log.sync()

    def close(self) -> None:
        """Let go of the folder."""
        self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None


_STEP, _EVENT, _TIMESTAMP, _RUNTIME, _ROW = (STEP_KEY,), (EVENT_KEY,), ("_timestamp",), ("_runtime",), ("_step",)


def project_of(run: RunInfo, options: Options, state: State) -> str:
    """Return W&B's name of the project."""
    wanted = options.project or run.project
    return NameMap(_names.clean_project, longest=_names.LONGEST_ARTIFACT, known=state.names.get("project")).key(wanted)


def about_of(run: RunInfo) -> dict[str, Any]:
    """Return what the config says of every run under `unitrack`."""
    about = {name: getattr(run, name) for name in ("id", "project", "name", "group", "parent", "started")}
    return {name: value for name, value in about.items() if value is not None}


def _is_synced(folder: Path, key: str) -> bool:
    return (folder / f"run-{key}.wandb.synced").exists()


def _load(folder: Path) -> Position | None:
    try:
        return msgspec.json.decode((folder / POSITION).read_bytes(), type=Position)
    except (OSError, msgspec.DecodeError):
        return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
