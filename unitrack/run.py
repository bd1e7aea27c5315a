"""A run: what training code talks to.

`Run.log` is bound per run to the journal's hot path; everything else here turns what
training code hands over into events and appends them.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from unitrack import _run_data, _run_datasets, events, media
from unitrack._run_data import (
    ConfigMapping,
    Found,
    RunSpec,
    Services,
    SummaryMapping,
    flatten_metrics,
    one_of,
    tag_words,
    text_or_none,
    warn_of_skipped,
)
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.journal import layout
from unitrack.journal.null import NullWriter
from unitrack.journal.writer import JournalWriter
from unitrack.model import check_artifact_name, check_step, metric_name, metric_value, plain, text
from unitrack.objects import ObjectInfo, ObjectStore, SourceError, TreeInfo
from unitrack.objects.reading import digest_bytes

__all__ = ["Found", "Run", "RunSpec", "Services"]


Processor = Callable[[events.Event], events.Event | None]
Status = Literal["finished", "failed", "killed"]


class Run:
    """One execution of training code. Thread-safe, usable after a fork, picklable to other processes.

    Use it as a context manager: an exception inside ends it as `failed`, an interrupt as
    `killed`. No method raises because of a tracker, a plugin or a disk unless `strict` was set;
    wrong use raises TypeError or ValueError at once.
    """

    def __init__(
        self,
        spec: RunSpec,
        writer: JournalWriter | NullWriter,
        services: Services,
        *,
        processors: Sequence[Processor] = (),
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.path = layout.run_dir(spec.store, spec.id)
        self.status: Literal["running"] | Status = "running"
        self._writer = writer
        self._services = services
        self._processors = tuple(processors)
        self._objects = ObjectStore(layout.objects_dir(spec.store))
        self._keeps = isinstance(writer, JournalWriter)  # else the calls are checked and nothing is stored
        self._pid = os.getpid()
        self._closing = threading.RLock()  # a signal handler may finish what it interrupted finishing
        self.config = ConfigMapping(self._log_params, params or {}, services.to_json if self._keeps else None)
        """The run's parameters: a dict, nested as given, also readable as attributes; each change is logged."""
        self.summary = SummaryMapping(self._log_summary)
        """Summary values set by hand, which win over what the metrics imply."""
        if not processors:
            self.log = writer.metrics_logger(self._log)  # type: ignore[method-assign]  # the hot path, see there

    @property
    def id(self) -> str:
        """The run's id: the name of its folder."""
        return self.spec.id

    @property
    def name(self) -> str | None:
        """The run's display name, or None."""
        return self.spec.name

    @property
    def project(self) -> str:
        """The project the run belongs to."""
        return self.spec.project

    @property
    def group(self) -> str | None:
        """The group the run belongs to, or None."""
        return self.spec.group

    @property
    def lost(self) -> int:
        """Events this process could not write."""
        return self._writer.lost

    @property
    def is_worker(self) -> bool:
        """This process helps the one that began the run; its end doesn't end the run."""
        return isinstance(self._writer, JournalWriter) and self._writer.info.role == "worker"

    def __repr__(self) -> str:
        return f"<unitrack.Run {self.id} of {self.project}: {self.status}>"

    # -- metrics ---------------------------------------------------------------------------------

    def log(self, values: Mapping[str, Any], step: float | None = None) -> None:
        """Append one event with all of `values` at `step`; on return SIGKILL can't lose it.

        Numbers (Python, numpy, torch, JAX, Decimal) are metrics: NaN and infinities are kept,
        ints beyond 64 bits become floats. A nested dict is flattened with `/`. Images, figures,
        frames, `unitrack.Image` and its like, and strings are kept as media of that name. Steps
        may repeat, go back, be fractional or missing.

        Raises TypeError for anything else and ValueError for bad names and steps; then nothing
        of the call is logged.
        """
        self._log(values, step)

    def _log(self, values: Any, step: Any = None) -> None:
        where = check_step(step)
        numbers: dict[str, events.Metric] = {}
        shown: list[tuple[str, Any]] = []
        for name, value in flatten_metrics(values):
            if isinstance(value, str) or media.recognises(value):
                shown.append((metric_name(name), media.Text(value) if isinstance(value, str) else value))
            else:
                key = metric_name(name)
                numbers[key] = metric_value(value, what=f"the value of {key!r}")
        for name, encoded in [(name, media.encode(value)) for name, value in shown]:
            self._store_media(name, encoded, where)
        if numbers:
            self._append(events.Metrics, numbers, where)

    def log_at(self, time: float, values: Mapping[str, Any], step: float | None = None) -> None:
        """Log numbers that carry a time of their own (epoch seconds): what was measured earlier, or elsewhere."""
        numbers = _run_data.metric_values(values)
        self._append(_run_data.timed(events.Metrics, time), numbers, check_step(step))

    def define_metric(
        self,
        name: str,
        *,
        goal: Literal["maximize", "minimize"] | None = None,
        summary: Literal["last", "min", "max", "mean", "first", "none"] | None = None,
        step: str | None = None,
    ) -> None:
        """Say what the metric `name` means: whether more is better, what sums it up, which metric is its step."""
        one_of("goal", goal, ("maximize", "minimize"))
        one_of("summary", summary, ("last", "min", "max", "mean", "first", "none"))
        self._append(
            events.MetricDefinition, name=metric_name(name), goal=goal, summary=summary,
            step=None if step is None else metric_name(step),
        )  # fmt: skip

    def _log_params(self, values: dict[str, Any]) -> None:
        self._append(events.Params, self._services.redacted_tree(values))

    def _log_summary(self, values: dict[str, Any]) -> None:
        self._append(events.Summary, values)

    # -- media -----------------------------------------------------------------------------------

    def log_image(self, name: str, image: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Show an image: a path, a PIL image, or an array (H, W), (H, W, 1|3|4), uint8 or float in [0, 1]."""
        self._log_media(name, image, kind="image", step=check_step(step), caption=caption)

    def log_figure(self, name: str, figure: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Show a matplotlib or plotly figure, or a path to one."""
        self._log_media(name, figure, kind="figure", step=check_step(step), caption=caption)

    def log_table(self, name: str, table: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Show a table: a pandas or polars frame, a list of dicts, or `unitrack.Table(columns=, rows=)`."""
        self._log_media(name, table, kind="table", step=check_step(step), caption=caption)

    def log_text(self, name: str, value: str, *, step: float | None = None) -> None:
        """Show text."""
        self._log_media(name, value, kind="text", step=check_step(step))

    def log_html(self, name: str, html: Any, *, step: float | None = None) -> None:
        """Show HTML: a string or a path."""
        self._log_media(name, html, kind="html", step=check_step(step))

    def log_audio(self, name: str, audio: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Play audio: a path, or `unitrack.Audio(samples, sample_rate=)`."""
        self._log_media(name, audio, kind="audio", step=check_step(step), caption=caption)

    def log_video(self, name: str, video: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Play a video: a path, or `unitrack.Video(bytes, format=)`."""
        self._log_media(name, video, kind="video", step=check_step(step), caption=caption)

    def log_histogram(self, name: str, values: Any, *, step: float | None = None) -> None:
        """Show the distribution of numbers, or a `unitrack.Histogram` made beforehand."""
        self._log_media(name, values, kind="histogram", step=check_step(step))

    def log_file(self, name: str, path: Any, *, step: float | None = None, caption: str | None = None) -> None:
        """Keep a file of any kind as media."""
        self._log_media(name, path, kind="file", step=check_step(step), caption=caption)

    def _log_media(
        self,
        name: str,
        value: Any,
        *,
        kind: events.MediaKind | None = None,
        step: events.Step | None = None,
        caption: str | None = None,
    ) -> None:
        self._store_media(metric_name(name), media.encode(value, kind=kind, caption=caption), step)

    def _store_media(self, name: str, encoded: media.Encoded, step: events.Step | None) -> None:
        try:
            stored: ObjectInfo | TreeInfo | None = None
            if encoded.path is not None:
                stored = self._put_file(encoded.path)
            elif encoded.data is not None and self._keeps:
                stored = self._objects.put_bytes(encoded.data)
        except (OSError, SourceError) as error:
            self._writer.lose(error)
            return
        self._append(
            events.Media, name=name, kind=encoded.kind, format=encoded.format, step=step, inline=encoded.inline,
            digest=stored and stored.digest, size=stored and stored.size,
            caption=None if encoded.caption is None else text(encoded.caption), metadata=plain(encoded.metadata),
        )  # fmt: skip

    # -- artifacts, models, data -----------------------------------------------------------------

    def log_artifact(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        kind: str = "artifact",
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        digest: str | None = None,
    ) -> str | None:
        """Keep a file or folder under its SHA-256 and return `sha256:<hex>`.

        A URI (`s3://...`) is kept as a reference with the `digest` you give. In a folder, links
        are followed; what can't be stored (dangling links, sockets, loops) is left out and told
        in the manifest. Returns None when the disk did not take it.

        Raises UsageError for a path that isn't there and for a name that leads out of the run.
        """
        fields: dict[str, Any] = {
            "kind": text(kind),
            "aliases": [text(alias) for alias in aliases],
            "metadata": self._services.redacted_tree(plain(dict(metadata or {}))),
        }
        if isinstance(path, str) and "://" in path:
            digest = None if digest is None else text(digest)
            name = check_artifact_name(name or path.rstrip("/").rsplit("/", 1)[-1])
            self._append(events.Artifact, name=name, uri=self._services.redact(text(path)), digest=digest, **fields)
            return digest
        source = Path(path)
        name = check_artifact_name(name or source.resolve().name)
        if not source.exists():
            raise UsageError(f"there is no file or folder {str(source)!r} to log as artifact {name!r}")
        return self._store_artifact(source, name, fields)

    def _store_artifact(self, source: Path, name: str, fields: dict[str, Any]) -> str | None:
        try:
            if source.is_dir():
                tree = self._put_tree(source)
                warn_of_skipped(name, tree.skipped)
                stored: ObjectInfo | TreeInfo = tree
            else:
                stored = self._put_file(source)
        except (OSError, SourceError) as error:  # full disk; or a file that can't be read or doesn't stop changing
            self._writer.lose(error)
            return None
        self._append(events.Artifact, name=name, digest=stored.digest, size=stored.size, tree=source.is_dir(), **fields)
        return stored.digest

    def _put_file(self, source: str | os.PathLike[str]) -> ObjectInfo | TreeInfo:
        return self._objects.put_file(source) if self._keeps else self._objects.digest(source)

    def _put_tree(self, source: Path) -> TreeInfo:
        if self._keeps:
            return self._objects.put_tree(source, exclude=[self.spec.store])
        return self._objects.digest(source, exclude=[self.spec.store])

    def log_model(self, path: str | os.PathLike[str], /, *, name: str = "model", **fields: Any) -> str | None:
        """Keep a trained model's file or folder; `unitrack models register` can then give it a version."""
        return self.log_artifact(path, name=name, kind="model", **fields)

    def log_predictions(
        self,
        ids: Any,
        y_true: Any,
        y_pred: Any = None,
        scores: Any = None,
        *,
        name: str = "predictions",
        classes: Any = None,
        slices: Mapping[str, Any] | None = None,
        split: str | None = None,
    ) -> str | None:
        """Keep what the model says of each example, so that a gate can compare two models example by example.

        All columns are lists, arrays, tensors or columns of frames of one length. `ids` tell examples
        apart and are the same in every run. `scores` are a number an example, more for the second of two
        `classes`, or a row of one for each of `classes`. `slices` are columns by which to look at parts.
        Returns the digest of the artifact, or None when the disk did not take it.

        Raises TypeError and UsageError that name the column and row that can't be taken.
        """
        from unitrack.media import predictions  # 4 ms that only this call needs

        found = predictions.collect(ids, y_true, y_pred, scores, classes=classes, slices=slices, split=split)
        name = check_artifact_name(predictions.artifact_name(text(name)))
        fields = {"kind": predictions.KIND, "metadata": predictions.about(found)}
        return self._store_bytes(predictions.pack(found), name, fields)

    def _store_bytes(self, data: bytes, name: str, fields: dict[str, Any]) -> str | None:
        digest = digest_bytes(data)
        try:
            if self._keeps:
                self._objects.put_bytes(data)
        except OSError as error:
            self._writer.lose(error)
            return None
        self._append(events.Artifact, name=name, digest=digest, size=len(data), **fields)
        return digest

    def log_dataset(
        self,
        data: Any,
        *,
        name: str | None = None,
        split: str | None = None,
        version: str | None = None,
        digest: str | None = None,
        columns: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        keep: bool = False,
        progress: media.DataProgress | None = None,
    ) -> str | None:
        """Name the data the run reads and return its digest; with `keep`, store a copy as an artifact, too.

        `data` is a path (hashed, not copied; unchanged files aren't read again), a URI, an array, a pandas or polars
        frame, an Arrow table or a Hugging Face dataset. `version` is found out where a plugin knows the system that
        keeps the data. `columns` names those of an array, in order. `progress` is told (bytes hashed, bytes in all).

        Raises TypeError for what is no data, UsageError for a path that isn't there and that no system knows.
        """
        given = _run_datasets.Given(
            name=name, split=text_or_none(split), version=text_or_none(version), digest=text_or_none(digest),
            columns=None if columns is None else tuple(columns), metadata=dict(metadata or {}),
        )  # fmt: skip
        try:
            fields = _run_datasets.describe(
                data, given, self._objects,
                resolve=self._services.dataset_version, exclude=[self.spec.store], progress=progress,
            )  # fmt: skip
        except SourceError:
            raise
        except OSError as error:
            self._writer.lose(error)
            return None
        if keep:
            fields["metadata"]["kept"] = _run_datasets.keep(data, fields, self.log_artifact, self._store_bytes)
        if fields["uri"] is not None:
            fields["uri"] = self._services.redact(fields["uri"])
        self._append(events.DatasetUsed, **fields)
        return fields["digest"]  # type: ignore[no-any-return]

    def use_artifact(self, reference: str, *, destination: str | os.PathLike[str] | None = None) -> Path:
        """Record that the run reads an artifact (`RUN/NAME`, or `NAME`: the newest) and return where it is.

        The bytes are verified. Without `destination` the path is the object itself, read-only; a
        folder is restored under the run's `inputs/`.
        """
        return self._use(self._services.find_artifact(reference), destination)

    def use_model(self, reference: str, *, destination: str | os.PathLike[str] | None = None) -> Path:
        """Record that the run reads a registered model (`NAME@ALIAS`, `NAME:VERSION`) and return where it is."""
        return self._use(self._services.find_model(reference), destination)

    def _use(self, found: Found, destination: str | os.PathLike[str] | None) -> Path:
        if not self._objects.verify(found.digest):
            raise UsageError(
                f"{found.origin} is damaged or gone: its object {found.digest} does not match. Log it again"
            )
        if destination is None and not found.tree:
            path = self._objects.get(found.digest)
        else:
            path = Path(destination) if destination is not None else self.path / "inputs" / found.digest[-16:]
            self._objects.checkout(found.digest, path, tree=found.tree)
        self._append(
            events.Artifact, name=found.name, kind=found.kind, digest=found.digest, size=found.size, use="input",
            tree=found.tree, metadata={"origin": found.origin},
        )  # fmt: skip
        return path

    # -- words -----------------------------------------------------------------------------------

    def set_tags(self, /, *tags: str | Iterable[str], **values: str) -> None:
        """Add tags, and tags that carry text: `run.set_tags("baseline", owner="mia")`."""
        self._append(
            events.Tags, add=tag_words(tags), values={text(key): text(str(value)) for key, value in values.items()}
        )

    def remove_tags(self, *tags: str | Iterable[str]) -> None:
        """Take tags off."""
        self._append(events.Tags, remove=tag_words(tags))

    def alert(self, title: str, text_: str = "", *, level: events.Level = "info") -> None:
        """Tell people something: `info`, `warning` or `error`."""
        one_of("level", level, ("info", "warning", "error"))
        words = map(self._services.redact, (text(title), text(text_)))
        self._append(events.Alert, title=next(words), text=next(words), level=level)

    def capture(self, name: str, values: Mapping[str, Any]) -> None:
        """Record a fact about the surroundings."""
        self._append(events.Capture, name=text(name), values=self._services.redacted_tree(plain(dict(values))))

    def rename(self, name: str) -> None:
        """Give the run another name to show; the latest counts."""
        self._append(events.RunStarted, project=self.project, name=text(name), parent=self.spec.parent)
        self.spec = msgspec.structs.replace(self.spec, name=name)

    # -- the end ---------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Make all that was logged survive a power cut. A killed process loses nothing without it."""
        try:
            self._writer.sync()
        except OSError as error:
            self._writer.lose(error)

    def finish(self, status: Status = "finished", *, reason: str | None = None, timeout: float | None = None) -> None:
        """Seal the journal with `status`; a second call does nothing.

        In a forked child this ends the child's part. `timeout` bounds the seconds spent waiting
        for trackers; what they still lack then is said, and sent later by `unitrack sync`.
        """
        one_of("status", status, ("finished", "failed", "killed"))
        if self._pid != os.getpid():  # another thread of the parent may have held the lock at the fork
            self._seal(status, reason)
            return
        with self._closing:
            if self.status != "running":
                return
            self._services.closing(self)
            if not self._seal(status, reason):
                return
        self._services.finished(self, status, timeout)

    def _seal(self, status: Status, reason: str | None) -> bool:
        if not self._writer.seal(status, reason=reason and self._services.redact(text(reason))[:2000]):
            warnings.warn(
                f"run {self.id} is still being written and was not finished: call finish() again, or leave it to the "
                "end of the process",
                UnitrackWarning,
                stacklevel=4,
            )
            return False
        self.status = status
        return True

    def _kill(self, reason: str) -> None:
        """Seal from a signal handler: never waits for what the interrupted code may hold."""
        if self.status == "running" and self._writer.seal("killed", reason=reason, timeout=0.5):
            self.status = "killed"

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, reason = _run_data.outcome_of(error)
        self.finish(status, reason=reason)

    def __reduce__(self) -> tuple[Callable[[str, str], Run], tuple[str, str]]:
        return self._services.attach(), (str(self.spec.store), self.id)

    # -- appending -------------------------------------------------------------------------------

    def _append(self, kind: Callable[..., events.Known], /, *args: Any, **fields: Any) -> None:
        if self._processors:
            self._writer.append(self._processed, kind, args, fields)
        else:
            self._writer.append(kind, *args, **fields)

    def _processed(self, seq: int, time: float, kind: Callable[..., events.Known], args: Any, fields: Any) -> Any:
        return _run_data.processed(kind(seq, time, *args, **fields), self._processors, self._writer.lose)
