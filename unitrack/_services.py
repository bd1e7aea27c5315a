"""What the session does for a run beside training: captures, console, plugins, dispatcher, look-ups."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack import events
from unitrack._run_datasets import Version
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.model import plain, text
from unitrack.ranks import read_launch
from unitrack.run import Found, Run

if TYPE_CHECKING:
    from unitrack.capture.beside import Captures
    from unitrack.capture.console import ConsoleCapture
    from unitrack.config import Settings
    from unitrack.plugins import Plugins
    from unitrack.reader import RunView

__all__ = ["SessionServices"]

_CAPTURE_SECONDS = 5.0


class SessionServices:
    """Serve one run. What takes time goes on in processes of their own, so that neither `init()` nor training waits."""

    def __init__(self, store: Path, let_go: Callable[[Run], None], attach: Callable[[str, str], Run]) -> None:
        self._store = store
        self._let_go = let_go
        self._attach = attach
        self._begun = False
        self._captures: Captures | None = None
        self._console: ConsoleCapture | None = None
        self._plugins: Plugins | None = None
        self._settings: Settings | None = None
        self._backends: tuple[str, ...] = ()

    # -- beginning -------------------------------------------------------------------------------

    def begin(self, run: Run, settings: Settings, plugins: Plugins | None) -> None:
        """Start what goes on beside training."""
        self._begun, self._plugins, self._settings = True, plugins, settings
        if settings.console:
            self._start_console(run)
        if settings.mode == "online" and settings.backends and settings.dispatch == "auto":
            from unitrack.dispatch.background import start_background

            self._backends = tuple(settings.backends)
            start_background(run.spec.store, run.id)
        self._start_captures(run, settings)

    def _start_captures(self, run: Run, settings: Settings) -> None:
        from unitrack.capture.beside import start_captures
        from unitrack.capture.messages import Captured, Job, Sampled
        from unitrack.capture.source import script_path

        def keep(found: Captured | Sampled) -> None:
            if isinstance(found, Sampled):
                run._append(events.System, dict(found.values))
                return
            for file in found.files:
                run._append(events.Artifact, name=file.name, kind="source", digest=file.digest, size=file.size)
            run._append(events.Capture, name=found.name, values=found.values)

        if "seeds" in settings.capture:
            self._capture_seeds(run)
        # One sampler a machine is enough.
        seconds = 0.0 if read_launch(os.environ).local_rank else settings.system_metrics
        job = Job(
            run=run.id, folder=os.path.abspath(run.path), collectors=settings.capture,
            script=script_path(sys.modules.get("__main__")), seconds=seconds,
        )  # fmt: skip
        self._captures = start_captures(job, keep)

    def _capture_seeds(self, run: Run) -> None:
        from unitrack.capture.seeds import seeds_at_start

        run._append(events.Capture, name="seeds", values=self.redacted_tree(seeds_at_start(sys.modules, os.environ)))

    def _capture_the_end(self, run: Run, names: tuple[str, ...]) -> None:
        """Record the switches as training left them, and a notebook's cells."""
        if "seeds" in names:
            from unitrack.capture.seeds import seeds_at_end

            if found := seeds_at_end(sys.modules):
                run._append(events.Capture, name="seeds", values=plain(found))
        if "source" in names and "IPython" in sys.modules:
            from unitrack.capture.source import notebook_cells

            about, cells = notebook_cells(sys.modules, os.environ)
            if about:
                run._append(events.Capture, name="source", values=plain(about))
            if cells is not None:
                data = self.redact(text(cells)).encode()
                run._store_bytes(data, "source/source/notebook.py", {"kind": "source"})

    def _start_console(self, run: Run) -> None:
        from unitrack.capture.console import ConsoleCapture

        def keep(stream: Any, printed: str) -> None:
            run._append(events.Console, stream=stream, text=text(printed))

        self._console = ConsoleCapture(keep)
        self._console.start()

    # -- the end ---------------------------------------------------------------------------------

    def closing(self, run: Run) -> None:
        """Wait a little for the captures and take what was printed."""
        if self._begun and self._settings is not None:
            self._capture_the_end(run, self._settings.capture)
        if self._captures is not None:
            self._captures.finish(_CAPTURE_SECONDS)
        if self._console is not None:
            self._console.stop()

    def finished(self, run: Run, status: events.FinalStatus, timeout: float | None) -> None:
        """Let go of the run, tell the plugins, and wait for the trackers as long as was asked."""
        self._let_go(run)
        for plugins in self._plugins_with("unitrack_run_finished"):
            plugins.notify("unitrack_run_finished", run_id=run.id, folder=run.path, status=status)
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
        if self._backends and not read_launch(os.environ).rank:
            from unitrack.dispatch.background import tell_last_words

            tell_last_words(run.path, self._backends, waited=timeout is not None)

    def _plugins_with(self, hook: str) -> list[Plugins]:
        """Return the plugins, loaded now if need be, unless none has `hook`: they cost training a tenth of a second."""
        if not self._begun or (self._captures is not None and not self._captures.may_have(hook, _CAPTURE_SECONDS)):
            return []
        return self._loaded()

    def _loaded(self) -> list[Plugins]:
        try:
            if self._plugins is None:
                from unitrack.plugins import load_plugins

                self._plugins = load_plugins()
            return [self._plugins]
        except Exception as error:  # plugins must not disturb training
            warnings.warn(f"unitrack can't load its plugins: {error!r}", UnitrackWarning, stacklevel=5)
            return []

    # -- look-ups --------------------------------------------------------------------------------

    def attach(self) -> Callable[[str, str], Run]:
        return self._attach

    def redacted(self, words: Iterable[str]) -> list[str]:
        """Return a command line without secrets."""
        from unitrack.capture.redact import redact_words

        return redact_words(text(word) for word in words)

    def redact(self, words: str) -> str:
        """Return a text without secrets."""
        from unitrack.capture.redact import redact

        return redact(words)

    def redacted_tree(self, values: Any) -> Any:
        """Return parameters without secrets."""
        from unitrack.capture.redact import redact_tree

        return redact_tree(values)

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
        """Resolve `NAME@ALIAS` or `NAME:VERSION` in the registry of the settings."""
        from unitrack.config import load_settings
        from unitrack.registry import open_registry
        from unitrack.registry.using import obtain

        settings = self._settings or load_settings(overrides={"dir": self._store})
        model = obtain(open_registry(settings), reference, self._store)
        return Found(
            name=model.version.artifact or model.version.name, kind="model", digest=model.digest, size=model.size,
            tree=model.tree, origin=model.version.reference,
        )  # fmt: skip

    def to_json(self, value: object) -> Any:
        """Ask the plugins how to spell a parameter; they are loaded by the first value of an unknown type."""
        return next((answer for plugins in self._loaded() if (answer := plugins.to_json(value)) is not None), None)

    def dataset_version(self, uri: str) -> Version | None:
        """Ask the resolvers of data versions, in order; one that fails is told and passed over."""
        loaded = self._plugins_with("unitrack_register_dataset_resolvers")
        for resolver in (resolver for plugins in loaded for resolver in plugins.dataset_resolvers()):
            try:
                found = resolver.resolve(uri)
            except Exception as error:
                words = self.redact(f"resolver {resolver.name!r} failed on {uri}: {error!r}")
                warnings.warn(words, UnitrackWarning, stacklevel=4)
                continue
            if found is not None:
                about = {**found.metadata, "resolver": resolver.name}
                return Version(version=found.version, digest=found.digest, metadata=about)
        return None


def _artifact_of(view: RunView, name: str) -> Found | None:
    for artifact in reversed(view.artifacts):
        if artifact.name == name and artifact.digest is not None and artifact.use == "output" and artifact.uri is None:
            return Found(
                name=artifact.name, kind=artifact.kind, digest=artifact.digest, size=artifact.size, tree=artifact.tree,
                origin=f"{view.id}/{artifact.name}",
            )  # fmt: skip
    return None
