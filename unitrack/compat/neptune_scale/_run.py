"""Neptune's later client: a run by an id of the caller's, metrics in dicts."""

from __future__ import annotations

import datetime
import mimetypes
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from unitrack import media
from unitrack._run_data import outcome_of
from unitrack.compat._support import Warned, begin, given, refuse
from unitrack.compat.neptune_scale.types import File, Histogram

__all__ = ["Run"]

_MODES = {"async": None, "offline": "offline", "disabled": "disabled"}
_Moment = float | datetime.datetime | None


class Run:
    """What `neptune_scale.Run` is: begun or, if its id exists, continued as it is made."""

    def __init__(
        self,
        *,
        run_id: str | None = None,
        project: str | None = None,
        api_token: str | None = None,
        experiment_name: str | None = None,
        mode: str | None = None,
        creation_time: Any = None,
        fork_run_id: str | None = None,
        fork_step: float | None = None,
        enable_console_log_capture: bool = True,
        source_tracking_config: Any = None,
        **ignored: Any,
    ) -> None:
        mode = mode or os.environ.get("NEPTUNE_MODE") or "async"
        if mode not in _MODES:
            raise refuse(f"neptune_scale.Run(mode={mode!r})", "use async, offline or disabled")
        if fork_run_id is not None or fork_step is not None:
            raise refuse("neptune_scale.Run(fork_run_id=)", "begin a new run and name the old one in its configs")
        self._warned = Warned()
        self._warned.ignored("neptune_scale.Run", {"creation_time": creation_time, **ignored})
        self._run = begin(
            id=run_id or os.environ.get("NEPTUNE_RUN_ID"),
            **given(
                project=project or os.environ.get("NEPTUNE_PROJECT"), name=experiment_name, mode=_MODES[mode],
                console=None if enable_console_log_capture else False,
            ),
        )  # fmt: skip

    # -- numbers and words -----------------------------------------------------------------------

    def log_metrics(
        self, data: Mapping[str, Any], step: float, *, timestamp: _Moment = None, preview: bool = False,
        preview_completion: float | None = None,
    ) -> None:  # fmt: skip
        """Log numbers of one step. Steps may fall: what Neptune's server refuses, a journal keeps."""
        at = _seconds(timestamp)
        if at is None:
            self._run.log(data, step)
        else:
            self._run.log_at(at, data, step)

    def log_configs(
        self, data: Mapping[str, Any] | None = None, flatten: bool = False, cast_unsupported: bool = False
    ) -> None:
        """Set parameters, in the types they have; nested ones stay nested."""
        self._run.config.update(data or {})

    def add_tags(self, tags: Iterable[str], group_tags: bool = False) -> None:
        """Add tags; group tags are tags like any other."""
        self._run.set_tags(list(tags))

    def remove_tags(self, tags: Iterable[str], group_tags: bool = False) -> None:
        """Take tags off."""
        self._run.remove_tags(list(tags))

    def log_string_series(self, data: Mapping[str, str], step: float, *, timestamp: _Moment = None) -> None:
        """Log texts of one step."""
        self._untimed("log_string_series", timestamp)
        for name, words in data.items():
            self._run.log_text(name, words, step=step)

    def log_histograms(self, histograms: Mapping[str, Histogram], step: float, *, timestamp: _Moment = None) -> None:
        """Show distributions of one step."""
        self._untimed("log_histograms", timestamp)
        for name, each in histograms.items():
            self._run.log_histogram(name, media.Histogram.from_counts(each.bin_edges, each.counts), step=step)

    def _untimed(self, call: str, timestamp: _Moment) -> None:
        if timestamp is not None:
            self._warned.say(f"neptune_scale.Run.{call}: texts, files and histograms have the time of the call")

    # -- files -----------------------------------------------------------------------------------

    def assign_files(self, files: Mapping[str, Any]) -> None:
        """Keep a file under each name, as an artifact."""
        for name, value in files.items():
            self._with_file(value, lambda path, name=name: self._run.log_artifact(path, name=name, kind="file"))

    def log_files(self, files: Mapping[str, Any], step: float, *, timestamp: _Moment = None) -> None:
        """Show files of one step: pictures as pictures."""
        self._untimed("log_files", timestamp)
        for name, value in files.items():
            self._with_file(value, lambda path, name=name: self._show(name, path, step))

    def _show(self, name: str, path: Path, step: float) -> None:
        kind = mimetypes.guess_type(path.name)[0] or ""
        show = self._run.log_image if kind.startswith("image/") else self._run.log_file
        show(name, path, step=step)

    def _with_file(self, value: Any, use: Any) -> None:
        """Call `use` with a path that holds what was given: a path, bytes or a `File`."""
        file = value if isinstance(value, File) else File(value)
        if isinstance(file.source, Path):
            use(file.source)
            return
        ending = mimetypes.guess_extension(file.mime_type or "") or ".bin"
        try:
            with tempfile.TemporaryDirectory(prefix="unitrack-") as folder:
                path = Path(folder) / f"content{ending}"
                path.write_bytes(file.source)
                use(path)
        except OSError as error:  # a full disk costs the file, not the training
            self._run._writer.lose(error)

    # -- the run ---------------------------------------------------------------------------------

    def close(self, timeout: float | None = None) -> None:
        """End the run."""
        self._run.finish(timeout=timeout)

    def terminate(self) -> None:
        """End the run as killed."""
        self._run.finish("killed", reason="terminated")

    def wait_for_submission(self, timeout: float | None = None, verbose: bool = True) -> bool:
        """Return at once: what was logged is in the journal."""
        return True

    def wait_for_processing(self, timeout: float | None = None, verbose: bool = True) -> bool:
        """Return at once: what was logged is in the journal."""
        return True

    def get_run_url(self) -> str:
        """Return the run's folder as a URL."""
        return self._run.path.absolute().as_uri()

    get_experiment_url = get_run_url

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, reason = outcome_of(error)
        self._run.finish(status, reason=reason)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"neptune_scale.Run.{name}", "see docs/compat.md for what a run can do")


def _seconds(moment: _Moment) -> float | None:
    """Return epoch seconds; a datetime without a zone is local time, as Neptune has it."""
    return moment.timestamp() if isinstance(moment, datetime.datetime) else moment
