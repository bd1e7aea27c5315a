"""Operations as those of neptune 1.x: the client's own classes, imported when called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from unitrack_neptune._plan import Assign, Moment, Op, Point, TagChange, Upload

__all__ = ["operations"]

_MOST = 500
"""Points in one operation."""


def operations(ops: Iterable[Op], keep: Callable[[Upload], str]) -> Iterator[Any]:
    """Yield the client's operations; `keep` puts the bytes of a file where the client looks for them.

    Points of one series are put together, in their order: an operation each would cost a write each.
    """
    from neptune.internal.operation import AddStrings, RemoveStrings

    series: dict[str, list[Point]] = {}
    for op in ops:
        if isinstance(op, TagChange):
            path = ["sys", "group_tags" if op.group else "tags"]
            if op.add:
                yield AddStrings(path, set(op.add))
            if op.remove:
                yield RemoveStrings(path, set(op.remove))
        elif isinstance(op, Upload):
            yield _upload(op, keep)
        elif isinstance(op, Point):
            points = series.setdefault(op.path, [])
            points.append(op)
            if len(points) == _MOST:
                yield _points(series.pop(op.path))
        else:
            yield _assign(op)
    yield from map(_points, series.values())


def _upload(op: Upload, keep: Callable[[Upload], str]) -> Any:
    from neptune.internal.operation import UploadFile

    path, extension = op.path.split("/"), op.name.rpartition(".")[2] if "." in op.name else ""
    if op.file is not None:
        return UploadFile(path, extension, file_path=str(op.file.absolute()))
    return UploadFile(path, extension, tmp_file_name=keep(op))


def _points(points: Sequence[Point]) -> Any:
    from neptune.internal.operation import LogFloats, LogSeriesValue, LogStrings

    first = points[0]
    kind: Any = LogStrings if isinstance(first.value, str) else LogFloats
    values = [LogSeriesValue(point.value, float(point.step), point.time) for point in points]
    return kind(first.path.split("/"), values)


def _assign(op: Assign) -> Any:
    from neptune.internal import operation

    path, value = op.path.split("/"), op.value
    if isinstance(value, Moment):
        return operation.AssignDatetime(path, datetime.fromtimestamp(value.time, timezone.utc))
    if isinstance(value, bool):
        return operation.AssignBool(path, value)
    if isinstance(value, int):
        return operation.AssignInt(path, value)
    return operation.AssignFloat(path, value) if isinstance(value, float) else operation.AssignString(path, value)
