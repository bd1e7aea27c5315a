"""A run that another program wrote: what TensorBoard shows of it, as it is."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from unitrack import events as neutral
from unitrack.backend import Lowering
from unitrack.events import FinalStatus
from unitrack.foreign import Counts, ForeignInfo
from unitrack.lowering import Lowerings
from unitrack.model import plain
from unitrack.objects import ObjectStore
from unitrack_tensorboard._own import word
from unitrack_tensorboard._records import Damage, event_files, read_events, span

__all__ = ["OtherRun", "run_id"]

_LARGEST_INLINE = 16 << 10
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"
_ENDS: Mapping[int, FinalStatus] = {2: "failed"}
_FORMATS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "wav", b"BM": "bmp"}


def run_id(path: str) -> str:
    """Return a run id for a run's name in its logdir; a name that can be one stays."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", path) and ".." not in path:
        return path
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", path).strip("-_")[:100] or "run"
    return f"{clean}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


class OtherRun:
    """One folder of event files."""

    def __init__(self, folder: Path, root: Path, project: str) -> None:
        name = folder.relative_to(root).as_posix()
        self._folder, self._project = folder, project
        self._name = root.name if name == "." else name
        self._lowerings = Lowerings()
        self._plugins: dict[str, str] = {}

    @cached_property
    def info(self) -> ForeignInfo:
        """Who it is: its folder's name, and the first and last time in its files unless it says others."""
        first, last = span(event_files(self._folder)) or (0.0, 0.0)
        started, ended, status = self._session()
        return ForeignInfo(
            id=run_id(self._name), origin=str(self._folder), project=self._project, name=self._name,
            started=started or first, ended=ended or last, status=status,
        )  # fmt: skip

    def _session(self) -> tuple[float | None, float | None, FinalStatus]:
        """Return what the HPARAMS page is told of the run's start and end."""
        started, ended, status = None, None, 0
        for event in self._read(check=False):
            for value in event.summary.value:
                data = _session_data(value)
                if data is not None and data.HasField("session_start_info"):
                    started = data.session_start_info.start_time_secs or None
                elif data is not None and data.HasField("session_end_info"):
                    ended, status = data.session_end_info.end_time_secs or None, data.session_end_info.status
        return started, ended, _ENDS.get(status, "finished")

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What an event can't hold of the run."""
        return self._lowerings.all

    def _read(self, *, check: bool = True) -> Iterator[Any]:
        for path in event_files(self._folder):
            try:
                yield from read_events(path, check=check)
            except Damage as damage:
                self._lowerings.tell("damage", path.name, f"{damage}; what follows is not to be had")

    def events(self, objects: ObjectStore) -> Iterator[neutral.Event]:
        """Yield what the run's files hold, in their order."""
        for event in self._read():
            if event.HasField("graph_def"):
                yield self._kept(event, "graph", event.graph_def, objects)
            elif event.HasField("meta_graph_def"):
                yield self._kept(event, "meta_graph", event.meta_graph_def, objects)
            elif event.HasField("tagged_run_metadata"):
                run = event.tagged_run_metadata
                yield self._kept(event, f"run_metadata/{run.tag}", run.run_metadata, objects)
            elif event.HasField("log_message"):
                self._lowerings.tell("event", "log_message", "messages of TensorFlow's log are left out")
            yield from self._summary(event, objects)

    def _summary(self, event: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        numbers: dict[str, neutral.Metric] = {}
        for value in event.summary.value:
            tag, kind = value.tag or value.node_name, self._kind(value)
            if kind == "scalars" and tag not in numbers:
                numbers[tag] = word(_scalar(value))
            elif kind == "scalars":
                yield neutral.Metrics(0, event.wall_time, {tag: word(_scalar(value))}, event.step)
            else:
                handler = _HANDLERS.get(kind, OtherRun._unknown)
                yield from handler(self, event, tag, value, objects)
        if numbers:
            yield neutral.Metrics(0, event.wall_time, numbers, event.step)

    def _kind(self, value: Any) -> str:
        """Return the plugin of a value; writers name it with a tag's first value only."""
        old = {"simple_value": "scalars", "image": "images", "audio": "audio", "histo": "histograms"}
        form = value.WhichOneof("value")
        if form in old:
            return old[form]
        tag, plugin = value.tag or value.node_name, value.metadata.plugin_data.plugin_name
        plugin = self._plugins.setdefault(tag, plugin) or plugin
        single = form == "tensor" and not value.tensor.tensor_shape.dim and value.tensor.dtype in _NUMBERS
        return "scalars" if single and plugin in ("", "scalars") else plugin

    # -- one kind each ---------------------------------------------------------------------------

    def _images(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        """Yield each picture of a batch; a tensor has width and height before them."""
        found = [value.image.encoded_image_string] if value.HasField("image") else list(value.tensor.string_val)[2:]
        for data in found:
            yield self._media(event, tag, "image", data, objects, caption=value.metadata.summary_description)

    def _audio(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        """Yield each clip of a batch; in a tensor each has a label beside it."""
        if value.HasField("audio"):
            found = [value.audio.encoded_audio_string]
        else:
            rows = value.tensor.tensor_shape.dim
            found = list(value.tensor.string_val)[:: 2 if len(rows) == 2 and rows[1].size == 2 else 1]
        for data in found:
            yield self._media(event, tag, "audio", data, objects, caption=value.metadata.summary_description)

    def _text(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        from tensorboard.util.tensor_util import make_ndarray

        array = make_ndarray(value.tensor)
        cells = [_utf8(cell) for cell in array.reshape(-1).tolist()]
        if array.ndim:
            self._lowerings.tell("text", tag, f"an array of {len(cells)} texts is one, in lines")
        words = "\n".join(cells)
        caption = value.metadata.summary_description or None
        if len(words.encode()) <= _LARGEST_INLINE:
            yield neutral.Media(
                seq=0, time=event.wall_time, name=tag, kind="text", format="txt", step=event.step, inline=words,
                caption=caption,
            )  # fmt: skip
        else:
            yield self._media(event, tag, "text", words.encode(), objects, form="txt", caption=caption)

    def _histograms(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        rows = _old_rows(value.histo) if value.HasField("histo") else _rows(value.tensor)
        edges = [row[0] for row in rows] + [rows[-1][1]] if rows else [0.0, 1.0]
        if any(row[1] != after[0] for row, after in itertools.pairwise(rows)):
            self._lowerings.tell("histogram", tag, "its bins have gaps: the right edges are those of the next bins")
        counts: list[float] = [row[2] for row in rows] or [0]
        if not all(map(math.isfinite, [*edges, *counts])):
            yield from self._unknown(event, tag, value, objects)
            return
        yield neutral.Media(
            seq=0,
            time=event.wall_time,
            name=tag,
            kind="histogram",
            format="json",
            step=event.step,
            inline={"edges": edges, "counts": counts, "nan": 0, "inf": 0},
            caption=value.metadata.summary_description or None,
        )

    def _hparams(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        data = _session_data(value)
        if data is None or data.HasField("experiment"):
            self._lowerings.tell("hparams", tag, "what an experiment says of all its runs is in none of them")
        elif data.HasField("session_start_info"):
            params = {name: plain(_param(told)) for name, told in sorted(data.session_start_info.hparams.items())}
            if params:
                yield neutral.Params(0, event.wall_time, params)

    def _unknown(self, event: Any, tag: str, value: Any, objects: ObjectStore) -> Iterator[neutral.Event]:
        plugin = value.metadata.plugin_data.plugin_name or self._plugins.get(tag) or "none"
        yield self._kept(event, tag or "(no tag)", value.SerializeToString(), objects, plugin)

    def _kept(self, event: Any, name: str, data: bytes, objects: ObjectStore, plugin: str = "graphs") -> neutral.Event:
        """Keep what unitrack has no word for as a file of protobuf."""
        self._lowerings.tell("plugin", name, f"data of TensorBoard's plugin {plugin!r} are kept as a file of protobuf")
        return self._media(event, name, "file", data, objects, form="pb", metadata={"plugin": plugin})

    @staticmethod
    def _media(
        event: Any, name: str, kind: neutral.MediaKind, data: bytes, objects: ObjectStore, *,
        form: str | None = None, caption: str | None = None, metadata: dict[str, Any] | None = None,
    ) -> neutral.Media:  # fmt: skip
        stored = objects.put_bytes(data)
        found = form or next((ending for mark, ending in _FORMATS.items() if data.startswith(mark)), "bin")
        return neutral.Media(
            seq=0, time=event.wall_time, name=name, kind=kind, format=found, step=event.step, digest=stored.digest,
            size=stored.size, caption=caption or None, metadata=metadata or {},
        )  # fmt: skip

    # -- what there is, asked apart --------------------------------------------------------------

    def expected(self) -> Counts:
        """Count what TensorBoard's own reader finds."""
        from unitrack_tensorboard._counting import tensors

        points = params = media = 0
        for tag, (plugin, values) in tensors(self._folder).items():
            if plugin == "hparams":
                params += self._count_params() if tag == _START else 0
            elif plugin == "scalars" or (not plugin and _is_number(values[0])):
                points += len(values)
            elif plugin == "images":
                media += sum(max(0, len(value.string_val) - 2) for value in values)
            elif plugin == "audio":
                media += sum(value.tensor_shape.dim[0].size for value in values)
            else:
                media += len(values)
        return Counts(params=params, points=points, media=media + self._count_graphs())

    def _count_params(self) -> int:
        names: set[str] = set()
        for event in self._read(check=False):
            for value in event.summary.value:
                if (data := _session_data(value)) is not None:
                    names.update(data.session_start_info.hparams)
        return len(names)

    def _count_graphs(self) -> int:
        """Count the graphs that TensorBoard's reader doesn't turn into tensors."""
        return sum(event.HasField("meta_graph_def") for event in self._read(check=False))


_Handler = Callable[[OtherRun, Any, str, Any, ObjectStore], "Iterator[neutral.Event]"]
_HANDLERS: Mapping[str, _Handler] = {
    "images": OtherRun._images,
    "audio": OtherRun._audio,
    "text": OtherRun._text,
    "histograms": OtherRun._histograms,
    "hparams": OtherRun._hparams,
}
_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 9, 14, 17, 19, 22, 23})  # TensorFlow's numbers of real number types


def _scalar(value: Any) -> float:
    if value.WhichOneof("value") == "simple_value":
        return float(value.simple_value)
    return _number(value.tensor)


def _number(tensor: Any) -> float:
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(tensor).item())


def _is_number(tensor: Any) -> bool:
    return not tensor.tensor_shape.dim and tensor.dtype in _NUMBERS


def _rows(tensor: Any) -> list[tuple[float, float, float]]:
    from tensorboard.util.tensor_util import make_ndarray

    return [(float(left), float(right), float(count)) for left, right, count in make_ndarray(tensor).reshape(-1, 3)]


def _old_rows(histo: Any) -> list[tuple[float, float, float]]:
    """Return (left, right, count) of the bins from the first that isn't empty to the last."""
    full = [index for index, count in enumerate(histo.bucket) if count > 0]
    if not full:
        return []
    first, last = full[0], full[-1]
    edges = [histo.min, *histo.bucket_limit[first:last], histo.max]
    return list(zip(edges[:-1], edges[1:], histo.bucket[first : last + 1], strict=True))


def _session_data(value: Any) -> Any:
    if value.tag not in (_START, _END, "_hparams_/experiment"):
        return None
    from tensorboard.plugins.hparams import plugin_data_pb2

    return plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)


def _param(told: Any) -> Any:
    kind = told.WhichOneof("kind")
    if kind == "number_value":
        number = told.number_value
        return int(number) if math.isfinite(number) and number == int(number) and abs(number) < 2**53 else number
    return told.bool_value if kind == "bool_value" else told.string_value if kind == "string_value" else None


def _utf8(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else json.dumps(cell)
