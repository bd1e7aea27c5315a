"""What the session does for a run beside training: captures, console, plugins, dispatcher, look-ups."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack import events
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.model import text
from unitrack.run import Found, Run

if TYPE_CHECKING:
    from unitrack.capture.console import ConsoleCapture
    from unitrack.config import Settings
    from unitrack.plugins import Plugins
    from unitrack.reader import RunView

__all__ = ["SessionServices"]

_CAPTURE_SECONDS = 5.0


class SessionServices:
    """Serve one run. What takes time goes on in a thread of its own, so `init()` doesn't wait."""

    def __init__(self, store: Path, let_go: Callable[[Run], None], attach: Callable[[str, str], Run]) -> None:
        self._store = store
        self._let_go = let_go
        self._attach = attach
        self._background: threading.Thread | None = None
        self._console: ConsoleCapture | None = None
        self._plugins: Plugins | None = None
        self._backends: tuple[str, ...] = ()

    # -- beginning -------------------------------------------------------------------------------

    def begin(self, run: Run, settings: Settings, plugins: Plugins | None) -> None:
        """Start what goes on beside training."""
        self._plugins = plugins
        if settings.console:
            self._start_console(run)
        if settings.mode == "online" and settings.backends and settings.dispatch == "auto":
            self._backends = tuple(settings.backends)
        self._background = threading.Thread(
            target=self._work, args=(run, settings), name="unitrack-captures", daemon=True
        )
        self._background.start()

    def _work(self, run: Run, settings: Settings) -> None:
        try:
            if self._backends:
                from unitrack.dispatch.background import start_background

                start_background(run.spec.store, run.id)
            if self._plugins is None:
                from unitrack.plugins import load_plugins

                self._plugins = load_plugins(settings)
            for collector in self._plugins.collectors():
                if collector.name in settings.capture:
                    _collect(run, collector)
            self._plugins.notify("unitrack_run_started", run_id=run.id, folder=run.path)
        except UsageError:
            return  # the run ended while this was under way
        except Exception as error:  # nothing beside training may disturb it
            warnings.warn(
                f"unitrack could not capture the surroundings of run {run.id}: {error!r}", UnitrackWarning, stacklevel=1
            )

    def _start_console(self, run: Run) -> None:
        from unitrack.capture.console import ConsoleCapture

        def keep(stream: Any, printed: str) -> None:
            run._append(events.Console, stream=stream, text=text(printed))

        self._console = ConsoleCapture(keep)
        self._console.start()

    # -- the end ---------------------------------------------------------------------------------

    def closing(self, run: Run) -> None:
        """Wait a little for the captures and take what was printed."""
        if self._background is not None and self._background is not threading.current_thread():
            self._background.join(_CAPTURE_SECONDS)
        if self._console is not None:
            self._console.stop()

    def finished(self, run: Run, status: events.FinalStatus, timeout: float | None) -> None:
        """Let go of the run, tell the plugins, and wait for the trackers as long as was asked."""
        self._let_go(run)
        if self._plugins is not None:
            self._plugins.notify("unitrack_run_finished", run_id=run.id, folder=run.path, status=status)
        if self._backends and timeout is not None:
            from unitrack.dispatch.background import wait_until_sent

            pending = wait_until_sent(run.path, self._backends, timeout)
            if pending:
                warnings.warn(
                    f"run {run.id}: {', '.join(pending)} did not take everything within {timeout:g} s. The rest is "
                    f"safe in the journal and is being sent in the background; `unitrack sync {run.id}` sends it now",
                    UnitrackWarning,
                    stacklevel=4,
                )

    # -- look-ups --------------------------------------------------------------------------------

    def attach(self) -> Callable[[str, str], Run]:
        return self._attach

    def redacted(self, words: Iterable[str]) -> list[str]:
        """Return a command line without secrets."""
        from unitrack.capture.redact import redact_words

        return redact_words(text(word) for word in words)

    def find_artifact(self, reference: str) -> Found:
        """Resolve `RUN/NAME`, or `NAME`: the newest of that name in the store."""
        from unitrack.reader import get_run, runs

        run_id, _, name = reference.partition("/")
        views = (
            [get_run(run_id, dir=self._store)]
            if name and (self._store / "runs" / run_id).is_dir()
            else runs(dir=self._store)
        )
        wanted = name if len(views) == 1 and name else reference
        for view in views:
            found = _artifact_of(view, wanted)
            if found is not None:
                return found
        raise UsageError(f"no run in {self._store} has logged an artifact {reference!r}")

    def find_model(self, reference: str) -> Found:
        """Resolve `NAME@ALIAS` or `NAME:VERSION` in the local registry."""
        from unitrack.journal.layout import registry_dir
        from unitrack.reader import get_run
        from unitrack.registry import Registry

        version = Registry(registry_dir(self._store)).get(reference)
        if version.digest is None:
            raise UsageError(f"{reference} was registered without a model artifact: register it with --artifact")
        tree, size = False, None
        for artifact in get_run(version.run, dir=self._store).artifacts:
            if artifact.digest == version.digest:
                tree, size = artifact.tree, artifact.size
        return Found(
            name=version.artifact or version.name, kind="model", digest=version.digest, size=size, tree=tree,
            origin=f"{version.name}:{version.version}",
        )  # fmt: skip

    def dataset_version(self, uri: str) -> tuple[str, str | None] | None:
        """Ask the resolvers of data versions, in order; one that fails is told and passed over."""
        if self._background is not None:
            self._background.join(_CAPTURE_SECONDS)  # it loads the plugins
        for resolver in self._plugins.dataset_resolvers() if self._plugins is not None else ():
            try:
                found = resolver.resolve(uri)
            except Exception as error:
                warnings.warn(f"resolver {resolver.name!r} failed on {uri}: {error!r}", UnitrackWarning, stacklevel=4)
                continue
            if found is not None:
                return found.version, found.digest
        return None


def _artifact_of(view: RunView, name: str) -> Found | None:
    for artifact in reversed(view.artifacts):
        if artifact.name == name and artifact.digest is not None and artifact.use == "output" and artifact.uri is None:
            return Found(
                name=artifact.name, kind=artifact.kind, digest=artifact.digest, size=artifact.size, tree=artifact.tree,
                origin=f"{view.id}/{artifact.name}",
            )  # fmt: skip
    return None


def _collect(run: Run, collector: Any) -> None:
    try:
        values = dict(collector.collect() or {})
    except Exception as error:  # one collector's fault costs its own entry
        values = {"error": repr(error)}
    if values:
        run.capture(collector.name, values)
