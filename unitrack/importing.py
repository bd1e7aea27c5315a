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

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from unitrack._importing_files import ForeignJournal, clean, place, scratch_folder, standing
from unitrack.backend import Lowering
from unitrack.content import flattened
from unitrack.dispatch.retry import Retrier, RetryPolicy
from unitrack.errors import BackendError, ConfigError, UnitrackError, UsageError
from unitrack.foreign import Counts, ForeignInfo, ForeignRun, Reader
from unitrack.journal import layout
from unitrack.model import check_run_id
from unitrack.objects import ObjectStore
from unitrack.reader import RunView

__all__ = ["ImportReport", "Imported", "Plan", "Progress", "counts_of", "import_runs", "plan_import"]

State = Literal["imported", "skipped", "mismatched", "failed"]

_MOST_FAILED_IN_A_ROW = 3
_MOST_LOWERED = 200
_TOLD_EVERY = 5000


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
    clean(store)
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
            found = standing(layout.run_dir(store, named.id), reader.name, info.origin)
        except UsageError as error:
            yield Plan(run=id_prefix + info.id, info=info, action="refuse", reason=str(error))
            continue
        if found == "whole":
            yield Plan(run=named.id, info=named, action="skip")
            continue
        yield Plan(
            run=named.id, info=named, action="import" if found == "absent" else "replace", expected=run.expected()
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
        found = standing(target, self._reader.name, info.origin)
        if found == "whole":
            return Imported(run=info.id, origin=info.origin, state="skipped")
        with scratch_folder(self._store) as scratch:
            result = self._write(run, info, scratch / info.id)
            if found == "partial":
                os.rename(target, scratch / "before")
            place(scratch / info.id, target)
        return result

    def _write(self, run: ForeignRun, info: ForeignInfo, folder: Path) -> Imported:
        """Write the journal, read it back, and seal it with what was found."""
        with ForeignJournal(folder, info) as journal:
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
