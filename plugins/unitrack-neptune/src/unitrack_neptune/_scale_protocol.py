"""Operations as the messages of neptune-scale's protocol: the client's own protobufs, imported when called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from unitrack_neptune._plan import Assign, Bins, Moment, Op, Point, TagChange, Upload, Value
from unitrack_neptune._steps import micros

__all__ = ["create_run", "destination", "snapshots"]

_LARGEST = 1 << 20
"""Bytes after which a message is full; the protocol allows twice as much for one operation."""
_MICRO = 1_000_000


def create_run(run_id: str, name: str | None, started: float) -> Any:
    """Return the message that makes the run; `name` makes it an experiment of that name."""
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import Run

    return Run(family=run_id, experiment_id=name, creation_time=_timestamp(started), inherit_configs=True)


def snapshots(ops: Iterable[Op], run_id: str, now: float) -> Iterator[Any]:
    """Yield messages of a megabyte at most that carry the operations, in order; `now` is epoch seconds."""
    update: Any = None
    where: object = None
    size = 0
    for op in ops:
        here = (op.step, op.time) if isinstance(op, Point) or (isinstance(op, Upload) and op.step is not None) else None
        if update is None or here != where or size > _LARGEST or _holds(update, op):
            if update is not None:
                yield update
            update, where, size = _snapshot(here, now), here, 0
        size += _add(update, op, run_id)
    if update is not None:
        yield update


def _snapshot(where: tuple[float | None, float] | None, now: float) -> Any:
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import Step, UpdateRunSnapshot

    if where is None:
        return UpdateRunSnapshot(timestamp=_timestamp(now))
    step, time = where
    assert step is not None
    whole, micro = divmod(micros(step), _MICRO)
    return UpdateRunSnapshot(step=Step(whole=whole, micro=micro), timestamp=_timestamp(time))


def _holds(update: Any, op: Op) -> bool:
    """Tell whether a message can't take another operation on the same path: its fields are maps."""
    if isinstance(op, TagChange):
        return bool(update.modify_sets)
    return op.path in update.append or op.path in update.assign


def _add(update: Any, op: Op, run_id: str) -> int:
    """Add an operation and return its size, roughly."""
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import SET_OPERATION

    if isinstance(op, TagChange):
        values = update.modify_sets["sys/group_tags" if op.group else "sys/tags"].string.values
        values.update(dict.fromkeys(op.add, SET_OPERATION.ADD))
        values.update(dict.fromkeys(op.remove, SET_OPERATION.REMOVE))
        return sum(map(len, (*op.add, *op.remove)))
    if isinstance(op, Point):
        return len(op.path) + _fill(update.append[op.path], op.value)
    if isinstance(op, Assign):
        return len(op.path) + _fill(update.assign[op.path], op.value)
    target = update.assign[op.path] if op.step is None else update.append[op.path]
    target.file_ref.path = destination(op, run_id)
    target.file_ref.mime_type = op.mime[:128]
    target.file_ref.size_bytes = len(op.data) if op.data is not None else _size(op)
    return len(op.path) + 1000


def _fill(target: Any, value: Value | Bins) -> int:
    if isinstance(value, bool):
        target.bool = value
    elif isinstance(value, int):
        target.int64 = value
    elif isinstance(value, float):
        target.float64 = value
    elif isinstance(value, str):
        target.string = value
        return 4 * len(value)
    elif isinstance(value, Moment):
        target.timestamp.CopyFrom(_timestamp(value.time))
    else:
        target.histogram.bin_edges.extend(value.edges)
        target.histogram.counts.values.extend(value.counts)
        return 16 * len(value.edges)
    return 12


def destination(op: Upload, run_id: str) -> str:
    """Return where a file goes in the storage: by its content, so that sending it again replaces it by itself."""
    content = op.digest or hashlib.sha256(op.data or b"").hexdigest()
    content = content.removeprefix("sha256:")
    where = hashlib.sha256(f"{op.path}\n{op.step}".encode()).hexdigest()[:16]
    extension = op.name.rpartition(".")[2] if "." in op.name else ""
    suffix = f".{extension}" if extension.isalnum() and len(extension) <= 16 else ""
    return f"{run_id[:200]}/{where}/{content[:32]}{suffix}"


def _size(op: Upload) -> int:
    assert op.file is not None
    return op.file.stat().st_size


def _timestamp(time: float) -> Any:
    from google.protobuf.timestamp_pb2 import Timestamp

    whole, part = divmod(round(time * _MICRO), _MICRO)
    return Timestamp(seconds=whole, nanos=part * 1000)
