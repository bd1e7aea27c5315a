"""Lines to records of an event file, in TensorBoard's own protobufs. Imported when a run is opened, never before."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.audio import metadata as audio
from tensorboard.plugins.histogram import metadata as histogram
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.image import metadata as image
from tensorboard.plugins.scalar import metadata as scalar
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.record_writer import RecordWriter

from unitrack.model import restore
from unitrack.objects import ObjectStore
from unitrack_tensorboard._plan import Bins, Line, Number, Shown, Text, Value

__all__ = ["PLUGIN", "WHOLE", "Encoder", "ending", "header", "session"]

PLUGIN = "unitrack"
WHOLE = "unitrack/event"
_MOST_ROWS, _MOST_COLUMNS = 100, 50
_STATUS = {"finished": 1, "failed": 2, "killed": 2}  # the plugin's words: success, failure
_EXACT = 2**53
_SCALAR = scalar.create_summary_metadata(display_name="", description="")
_SHAPELESS = tensor_shape_pb2.TensorShapeProto()


class Encoder:
    """Encodes lines; the bytes of what they show are read from `objects`."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def line(self, line: Line) -> bytes:
        """Return one record of an event file. Raises UsageError when an object isn't in the store."""
        event = event_pb2.Event(wall_time=line.record.event.time, step=line.step)
        for value in line.values:
            if isinstance(value, Number):  # by far the most frequent
                event.summary.value.add(tag=value.tag, metadata=_SCALAR, tensor=_number(value.value))
            else:
                event.summary.value.append(self._value(value, line.caption or ""))
        if line.whole is not None:
            event.summary.value.append(_whole(line.whole))
        return _framed(event)

    def _value(self, value: Value, caption: str) -> Any:
        if isinstance(value, Text):
            return _text(value.tag, value.text.encode(), caption)
        if isinstance(value, Bins):
            return _bins(value, caption)
        assert isinstance(value, Shown)
        data = self._objects.get(value.digest).read_bytes()
        if value.kind in ("image", "figure"):
            return _image(value, data, caption)
        if value.kind == "audio":
            made = audio.create_summary_metadata("", caption, audio.Encoding.Value("WAV"))
            return summary_pb2.Summary.Value(tag=value.tag, metadata=made, tensor=_strings([data, b""], [1, 2]))
        if value.kind == "table":
            return _text(value.tag, _table(data).encode(), caption)
        return _text(value.tag, data, caption)


def header(started: float) -> bytes:
    """Return the record that begins an event file."""
    event = event_pb2.Event(wall_time=started, file_version="brain.Event:2")
    event.source_metadata.writer = "unitrack"
    return _framed(event)


def session(run: str, started: float, params: Mapping[str, Any]) -> bytes:
    """Return the record that tells the HPARAMS page of a run: its params and its start."""
    info = plugin_data_pb2.SessionStartInfo(group_name=run, start_time_secs=started)
    for name, value in params.items():
        _set_param(info.hparams[name], restore(value))
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info)
    return _hparams(hparams.SESSION_START_INFO_TAG, data, started)


def ending(status: str, ended: float, step: int) -> bytes:
    """Return the records that tell how and when a run ended."""
    info = plugin_data_pb2.SessionEndInfo(status=_STATUS[status], end_time_secs=ended)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    told = event_pb2.Event(wall_time=ended, step=step)
    told.summary.value.append(_text("unitrack/status", status.encode(), ""))
    return _hparams(hparams.SESSION_END_INFO_TAG, data, ended) + _framed(told)


def _hparams(tag: str, data: Any, time: float) -> bytes:
    event = event_pb2.Event(wall_time=time)
    event.summary.value.add(tag=tag, metadata=hparams.create_summary_metadata(data), tensor=hparams.NULL_TENSOR)
    return _framed(event)


def _set_param(slot: Any, value: Any) -> None:
    if isinstance(value, bool):
        slot.bool_value = value
    elif isinstance(value, (int, float)) and abs(value) <= _EXACT and math.isfinite(value):
        slot.number_value = value
    else:
        slot.string_value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _framed(event: Any) -> bytes:
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


# -- one kind of data each -----------------------------------------------------------------------


def _number(value: float) -> Any:
    """Return a scalar as TensorBoard's fast loader takes it, in 32 bits; what they can't hold stands beside them."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=_SHAPELESS, float_val=(value,))
    if tensor.float_val[0] != value and value == value:
        tensor.double_val.append(value)
    return tensor


def _strings(values: list[bytes], shape: list[int]) -> Any:
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
    return tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims), string_val=values
    )


def _text(tag: str, data: bytes, caption: str) -> Any:
    made = text.create_summary_metadata("", caption)
    return summary_pb2.Summary.Value(tag=tag, metadata=made, tensor=_strings([data], []))


def _whole(line: bytes) -> Any:
    made = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN))
    return summary_pb2.Summary.Value(tag=WHOLE, metadata=made, tensor=_strings([line.rstrip(b"\n")], []))


def _bins(value: Bins, caption: str) -> Any:
    rows = zip(value.edges[:-1], value.edges[1:], value.counts, strict=True)
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in (len(value.counts), 3)]
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_DOUBLE,
        tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims),
        double_val=[float(number) for row in rows for number in row],
    )
    return summary_pb2.Summary.Value(
        tag=value.tag, metadata=histogram.create_summary_metadata("", caption), tensor=tensor
    )


def _image(value: Shown, data: bytes, caption: str) -> Any:
    """Return an image, or a word about one that can't be decoded."""
    try:
        size, data = _picture(data, value.format)
    except Exception as error:  # the decoder meets whatever training logged
        return _text(value.tag, f"this {value.format} can't be shown: {error}".encode(), caption)
    words = [str(size[0]).encode(), str(size[1]).encode(), data]
    return summary_pb2.Summary.Value(
        tag=value.tag, metadata=image.create_summary_metadata("", caption), tensor=_strings(words, [3])
    )


def _picture(data: bytes, form: str) -> tuple[tuple[int, int], bytes]:
    """Return width and height, and bytes that browsers show: PNG of what they may not."""
    from PIL import Image  # tensorboard requires it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes and odd chunks, which are the picture's business
        with Image.open(io.BytesIO(data)) as picture:
            if form in ("png", "jpg", "jpeg", "gif"):
                return picture.size, data
            buffer = io.BytesIO()
            picture.save(buffer, format="png")
            return picture.size, buffer.getvalue()


def _table(data: bytes) -> str:
    """Return the first rows and columns of a table as Markdown."""
    table = json.loads(data)
    columns, rows = table["columns"], table["data"]
    names = [_cell(name) for name in columns[:_MOST_COLUMNS]]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row[:_MOST_COLUMNS])} |" for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS or len(columns) > _MOST_COLUMNS:
        lines.append(f"\n{len(rows)} rows and {len(columns)} columns in all")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
