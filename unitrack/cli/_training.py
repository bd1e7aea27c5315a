"""What `rerun` and `gate` share: the rerunner of this project, and progress while jobs train."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from unitrack.capture.hardware import HardwareCollector
from unitrack.capture.redact import redact
from unitrack.cli._output import note, text_of
from unitrack.cli._watch import watched_over
from unitrack.errors import EvidenceError, PluginError, UsageError
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.rerun.executors.process import ProcessExecutor
from unitrack.rerun.inputs import pin_inputs
from unitrack.rerun.lock import LOCK_FILE, observe, read_lock, refuse_drift
from unitrack.rerun.runner import Rerunner
from unitrack.rerun.scheduler import how_many

if TYPE_CHECKING:
    from unitrack.config import Settings, TrainSettings
    from unitrack.plugins import Plugins
    from unitrack.rerun.executors import Executor
    from unitrack.rerun.git import Repository
    from unitrack.rerun.inputs import Resolve
    from unitrack.rerun.lock import Lock

__all__ = [
    "further_inputs",
    "jobs_option",
    "limit_of",
    "make_executor",
    "make_rerunner",
    "stopped_in_order",
    "versions_of",
    "warn_of",
]

_WATCHED = "unitrack.cli._training.watched"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def jobs_option(command: _Command) -> _Command:
    """Add `--jobs N` to a command."""
    words = "How many to train at a time; [train].jobs, or as many containers as fit."
    return click.option("--jobs", type=click.IntRange(min=1), metavar="N", help=words)(command)


def limit_of(train: TrainSettings, jobs: int | None) -> int:
    """Return how many jobs may run at a time: as asked, as the settings say, or as fit into this machine."""
    return jobs or train.jobs or how_many(train, HardwareCollector().collect())


def versions_of(plugins: Plugins) -> Resolve:
    """Return what asks the plugins for versions of data. A resolver that fails is an EvidenceError."""
    resolvers = plugins.dataset_resolvers()

    def resolve(uri: str) -> tuple[str, str] | None:
        for resolver in resolvers:
            try:
                found = resolver.resolve(uri)
            except Exception as error:
                words = redact(f"{uri}: {resolver.name} can't tell its version: {error}")
                raise EvidenceError(f"[train].inputs: {words}") from error
            if found is not None:
                return resolver.name, found.version
        return None

    return resolve


def make_executor(settings: Settings) -> Executor:
    """Open the executor that `[train]` names; PluginError if nothing of that name is installed.

    An image that the settings name by a tag is the one that `unitrack.lock` has for it.
    """
    if settings.train is None:
        return ProcessExecutor()  # Rerunner says what is missing
    train = _with_locked_image(settings.train, read_lock(settings.root))
    name = train.executor or ("process" if train.container is None else "container")
    plugins = load_plugins(settings)
    found = plugins.named("executors")
    if name not in found:
        known = ", ".join(sorted(found))
        message = f"[train].executor: no executor {name!r} can be used in this Python, found: {known}"
        raise PluginError(". ".join([*map(str, plugins.problems), message]))
    opened: Executor = found[name].open(train, store=settings.store)
    return opened


def _with_locked_image(train: TrainSettings, lock: Lock | None) -> TrainSettings:
    container, image = train.container, None if lock is None else lock.image
    if container is None or image is None or image.asked != container.image:
        return train
    return msgspec.structs.replace(train, container=msgspec.structs.replace(container, image=image.pinned))


def make_rerunner(repository: Repository, settings: Settings, *, fresh: bool) -> Rerunner:
    """Return what trains commits of this project, with the executor of its settings.

    From here to the end of the command it is watched over: if it is killed, nothing of it is left. Raises
    EvidenceError if the project is not what its `unitrack.lock` says.
    """
    context = click.get_current_context()
    if _WATCHED not in context.meta:
        context.meta[_WATCHED] = True
        context.with_resource(watched_over(settings))
    resolve = versions_of(load_plugins(settings))
    made = Rerunner(
        repository=repository,
        settings=settings,
        executor=make_executor(settings),
        open_run=lambda run: get_run(run, dir=settings.store),
        environ=os.environ,
        resolve=resolve,
        fresh=fresh,
    )
    lock = read_lock(settings.root)
    _refuse_other_lock(repository, settings.root)
    if lock is not None:
        evaluated = pin_inputs(repository, settings.root.resolve(), further_inputs(settings), resolve)
        now = observe(settings, inputs=(*made.inputs.pinned, *evaluated.pinned), known=lock)
        refuse_drift(lock, now, settings.root)
    return made


def _refuse_other_lock(repository: Repository, root: Path) -> None:
    """Raise EvidenceError if the lock here is not the one that is committed, or was removed."""
    path = root / LOCK_FILE
    try:
        committed = repository.text("HEAD", path.resolve().relative_to(repository.root.resolve()).as_posix())
    except UsageError:
        return
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != committed:
        raise EvidenceError(f"{path} is not the one that is committed: commit it, or `git checkout -- {LOCK_FILE}`")


def further_inputs(settings: Settings) -> tuple[str, ...]:
    """Return the inputs of `[evaluate]` that `[train]` does not name."""
    trained = settings.train.inputs if settings.train else ()
    return tuple(name for name in (settings.evaluate.inputs if settings.evaluate else ()) if name not in trained)


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Let SIGTERM, as CI systems send it, unwind like Ctrl-C: jobs are ended and checkouts removed."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def warn_of(warnings: tuple[str, ...]) -> None:
    """Show warnings on stderr."""
    for warning in warnings:
        note(f"unitrack: warning: {text_of(warning)}")
