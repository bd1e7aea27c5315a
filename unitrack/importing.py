"""Turn runs of another system into runs of ours: each written whole, checked, and named at the end.

    from unitrack.importing import import_runs
    from unitrack.plugins import load_plugins

    reader = load_plugins().named("readers")["mlflow"]
    report = import_runs(reader, "sqlite:///mlflow.db", Path(".unitrack"))

A run appears in the store by one rename, so a crash leaves a scratch folder and nothing half-written; the
next import removes it. What is there already from the same origin is skipped, so an import may be
run again, after a kill too.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from unitrack.backend import Lowering
from unitrack.content import IMPORT, flattened
from unitrack.dispatch.retry import Retrier, RetryPolicy
from unitrack.errors import BackendError, ConfigError, RunExistsError, UnitrackError, UsageError
from unitrack.events import SCHEMA_VERSION, Capture, Event, Metrics, RunStarted, Status, System, Unknown, WriterStarted
from unitrack.files import sync_directory
from unitrack.foreign import Counts, ForeignInfo, ForeignRun, Reader
from unitrack.journal import _lock, layout
from unitrack.journal.codec import decode_line, encode_line
from unitrack.model import check_run_id, metric_value
from unitrack.objects import ObjectStore
from unitrack.reader import RunView

__all__ = ["ImportReport", "Imported", "Plan", "Progress", "counts_of", "import_runs", "plan_import"]

State = Literal["imported", "skipped", "mismatched", "failed"]

_SCRATCH = ".importing"
_MOST_FAILED_IN_A_ROW = 3
_MOST_LOWERED = 200
_TOLD_EVERY = 5000
_TAIL = 1 << 18


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is: runs done with, and the run under way with the events written of it."""

    done: int
    run: str
    events: int = 0
    waiting: str | None = None
    """Why the source is asked again later."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one foreign run.

    `mismatched` runs are in the store, but hold something else than the source said (`counts`, `expected`);
    the next import writes them anew.
    """

    run: str
    origin: str
    state: State
    counts: Counts = Counts()
    expected: Counts = Counts()
    lowered: tuple[Lowering, ...] = ()
    reason: str | None = None


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. `error` is what stopped it before the source's end."""

    runs: tuple[Imported, ...] = ()
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Everything the source has is in the store, as counted."""
        return self.error is None and all(each.state in ("imported", "skipped") for each in self.runs)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an import would do about one foreign run: `import`, `skip`, `replace` or `refuse` it, and why."""

    run: str
    info: ForeignInfo
    action: Literal["import", "skip", "replace", "refuse"]
    expected: Counts = Counts()
    reason: str | None = None


# -- all runs ------------------------------------------------------------------------------------


def import_runs(
    reader: Reader,
    source: str,
    store: Path,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _progress: None,
    *,
    project: str | None = None,
    id_prefix: str = "",
    patience: float = 60.0,
) -> ImportReport:
    """Import the runs of `source` into the store and return what became of each.

    A run is skipped if it is there already, whole and from the same origin. A run that still goes on is imported
    as far as it goes, ends as `killed`, and is written anew by the next import. One run that fails
    costs no other; three in a row that the source can't give end the import.

    Args:
        reader: What reads the source, see `unitrack.foreign`.
        source: A URI or a path.
        store: The folder of the store; made if it isn't there.
        options: The reader's own.
        progress: Is told how far it is.
        project: Puts all runs into this project instead of the source's.
        id_prefix: Goes in front of every id, for ids that are taken.
        patience: Seconds a source may fail before a run is given up.

    Raises ConfigError for an option the reader doesn't know; OSError when the store can't be written.
    """
    layout.create_store(store)
    _clean(store)
    work = _Work(reader, source, store, progress, names=_Names(project, id_prefix), patience=patience)
    error = None
    try:
        for run in reader.runs(source, dict(options or {})):
            work.take(run)
            if work.failed_in_a_row >= _MOST_FAILED_IN_A_ROW:
                error = f"{_MOST_FAILED_IN_A_ROW} runs in a row could not be read: {work.results[-1].reason}"
                break
    except BackendError as stopped:
        error = str(stopped)
    return ImportReport(runs=tuple(work.results), error=error)


def plan_import(
    reader: Reader,
    source: str,
    store: Path,
    options: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
    id_prefix: str = "",
) -> Iterator[Plan]:
    """Yield what `import_runs` would do, without writing anything. Raises as the reader does."""
    names = _Names(project, id_prefix)
    for run in reader.runs(source, dict(options or {})):
        info = run.info
        try:
            named = names.ours(info)
            standing = _standing(layout.run_dir(store, named.id), reader.name, info.origin)
        except UsageError as error:
            yield Plan(run=id_prefix + info.id, info=info, action="refuse", reason=str(error))
            continue
        if standing == "whole":
            yield Plan(run=named.id, info=named, action="skip")
            continue
        yield Plan(
            run=named.id, info=named, action="import" if standing == "absent" else "replace", expected=run.expected()
        )


class _Names:
    """Which run a foreign one becomes. Parents come first, so a parent that was seen gets the prefix, too."""

    def __init__(self, project: str | None, prefix: str) -> None:
        self._project, self._prefix = project, prefix
        self._seen: set[str] = set()

    def ours(self, info: ForeignInfo) -> ForeignInfo:
        self._seen.add(info.id)
        parent = f"{self._prefix}{info.parent}" if info.parent in self._seen else info.parent
        run_id = check_run_id(self._prefix + info.id)
        return msgspec.structs.replace(info, id=run_id, parent=parent, project=self._project or info.project)


class _Work:
    """One import on its way."""

    def __init__(
        self,
        reader: Reader,
        source: str,
        store: Path,
        progress: Callable[[Progress], None],
        *,
        names: _Names,
        patience: float,
    ) -> None:
        self.results: list[Imported] = []
        self.failed_in_a_row = 0
        self._reader, self._store, self._progress = reader, store, progress
        self._mark = {"reader": reader.name, "source": _without_credentials(source)}
        self._names = names
        self._objects = ObjectStore(layout.objects_dir(store))
        self._retrier = Retrier(RetryPolicy(patience=patience), told=self._waiting)
        self._run = ""

    def take(self, run: ForeignRun) -> None:
        """Import one run, or note why not."""
        info = run.info
        self._run = info.id
        self._progress(Progress(done=len(self.results), run=self._run))
        try:
            result = self._retrier.call(lambda: self._import(run))
            self.failed_in_a_row = 0
        except ConfigError:
            raise
        except Exception as error:  # a reader is foreign code, and each run has its own chance
            self.failed_in_a_row += isinstance(error, BackendError)
            reason = str(error) if isinstance(error, UnitrackError) else f"{type(error).__name__}: {error}"
            result = Imported(run=info.id, origin=info.origin, state="failed", reason=reason)
        self.results.append(result)

    def _import(self, run: ForeignRun) -> Imported:
        info = self._names.ours(run.info)
        target = layout.run_dir(self._store, info.id)
        standing = _standing(target, self._reader.name, info.origin)
        if standing == "whole":
            return Imported(run=info.id, origin=info.origin, state="skipped")
        with _scratch(self._store) as scratch:
            result = self._write(run, info, scratch / info.id)
            if standing == "partial":
                os.rename(target, scratch / "before")
            _place(scratch / info.id, target)
        return result

    def _write(self, run: ForeignRun, info: ForeignInfo, folder: Path) -> Imported:
        """Write the journal, read it back, and seal it with what was found."""
        with _Journal(folder, info) as journal:
            for event in run.events(self._objects):
                journal.put(event)
                if journal.seq % _TOLD_EVERY == 0:
                    self._progress(Progress(done=len(self.results), run=self._run, events=journal.seq))
            counts, expected = counts_of(RunView(journal.flushed())), run.expected()
            result = Imported(
                run=info.id, origin=info.origin, state="imported" if counts == expected else "mismatched",
                counts=counts, expected=expected, lowered=run.lowered, reason=_mismatch(counts, expected),
            )  # fmt: skip
            journal.seal(info, {**self._mark, **_account(result, goes_on=info.status is None)})
        return result

    def _waiting(self, reason: str, _seconds: float) -> None:
        self._progress(Progress(done=len(self.results), run=self._run, waiting=reason))


def counts_of(view: RunView) -> Counts:
    """Return how much a run of ours holds. Raises JournalError."""
    return Counts(
        params=len(flattened(view.params)),
        points=sum(metric.count for metric in view.metrics.values()),
        tags=len(view.tags) + len(view.tag_values),
        artifacts=len(view.artifacts),
        media=len(view.media),
    )


def _mismatch(counts: Counts, expected: Counts) -> str | None:
    pairs = [(name, getattr(counts, name), getattr(expected, name)) for name in counts.__struct_fields__]
    told = [f"{found:,} {name} of {wanted:,}" for name, found, wanted in pairs if found != wanted]
    return f"the source says otherwise: {', '.join(told)} were read" if told else None


def _account(result: Imported, *, goes_on: bool) -> dict[str, Any]:
    """Return what the journal keeps of its import; `complete` decides whether it is skipped next time."""
    return {
        "origin": result.origin,
        "imported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "complete": result.state == "imported" and not goes_on,
        "counts": msgspec.to_builtins(result.counts),
        "expected": msgspec.to_builtins(result.expected),
        "lowered": [msgspec.to_builtins(each) for each in result.lowered[:_MOST_LOWERED]],
    }


def _without_credentials(source: str) -> str:
    """Leave user and password out of a URI."""
    if "@" not in source or "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# -- what is there already -----------------------------------------------------------------------


def _standing(folder: Path, reader: str, origin: str) -> Literal["absent", "whole", "partial"]:
    """Tell what the store has of a foreign run. Raises RunExistsError if the id is another run's."""
    journals = layout.journals(folder)
    if not journals:
        return "absent"
    for journal in journals:
        mark = _import_mark(journal)
        if mark is not None and (mark.get("reader"), mark.get("origin")) == (reader, origin):
            # A run that somebody went on with is theirs, whatever the source says by now.
            return "whole" if mark.get("complete") or len(journals) > 1 else "partial"
    raise RunExistsError(
        f"the store has a run {folder.name} that isn't from {origin}: if that is another run, import this one "
        "under another id with --id-prefix"
    )


def _import_mark(journal: Path) -> dict[str, Any] | None:
    """Return the account that stands before the seal of an imported journal."""
    with journal.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        lines = file.read().splitlines()[-2:]
    try:
        found = [decode_line(line) for line in lines]
    except ValueError:
        return None
    capture = found[0] if len(found) == 2 and isinstance(found[1], Status) else None
    return capture.values if isinstance(capture, Capture) and capture.name == IMPORT else None


# -- the scratch folder --------------------------------------------------------------------------


@contextmanager
def _scratch(store: Path) -> Iterator[Path]:
    """Make a folder in the store that is removed in the end; its lock file tells that it is in use."""
    root = store / _SCRATCH
    root.mkdir(exist_ok=True)
    lock = root / f"{os.urandom(8).hex()}.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    folder = lock.with_suffix("")
    try:
        _lock.try_acquire(handle)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _clean(store: Path) -> None:
    """Remove what imports left that were killed."""
    for lock in (store / _SCRATCH).glob("*.lock"):
        try:
            if time.time() - lock.stat().st_mtime < 1.0 or _lock.is_held(lock) is not False:
                continue  # just made, in use, or on a file system that can't tell
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
        except OSError:
            continue  # another import was quicker


def _place(folder: Path, target: Path) -> None:
    """Give a written run its place, durably. Raises OSError; RunExistsError if somebody was quicker."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder, target)
    except OSError as error:
        if layout.journals(target):
            raise RunExistsError(f"run {target.name} was begun by somebody else meanwhile: import again") from error
        raise
    sync_directory(target.parent)


class _Journal:
    """Writes a whole journal with times of the source's own."""

    def __init__(self, folder: Path, info: ForeignInfo) -> None:
        self.seq = 0
        self._folder = folder
        self._last = info.started
        self._digest = hashlib.sha256()
        writer = layout.new_writer_id()
        self._path = layout.journal_dir(folder) / f"{writer}.jsonl"
        self._path.parent.mkdir(parents=True)
        self._file: BinaryIO = self._path.open("xb", buffering=1 << 20)
        started = info.started
        self.put(WriterStarted(
            seq=1, time=started, schema=SCHEMA_VERSION, run=info.id, writer=writer, host=layout.hostname(),
            pid=os.getpid(), started=started, boot=layout.boot_id(),
        ))  # fmt: skip
        self.put(RunStarted(
            seq=2, time=started, project=info.project, name=info.name, group=info.group, parent=info.parent,
            tags=list(info.tags), argv=list(info.argv),
        ))  # fmt: skip

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def put(self, event: Event) -> None:
        """Write an event under the next `seq`."""
        self.seq += 1
        event.seq = self.seq
        if isinstance(event, Unknown):
            event.raw["seq"] = self.seq
        elif isinstance(event, (Metrics, System)):
            event.values = _spelled(event.values)
        self._last = max(self._last, event.time)
        line = encode_line(event)
        self._digest.update(line)
        self._file.write(line)

    def flushed(self) -> Path:
        """Return the run's folder, in which all that was put can be read."""
        self._file.flush()
        return self._folder

    def seal(self, info: ForeignInfo, account: Mapping[str, Any]) -> None:
        """Write the account and the status, durably."""
        ended = self._last if info.ended is None else info.ended
        self.put(Capture(seq=0, time=ended, name=IMPORT, values=dict(account)))
        goes_on = f"it still ran when it was imported from {info.origin}" if info.status is None else None
        self.put(Status(
            seq=0, time=ended, status=info.status or "killed", events=self.seq + 1, sha256=self._digest.hexdigest(),
            reason=goes_on or info.reason,
        ))  # fmt: skip
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_directory(self._path.parent)


def _spelled(values: dict[str, Any]) -> dict[str, Any]:
    """Spell non-finite numbers, which JSON has no word for."""
    if all(type(value) in (int, float) and math.isfinite(value) for value in values.values()):
        return values
    return {name: value if isinstance(value, str) else metric_value(value) for name, value in values.items()}
