"""A run on a W&B server, through W&B's own client.

W&B's client acknowledges nothing: what it was given may be lost with it. So every batch ends with its position in
the summary, under `unitrack/position`, and is done with when the server shows that position. After a kill
the summary and the last rows tell what the server has, and only the rest is sent.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.backend import FatalBackendError, RetryableError
from unitrack_wandb import _names
from unitrack_wandb._errors import translated
from unitrack_wandb._objects import make_artifact, place_file
from unitrack_wandb._offline import about_of, project_of
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
)
from unitrack_wandb._server import Held, Server

if TYPE_CHECKING:
    from unitrack.backend import RunInfo
    from unitrack.events import FinalStatus
    from unitrack.lowering import Lowerings

__all__ = ["POSITION_KEY", "OnlineRun", "client_settings", "state_of"]

POSITION_KEY = "unitrack/position"
_IN_CONFIG = ("names", "tags", "steps", "definitions", "by_hand", "lowered", "refused", "about")
_POLL = 0.1
_LONGEST_POLL = 1.0
_SETTLING = 3.0
"""Seconds without news from a client that nobody waits for any more."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the summary says: how far the rows before it go, how far all else goes for sure, and of which config.

    It is a text there, since some servers keep no trees in a summary.
    """

    writers: dict[str, int] = {}
    sure: dict[str, int] = {}
    revision: str = ""


class OnlineRun:
    """One run on one server."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server = Server(options.base_url, timeout=options.timeout)
        self._run: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._revision = ""
        self._kept: dict[str, Any] = {}
        self._there: dict[str, int] = {}
        self._sure: dict[str, int] = {}

    # -- the run ---------------------------------------------------------------------------------

    def open(self, run: RunInfo) -> Opened:
        """Ask what the server has of the run, then open it there."""
        self.close()
        self._info, self._key = run, _names.to_run_key(run.id)
        self._project = project_of(run, self._options, State())
        self._entity = self._options.entity or os.environ.get("WANDB_ENTITY")
        # Past the client first: a server that is down or refuses is told at once, and says why.
        held = self._settled()
        state = State() if held is None else state_of(held)
        self._there, self._sure = _rows_of(held), dict(state.writers)
        self._revision = "" if held is None else _revision(held)
        with translated(self._server.where):
            self._run = self._init(run, state)
            self._define_all(state)
        self._entity = self._run.entity or self._entity
        self._kept = _to_keep(state)
        return Opened(state=state, target=f"{self._server.url}#{self._entity}/{self._project}/{self._key}")

    def _held(self) -> Held | None:
        return self._server.held(entity=self._entity, project=self._project, run=self._key)

    def _settled(self) -> Held | None:
        """Return what the server has, once it holds still: the client of a killed worker may send on for a while."""
        held = self._held()
        while held is not None and held.state == "running":
            time.sleep(_SETTLING)
            before, held = held, self._held()
            if held is not None and (held.lines, held.tail, held.summary) == (
                before.lines,
                before.tail,
                before.summary,
            ):
                break
        return held

    def _init(self, run: RunInfo, state: State) -> Any:
        import wandb

        options = self._options
        self._scratch = tempfile.TemporaryDirectory(prefix="unitrack-wandb-", ignore_cleanup_errors=True)
        made = wandb.init(
            mode="online", id=self._key, project=self._project, entity=self._entity, name=run.name or run.id,
            group=options.group or run.group, job_type=options.job_type, notes=options.notes, resume="allow",
            tags=state.tags or list(run.tags), dir=options.dir or self._scratch.name, reinit="finish_previous",
            settings=wandb.Settings(**client_settings(options, self._server.url)),
        )  # fmt: skip
        if made is None:
            raise FatalBackendError(f"{self._server.where}: the client made no run; is WANDB_MODE set to disabled?")
        return made

    # -- what is logged --------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op], state: State, lowerings: Lowerings) -> None:
        """Hand `ops` to the client and wait until the server shows that it has them."""
        changed = self._hand_over(ops, state, lowerings)
        self._confirm(state, changed=changed)

    def _hand_over(self, ops: Sequence[Op], state: State, lowerings: Lowerings) -> bool:
        """Give `ops` to the client; tell whether the config changes by them."""
        with translated(self._server.where):
            for op in ops:
                if type(op) is Row:
                    self._log(op)
                else:
                    self._apply_rare(op, state, lowerings)
            state.lowered = [(one.kind, one.name, one.detail) for one in lowerings.all]
            changed = self._keep(state) or any(isinstance(op, (ConfigOp, DefineOp, TagsOp)) for op in ops)
            if changed:
                self._revision = secrets.token_hex(8)
                self._set_about(state)
            for key, value in (state.about.get("summary") or {}).items():
                self._run.summary[key] = value  # a row of this name may have come over it
            place = Progress(writers=state.writers, sure=self._sure, revision=self._revision)
            self._run.summary[POSITION_KEY] = msgspec.json.encode(place).decode()
        return changed

    def _log(self, row: Row) -> None:
        writer, _, seq = row.event.rpartition(":")
        if int(seq) <= self._there.get(writer, 0):
            return  # the row came before a kill; what else belongs to its batch may not have
        values = {key: json.loads(text) for key, text in row.values}
        if row.step is not None:
            values[STEP_KEY] = json.loads(row.step)
        self._run.log({**values, EVENT_KEY: row.event, "_timestamp": row.time})

    def _apply_rare(self, op: Op, state: State, lowerings: Lowerings) -> None:
        run = self._run
        if isinstance(op, ConfigOp):
            if op.key != "unitrack":  # that one goes with the state, at the end
                run.config.update({op.key: op.value}, allow_val_change=True)
        elif isinstance(op, DefineOp):
            self._define(op)
        elif isinstance(op, SummaryOp):
            run.define_metric(op.key, step_metric=state.steps.get(op.key) or None, step_sync=False, summary="none")
            run.summary[op.key] = op.value
        elif isinstance(op, TagsOp):
            run.tags = op.tags
        elif isinstance(op, FileOp):
            place_file(op, self._files, self._info.objects)
            run.save(str(self._files / op.path), base_path=str(self._files), policy="now")
        elif isinstance(op, SendAlertOp):
            # Within this time W&B sends an alert of the same title once: a replay is no second one.
            run.alert(op.title, op.text, level=op.level, wait_duration=60)
        elif isinstance(op, LogArtifactOp):
            self._log_artifact(op)
        elif isinstance(op, InputOp):
            self._use_artifact(op, lowerings)

    @property
    def _files(self) -> Path:
        return Path(self._run.dir)

    def _define(self, op: DefineOp) -> None:
        summary = None if op.summary in (None, "last") else op.summary
        self._run.define_metric(op.key, step_metric=op.step, step_sync=False, summary=summary)

    def _define_all(self, state: State) -> None:
        """Say again what each metric means: a client that resumes a run forgets it."""
        self._run.define_metric(STEP_KEY)
        for key in (EVENT_KEY, MEDIA_KEY):
            self._run.define_metric(key, hidden=True, summary="none")
        for key, step in state.steps.items():
            told = state.definitions.get(state.names.get("metric", {}).get(key, key), {})
            summary = "none" if key in state.by_hand else told.get("summary")
            self._define(DefineOp(key, step or None, told.get("goal"), summary))

    def _log_artifact(self, op: LogArtifactOp) -> None:
        """Send an artifact and wait until the server has it whole; the same content is the same version."""
        artifact = make_artifact(op, self._info.objects)
        self._run.log_artifact(artifact, aliases=["latest", *op.aliases])
        try:
            artifact.wait(timeout=int(self._options.timeout * 30))
        except (TimeoutError, ValueError) as error:
            raise RetryableError(f"{self._server.where} has not committed the artifact {op.name}: {error}") from error
        collection = self._options.link.get(op.original)
        if collection is not None:  # a version is in a collection once, however often it is linked
            self._run.link_artifact(artifact, collection, aliases=list(op.aliases))

    def _use_artifact(self, op: InputOp, lowerings: Lowerings) -> None:
        wanted = f"{op.name}:{op.aliases[0] if op.aliases else 'latest'}"
        try:
            self._run.use_artifact(wanted)
        except Exception as error:  # whatever the client makes of an artifact that isn't there
            trouble = f"W&B has no artifact {wanted} to be the input ({type(error).__name__})"
            remedy = "it is in the config under unitrack.inputs"
            lowerings.decide("lineage", op.original, trouble=trouble, remedy=remedy)

    # -- what the server has ---------------------------------------------------------------------

    def _keep(self, state: State) -> bool:
        """Tell whether there is news of what a restarted worker must know."""
        news = _to_keep(state)
        changed, self._kept = news != self._kept, news
        return changed

    def _set_about(self, state: State) -> None:
        about = {**about_of(self._info), **state.about}
        about["state"] = {**{name: self._kept[name] for name in _IN_CONFIG if name not in ("about", "names")}}
        about["state"]["revision"] = self._revision
        if state.names:
            about["names"] = state.names
        self._run.config.update({"unitrack": about}, allow_val_change=True)

    def _confirm(self, state: State, *, changed: bool) -> None:
        """Wait until the server shows the position, and the config if it changed. Raises RetryableError."""
        until, wait = time.monotonic() + self._options.timeout * 3, _POLL
        while True:
            held = self._held()
            if held is not None and self._is_there(held, state, changed=changed):
                self._sure = dict(state.writers)
                return
            if time.monotonic() > until:
                raise RetryableError(
                    f"{self._server.where} doesn't show what it was sent {self._options.timeout * 3:g} s ago"
                )
            time.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_POLL)

    def _is_there(self, held: Held, state: State, *, changed: bool) -> bool:
        is_there = _progress(held).writers == state.writers
        return is_there and (not changed or _revision(held) == self._revision)

    # -- the end ---------------------------------------------------------------------------------

    def end(self, status: FinalStatus, state: State, lowerings: Lowerings) -> None:
        """Finish the run, which has the client send all of it, and see that it did."""
        changed = self._hand_over([ConfigOp("unitrack", dict(state.about))], state, lowerings)
        self._finish(EXIT_CODES[status])
        self._confirm(state, changed=changed)

    def close(self) -> None:
        """Let go of the run. One that goes on looks finished to W&B until it is opened again."""
        if self._run is not None:
            try:
                self._finish(0)
            except RetryableError:
                self._run = None  # what it could not send is sent again
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _finish(self, code: int) -> None:
        run, self._run = self._run, None
        with translated(self._server.where), _bounded(self._server.where):
            run.finish(exit_code=code)


@contextmanager
def _bounded(where: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise RetryableError(f"{where}: the client could not finish the run in time: {error}") from error


def client_settings(options: Options, url: str) -> dict[str, Any]:
    """Return what keeps W&B's client to the run alone, quiet and bounded in time."""
    return {
        "base_url": url, "silent": True, "quiet": True, "console": "off", "disable_git": True, "disable_code": True,
        "save_code": False, "x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True,
        "x_save_requirements": False, "disable_job_creation": True, "init_timeout": options.timeout + 10,
        "login_timeout": options.timeout, "finish_timeout": options.timeout * 3, "finish_timeout_raises": True,
        "x_file_stream_transmit_interval": 1.0,  # whole seconds: less is W&B's 15
        "x_graphql_timeout_seconds": options.timeout,
        "x_graphql_retry_max": 4, "x_graphql_retry_wait_min_seconds": 0.5, "x_graphql_retry_wait_max_seconds": 5.0,
        "x_file_stream_retry_max": 8, "x_file_stream_retry_wait_min_seconds": 0.5,
        "x_file_stream_retry_wait_max_seconds": 5.0, "x_file_stream_timeout_seconds": options.timeout,
        "x_file_transfer_retry_max": 4, "x_file_transfer_retry_wait_min_seconds": 0.5,
        "x_file_transfer_retry_wait_max_seconds": 5.0,
    }  # fmt: skip


def _to_keep(state: State) -> dict[str, Any]:
    builtins = msgspec.to_builtins(state)
    return {name: builtins[name] for name in _IN_CONFIG}


def state_of(held: Held) -> State:
    """Return the state that a server's run shows."""
    about = dict(held.config.get("unitrack") or {})
    kept = {**(about.pop("state", None) or {}), "names": about.get("names") or {}}
    known = {name: kept[name] for name in _IN_CONFIG if name in kept}
    state = msgspec.convert(known, State)
    own = ("id", "project", "name", "group", "parent", "started", "names")
    state.about = {name: value for name, value in about.items() if name not in own}
    state.params = {name: value for name, value in held.config.items() if name not in ("unitrack", "_wandb")}
    progress = _progress(held)
    # Rows and summary may come before a config that is still to come when the client dies.
    state.writers = progress.writers if progress.revision == _revision(held) else progress.sure
    return state


def _rows_of(held: Held | None) -> dict[str, int]:
    """Return the last row of each writer that is there, whatever else of its batch is."""
    if held is None:
        return {}
    found = dict(_progress(held).writers)
    for row in held.tail:
        writer, _, seq = str(row.get(EVENT_KEY, "")).rpartition(":")
        if writer and seq.isdigit():
            found[writer] = max(int(seq), found.get(writer, 0))
    return found


def _progress(held: Held) -> Progress:
    try:
        return msgspec.json.decode(held.summary.get(POSITION_KEY) or "{}", type=Progress)
    except (TypeError, msgspec.DecodeError):
        return Progress()


def _revision(held: Held) -> str:
    return str(((held.config.get("unitrack") or {}).get("state") or {}).get("revision") or "")
