"""Make jobs of commits and seeds, run each in a clean checkout, and judge whether its run is evidence."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import ConfigError, UnitrackError, UsageError
from unitrack.files import write_atomic
from unitrack.journal import layout
from unitrack.journal.seal import verify_run
from unitrack.rerun.checkout import checkout, commit_warnings, dirty_warning, sweep_checkouts
from unitrack.rerun.executors import Executor, Exit, Place, never
from unitrack.rerun.inputs import Inputs, Resolve, pin_inputs
from unitrack.rerun.job import Job, JobResult, fixed_environment
from unitrack.rerun.lock import LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from unitrack.config import Settings, TrainSettings
    from unitrack.reader import RunView
    from unitrack.rerun.git import Repository

__all__ = ["Rerunner", "choose_seeds", "log_tail"]

_TAIL_BYTES = 16 * 1024
_HALVES = ("gate/*/.*.tmp", "rerun/*/.*.tmp", "rerun/core/.making-*", "runs/.*.carried")
_HALF_AGE = 600.0  # seconds


class Rerunner:
    """Runs the `[train]` command of a project at any of its commits, also several jobs at a time from threads.

    `open_run` reads a run of the store by its id, `resolve` knows versions of data. Making one pins the inputs, which
    reads them all; it raises ConfigError without a section `[train]`, EvidenceError for an input that is not there.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        settings: Settings,
        executor: Executor,
        open_run: Callable[[str], RunView],
        environ: Mapping[str, str],
        resolve: Resolve | None = None,
        fresh: bool = False,
    ) -> None:
        self.store = settings.store
        self._train = _train(settings)
        self._repository = repository
        self._project = settings.project
        self._root = settings.root.resolve()
        self._executor = executor
        self._open_run = open_run
        self._allowed = {name: environ[name] for name in self._train.env if name in environ}
        self._fresh = fresh
        sweep_checkouts(repository)
        _sweep_halves(self.store)
        self._fingerprint = executor.fingerprint()
        self._inputs = pin_inputs(repository, self._root, self._train.inputs, resolve or (lambda _: None))
        places = (name for name in self._train.inputs if "://" not in name)
        self._input_paths = tuple(dict.fromkeys((self._root / name).absolute() for name in places))
        self._warnings = _first_warnings(repository, self.store, self._train)
        self._of_commits: dict[str, tuple[str, ...]] = {}
        self._trees: dict[str, str] = {}
        self._checking_out = Lock()
        layout.create_store(self.store)

    @property
    def inputs(self) -> Inputs:
        """The inputs as they were pinned."""
        return self._inputs

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results should know, so far; in an order that no job's end decides."""
        each = (warning for warnings in self._of_commits.values() for warning in warnings)
        return tuple(dict.fromkeys([*self._warnings, *each]))

    def job(self, commit: str, seed: int) -> Job:
        """Return the job that trains a commit (a full id) with a seed."""
        self._of_commits.setdefault(commit, ())
        if commit not in self._trees:
            self._trees[commit] = self._repository.tree(commit)
        return Job(
            commit=commit,
            tree=self._trees[commit],
            folder=self._root.relative_to(self._repository.root.resolve()).as_posix(),
            command=self._train.command,
            seed=seed,
            inputs=self._inputs.digests,
            environment=fixed_environment(seed, self._allowed),
            executor=self._executor.name,
            fingerprint=self._fingerprint,
            timeout=self._train.timeout,
            project=self._project,
        )

    def run(self, job: Job, *, cancelled: Callable[[], bool] = never) -> JobResult:
        """Return the result of an equal job that succeeded before, or run this one. Raises EvidenceError from git.

        Of two equal jobs the second has to be run after the first. `cancelled` is asked whether to stop: then there
        is no evidence, and nothing is remembered.
        """
        known = None if self._fresh else self._known(job)
        if known is not None:
            return msgspec.structs.replace(known, cached=True)
        result = self._run(job, cancelled)
        if not result.ok and cancelled():
            return result
        write_atomic(self._folder(job.key) / "result.json", msgspec.json.encode(result))
        return result

    def log(self, result: JobResult) -> Path:
        """Return where a job's output is."""
        return self.store / result.log

    def _folder(self, key: str) -> Path:
        return self.store / "rerun" / key

    def _known(self, job: Job) -> JobResult | None:
        """Return an earlier result whose run is still whole."""
        try:
            known = msgspec.json.decode((self._folder(job.key) / "result.json").read_bytes(), type=JobResult)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if known.ok and known.key == job.key and self._run_problem(known.run) is None else None

    @contextmanager
    def _checkout(self, commit: str) -> Iterator[Path]:
        """Check a commit out; git's own housekeeping may forget a worktree that another thread begins to make."""
        with ExitStack() as leaving:
            with self._checking_out:
                clean = leaving.enter_context(checkout(self._repository, commit))
                missing = commit_warnings(self._repository, commit, clean)
                self._of_commits[commit] = (*missing, *self._other_lock(commit, clean))
            try:
                yield clean
            finally:
                with self._checking_out:
                    leaving.close()

    def _other_lock(self, commit: str, clean: Path) -> Iterator[str]:
        """Say that a commit was locked to something else than what it is trained with: both sides share that."""
        folder = self._root.relative_to(self._repository.root.resolve())
        there, here = clean / folder / LOCK_FILE, self._root / LOCK_FILE
        if there.is_file() and (not here.is_file() or there.read_bytes() != here.read_bytes()):
            yield f"{commit[:12]}: its {LOCK_FILE} is another than the one here, whose image and inputs are used"

    def _run(self, job: Job, cancelled: Callable[[], bool]) -> JobResult:
        folder = self._folder(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        with self._checkout(job.commit) as clean:
            work = clean / job.folder
            place = Place(
                checkout=clean,
                folder=work,
                store=self.store,
                run=self._free_run_id(job),
                log=folder / "output.log",
                inputs=self._input_paths,
                cancelled=cancelled,
            )
            if work.is_dir():
                self._inputs.link_into(work)
                ended = self._executor.run(job, place)
            else:
                ended = Exit(code=None, seconds=0.0, problem=f"commit {job.commit[:12]} has no folder {job.folder}")
        problem = self._problem(ended, place.run)
        if problem is not None:  # it may be why
            problem = "; ".join((problem, *self._of_commits[job.commit]))
        return JobResult(
            key=job.key,
            commit=job.commit,
            seed=job.seed,
            ok=problem is None,
            run=place.run,
            seconds=round(ended.seconds, 3),
            log=place.log.relative_to(self.store).as_posix(),
            exit_code=ended.code,
            reason=problem,
            image=ended.image,
            hardware=ended.hardware,
        )

    def _free_run_id(self, job: Job) -> str:
        """Return an id that tells the job; a repeated or broken job's earlier runs keep theirs."""
        first = f"rerun-{job.key[:16]}"
        attempt, run = 1, first
        while layout.run_dir(self.store, run).exists():
            attempt += 1
            run = f"{first}-{attempt}"
        return run

    def _problem(self, ended: Exit, run: str) -> str | None:
        """Say why a job's run is no evidence, or return None if it is."""
        if ended.problem is not None:
            return ended.problem
        if ended.code != 0:
            return f"it ended with {_code_words(ended.code)}"
        touched = self._inputs.changed()
        if touched:
            return f"the training wrote to its inputs ({', '.join(touched[:3])}): let it write elsewhere"
        return self._run_problem(run)

    def _run_problem(self, run: str) -> str | None:
        folder = layout.run_dir(self.store, run)
        if not layout.journals(folder):
            return "it logged no run: the training has to call unitrack.init(), without an id of its own"
        report = verify_run(folder)
        if not report.ok:
            return next(f"{each.path.name}: {each.problems[0]}" for each in report.journals if each.problems)
        try:
            view = self._open_run(run)
        except UnitrackError as error:
            return f"its run can't be read: {error}"
        if view.status != "finished":
            return f"its run is {view.status}, not finished: {view.reason or 'the training ended without finish()'}"
        lost = sum(writer.lost for writer in view.writers)
        return f"its run lost {lost} events, see `unitrack show {run}`" if lost else None


def choose_seeds(train: TrainSettings, count: int | None) -> tuple[int, ...]:
    """Return the first `count` seeds of `[train]`, all of them for None, going on from the largest if it has fewer.

    Raises ConfigError for a seed that is listed twice.
    """
    if len(set(train.seeds)) != len(train.seeds):
        raise ConfigError("[train].seeds names a seed twice: two equal trainings are one", key="train.seeds")
    if count is None:
        return train.seeds
    if count < 1:
        raise UsageError(f"{count} seeds can't be run: use 1 or more, 5 to decide anything")
    top = max(train.seeds)
    return (*train.seeds, *range(top + 1, top + 1 + count))[:count]


def log_tail(path: Path, lines: int = 20) -> tuple[str, ...]:
    """Return the last lines of a job's output; none if there is no log."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    return ()


def _train(settings: Settings) -> TrainSettings:
    if settings.train is None:
        raise ConfigError(
            'there is no section [train]: say how to train: command = ["python", "train.py", "--seed", "{seed}"]',
            file=None if settings.file is None else str(settings.file),
            key="train",
        )
    return settings.train


def _first_warnings(repository: Repository, store: Path, train: TrainSettings) -> Sequence[str]:
    found = []
    dirty = dirty_warning(repository, store)
    if dirty is not None:
        found.append(dirty)
    if not any("{seed}" in part for part in train.command):
        found.append("[train].command has no {seed}: unless the training reads UNITRACK_SEED, all seeds are alike")
    return found


def _sweep_halves(store: Path) -> None:
    """Remove files that a killed process had begun to write; nobody takes so long to finish one."""
    for pattern in _HALVES:
        for path in store.glob(pattern):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime < _HALF_AGE:
                    continue
                path.unlink() if path.is_file() else shutil.rmtree(path)


def _code_words(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"signal {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")
    return f"exit code {code}"
