"""Wire a run together: settings, id, journal, captures, dispatcher, and the process's end.

The one place that holds state for the process: the stack of open runs, the innermost of
which is the current one.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack import events
from unitrack._joining import claim, find_unfinished, resumed_writers
from unitrack._run_data import outcome_of
from unitrack._services import SessionServices
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.journal import layout
from unitrack.journal.null import NullWriter
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.model import check_run_id, new_run_id, text
from unitrack.ranks import Launch, read_launch
from unitrack.run import Processor, Run, RunSpec

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.plugins import Plugins

__all__ = ["Mode", "Resume", "attach", "current", "init"]

Mode = Literal["online", "offline", "disabled"]
Resume = Literal["allow", "never", "must", "join", "auto"]


class _Session:
    """The open runs of this process, and what the process's end does to them."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.hooked = False
        self.failure: BaseException | None = None
        self.begun: Counter[str] = Counter()

    def add(self, run: Run) -> None:
        self.runs.append(run)
        if not self.hooked:
            self.hooked = True
            atexit.register(self.end)
            self._watch_exceptions()
            self._watch_sigterm()

    def remove(self, run: Run) -> None:
        if run in self.runs:
            self.runs.remove(run)

    def end(self) -> None:
        """Finish what is open as the interpreter leaves."""
        status, reason = outcome_of(self.failure)
        for run in reversed(list(self.runs)):
            run.finish(status, reason=reason)

    def _watch_exceptions(self) -> None:
        before = sys.excepthook

        def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            self.failure = error
            before(kind, error, trace)

        sys.excepthook = note

    def _watch_sigterm(self) -> None:
        # A handler of the user's own is left alone: it knows what its process should do.
        import signal  # for the handler, too, which must not be the first to import it

        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """Seal the open runs as killed, then die of the signal as the process would have without us."""
        import signal

        try:
            for run in reversed(self.runs):
                run._kill(signal.Signals(number).name)
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_session = _Session()


def current() -> Run:
    """Return the innermost open run of this process. Raises UsageError when there is none."""
    if not _session.runs:
        raise UsageError("there is no open run: call unitrack.init() first")
    return _session.runs[-1]


def init(
    project: str | None = None,
    *,
    name: str | None = None,
    id: str | None = None,
    config: Mapping[str, Any] | Any = None,
    tags: Iterable[str] | None = None,
    group: str | None = None,
    parent: str | Run | None = None,
    resume: Resume | None = None,
    mode: Mode | None = None,
    dir: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    console: bool | None = None,
) -> Run:
    """Begin a run and make it the current one. Its id is durable on disk when this returns.

    An argument wins over `UNITRACK_*` variables, these over `unitrack.toml`. The ranks of a
    distributed job (torchrun, Slurm, Open MPI) join one run, each with a journal of its own.

    Args:
        project: What the run belongs to; by default the folder's name.
        name: A name to show.
        id: The run's id, else a new one. An id that exists is continued, see `resume`.
        config: Parameters: a dict, Namespace, dataclass, nested as you like.
        tags: Words to find it by.
        group: Runs that belong together: folds, seeds.
        parent: The run (or its id) this one is a part of; by default the current run, if one is open.
        resume: What an existing id means: `allow` (default) continues the run, `must` demands that it
            exists, `never` that it doesn't, `join` adds a writer to a live run, `auto` finds the newest
            unfinished run of this project, command line and folder.
        mode: `online` feeds the configured backends, `offline` only writes the journal,
            `disabled` does nothing but check the calls.
        dir: The store, else `.unitrack` (see `unitrack doctor`).
        strict: Raise when something can't be kept, instead of warning and going on.
        console: Keep what the process prints.

    Raises ConfigError, RunExistsError (the id is taken or being written), RunNotFoundError, UsageError.
    A store that can't be written is no error unless `strict`: the run goes to a temporary store, with a warning.
    """
    overrides = {
        "project": project,
        "dir": None if dir is None else os.fspath(dir),
        "mode": mode,
        "strict": strict,
        "console": console,
    }
    settings = _settings({key: value for key, value in overrides.items() if value is not None})
    environment = os.environ
    launch = read_launch(environment)
    store = settings.store
    resume = _resume(resume or environment.get("UNITRACK_RESUME") or "allow")
    run_id = _choose_id(id, environment.get("UNITRACK_RUN_ID"), launch, resume, settings)
    spec = RunSpec(
        id=run_id, project=_project(settings), store=store,
        name=name or environment.get("UNITRACK_NAME"), group=group or environment.get("UNITRACK_GROUP"),
        parent=_parent(parent, run_id, environment),
        tags=tuple(_tags(tags, environment)),
    )  # fmt: skip
    return _begin(spec, settings, launch, resume, config)


def _settings(overrides: Mapping[str, Any]) -> Settings:
    from unitrack.config import load_settings  # 3 ms, paid with the first run

    return load_settings(overrides=overrides)


def _parent(given: str | Run | None, run_id: str, environment: Mapping[str, str]) -> str | None:
    """Return the id of the run this one is a part of: the one given, the launcher's, or the current one."""
    if isinstance(given, Run):
        given = given.id
    elif given is None:
        given = environment.get("UNITRACK_PARENT") or (_session.runs[-1].id if _session.runs else None)
    return None if given is None or given == run_id else check_run_id(given)


def attach(store: str, run_id: str) -> Run:
    """Join a run from another process of the same training (a spawned worker, a Ray task) as one of its writers.

    A process that unpickles the run again and again, as a pool does for each task, joins once.
    """
    return _attach({}, store, run_id)


def _attach(given: dict[str, Any], store: str, run_id: str) -> Run:
    """Join a run with the settings `given` to the `init` that began it."""
    for run in _session.runs:
        if run.id == run_id and run.spec.store == Path(store) and run.status == "running" and run.is_worker:
            return run
    settings = _settings({**given, "dir": store})
    spec = RunSpec(id=check_run_id(run_id), project=_project(settings), store=Path(store))
    processors = _processors(settings, _load_plugins(settings) if settings.processors else None)
    writer: JournalWriter | NullWriter
    if settings.mode == "disabled":
        writer = NullWriter(layout.run_dir(spec.store, spec.id))
    else:
        writer = _open_writer(spec, WriterInfo(run=run_id, role="worker"), settings)
    services = SessionServices(spec.store, _let_go, functools.partial(_attach, given))
    run = Run(spec, writer, services, processors=processors)
    _session.add(run)
    return run


def _begin(spec: RunSpec, settings: Settings, launch: Launch, resume: Resume, config: Any) -> Run:
    writer: JournalWriter | NullWriter
    before: list[str] = []
    if settings.mode == "disabled":
        writer = NullWriter(layout.run_dir(spec.store, spec.id))
    else:
        info = WriterInfo(run=spec.id, rank=launch.rank, world=launch.world)
        writer = _open_writer(spec, info, settings, resume=resume)
        if isinstance(writer, JournalWriter):
            spec = msgspec.structs.replace(spec, store=writer.path.parents[3])
            before = resumed_writers(writer.path)
    try:
        return _start(spec, writer, settings, config, before)
    except BaseException as error:  # wrong use, and errors of `strict`: what has begun must not look alive
        status, reason = outcome_of(error)
        with suppress(OSError):
            writer.seal(status, reason=None if reason is None else text(reason)[:2000])
        raise


def _start(
    spec: RunSpec, writer: JournalWriter | NullWriter, settings: Settings, config: Any, before: list[str]
) -> Run:
    plugins = _load_plugins(settings) if settings.processors else None
    given = {"mode": settings.mode, "strict": settings.strict, "project": spec.project}
    services = SessionServices(spec.store, _let_go, functools.partial(_attach, given))
    run = Run(spec, writer, services, processors=_processors(settings, plugins), params=_earlier_params(spec, before))
    run._append(
        events.RunStarted, project=spec.project, name=_text(spec.name), group=_text(spec.group), parent=spec.parent,
        tags=list(spec.tags), argv=services.redacted(sys.argv), cwd=text(os.getcwd()), resumed=before,
    )  # fmt: skip
    if config is not None:
        run.config.update(config)
    _session.add(run)
    if settings.mode != "disabled":
        services.begin(run, settings, plugins)
    return run


def _open_writer(
    spec: RunSpec, info: WriterInfo, settings: Settings, *, resume: Resume = "join"
) -> JournalWriter | NullWriter:
    """Open the journal in the store, else in a temporary one, else nowhere: training goes on."""
    stores = [spec.store] if settings.strict else [spec.store, None]
    for store in stores:
        try:
            root = store or _temporary_store()
            layout.create_store(root)
            run = layout.run_dir(root, spec.id)
            writer = JournalWriter(run, info, durability=settings.durability, strict=settings.strict)
            claim(run, writer, resume)
            return writer
        except OSError as error:
            if settings.strict:
                raise
            _warn_store(spec, store, error)
    return NullWriter(layout.run_dir(spec.store, spec.id))


def _temporary_store() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="unitrack-"))


def _warn_store(spec: RunSpec, store: Path | None, error: OSError) -> None:
    import tempfile

    if store is None:
        what = f"There is no room for it in {tempfile.gettempdir()} either: nothing of this run is kept"
    else:
        kept = f"{tempfile.gettempdir()}/unitrack-*/runs/{spec.id}"
        what = f"The run is kept in a temporary store instead: look for {kept} and copy it into {store}/runs"
    warnings.warn(f"unitrack can't write to the store {spec.store}: {error}. {what}", UnitrackWarning, stacklevel=5)


def _choose_id(given: str | None, surroundings: str | None, launch: Launch, resume: Resume, settings: Settings) -> str:
    """Return the id that was given, or that a launcher's or the user's variable gives all processes of the job."""
    if given is not None:
        return check_run_id(given)
    if surroundings is not None:
        return _numbered(check_run_id(surroundings))
    if resume == "auto":
        return find_unfinished(settings.store, _project(settings)) or new_run_id()
    if not launch.distributed:
        return new_run_id()
    if launch.job is None:
        raise UsageError(
            f"rank {launch.rank} of {launch.world} can't tell which run it belongs to: pass the same id= to init() "
            "in every rank, or set UNITRACK_RUN_ID for all of them"
        )
    return _numbered(check_run_id("".join(c if c.isalnum() or c in "._-" else "-" for c in launch.job)[:120]))


def _numbered(job: str) -> str:
    """Return the job's id for this process's first run, and a number with it for later ones: the same in all ranks."""
    _session.begun[job] += 1
    count = _session.begun[job]
    return job if count == 1 else f"{job}-{count}"


def _resume(value: str) -> Resume:
    allowed = ("allow", "never", "must", "join", "auto")
    if value not in allowed:
        raise UsageError(f"resume is one of {', '.join(allowed)}, not {value!r}")
    return value  # type: ignore[return-value]  # just checked


def _tags(tags: Iterable[str] | None, environment: Mapping[str, str]) -> list[str]:
    if isinstance(tags, str):
        tags = [tags]
    words = list(tags) if tags is not None else environment.get("UNITRACK_TAGS", "").split(",")
    if not all(isinstance(word, str) for word in words):
        raise TypeError("tags are strings")
    return [text(word.strip()) for word in words if word.strip()]


def _project(settings: Settings) -> str:
    """Return the project that was set, else the name of the folder the settings are for."""
    given = settings.sources.get("project", "default") != "default"
    return text(settings.project if given else settings.root.resolve().name or settings.project)


def _text(value: str | None) -> str | None:
    return None if value is None else text(value)


def _earlier_params(spec: RunSpec, before: list[str]) -> dict[str, Any]:
    """Return the params of the run that is continued, so that `run.config` holds them."""
    if not before:
        return {}
    from unitrack.reader import get_run

    try:
        return dict(get_run(spec.id, dir=spec.store, salvage=True).params)
    except Exception as error:  # a damaged earlier part must not stop the run that continues it
        warnings.warn(f"the earlier params of run {spec.id} can't be read: {error}", UnitrackWarning, stacklevel=5)
        return {}


def _load_plugins(settings: Settings) -> Plugins:
    from unitrack.plugins import load_plugins

    return load_plugins(settings)


def _processors(settings: Settings, plugins: Plugins | None) -> list[Processor]:
    if plugins is None:
        return []
    known = {processor.name: processor for processor in plugins.processors()}
    missing = [name for name in settings.processors if name not in known]
    if missing:
        raise UsageError(
            f"no plugin offers the processor {missing[0]!r}; there are: {', '.join(sorted(known)) or 'none'}"
        )
    return [known[name] for name in settings.processors]


def _let_go(run: Run) -> None:
    _session.remove(run)
