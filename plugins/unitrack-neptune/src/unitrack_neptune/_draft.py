"""A batch of operations in the making: what every event's mapping uses to write fields and series. Pure.

Nothing of the run's state changes before `commit`: a draft that couldn't be sent is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import math
import mimetypes
from typing import TYPE_CHECKING, Any

from unitrack.model import restore
from unitrack_neptune._limits import Limits
from unitrack_neptune._plan import Assign, Bins, Moment, Op, Point, TagChange, Upload, Value
from unitrack_neptune._steps import Series, fit, following

if TYPE_CHECKING:
    from collections.abc import Container

    from unitrack.backend import Record
    from unitrack.lowering import Lowerings, Policy
    from unitrack_neptune._names import Paths
    from unitrack_neptune._position import Position

__all__ = ["Draft", "digest8"]

_EXACT = 2**53
_SPACES = (
    "metrics/", "params/", "tags/", "media/", "artifacts/", "datasets/", "unitrack/about/media/", "unitrack/artifacts/",
    "unitrack/inputs/", "unitrack/definitions/",
)  # fmt: skip
"""Where the names of a run's own stand in Neptune."""
_SHOWN = 400
"""Characters that stay of a text whose whole is a file."""


def digest8(data: bytes | str) -> str:
    """Return eight hex digits that stand for `data`."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:8]


class Draft:
    """Operations for some records, given where the run stands. `lowerings` tells what was lost on the way."""

    def __init__(self, position: Position, paths: Paths, limits: Limits, lowerings: Lowerings) -> None:
        self.ops: list[Op] = []
        self.limits = limits
        self.lowerings = lowerings
        self._position = position
        self._paths = paths
        self._series: dict[str, Series] = {}
        self._digests: dict[str, str] = {}
        self._undo: list[tuple[str, Series | None]] = []

    # -- all or nothing --------------------------------------------------------------------------

    def begin(self) -> int:
        """Return a mark to which `rollback` undoes what a record began."""
        self._undo.clear()
        return len(self.ops)

    def rollback(self, mark: int) -> None:
        """Undo everything since `begin`."""
        del self.ops[mark:]
        for path, before in reversed(self._undo):
            if before is None:
                del self._series[path]
            else:
                self._series[path] = before
        self._undo.clear()

    def finish(self) -> None:
        """Add what goes with the batch: names that Neptune holds in another form, so that they can be had back."""
        for path, (name, kind) in self._paths.fresh.items():
            about = {"path": path, "name": name, **({"type": kind} if kind else {})}
            self.ops.append(Assign(f"unitrack/names/{digest8(path)}", json.dumps(about, ensure_ascii=False)))

    def commit(self) -> None:
        """Make this batch part of where the run stands: it was sent."""
        self._position.series.update(self._series)
        self._position.digests.update(self._digests)
        self._position.names = dict(self._paths.changed)
        self._paths.told()

    # -- lowering --------------------------------------------------------------------------------

    def decide(self, kind: str, field: str, *, trouble: str, remedy: str) -> Policy:
        """Tell what is lowered, under the run's own name of the field, and return the policy. Raises RefusedError."""
        return self.lowerings.decide(kind, shown(field), trouble=trouble, remedy=remedy)

    def path(self, name: str, kind: str) -> str | None:
        """Return the path for a field of this type, None if it is to be left out. Raises RefusedError."""
        path = self._paths.path(name, kind)
        if path == name:
            return path
        trouble = "Neptune can't have a field of this name and type here"
        policy = self.decide("name", name, trouble=trouble, remedy=f"it is {path}; unitrack/names/ has both")
        return None if policy == "skip" else path

    # -- values ----------------------------------------------------------------------------------

    def assign(self, path: str, value: Value) -> None:
        """Set a field whose path needs no thought: one of this plugin's own."""
        self.ops.append(Assign(path, value))

    def value(self, name: str, value: Any) -> None:
        """Set a field to a value of the journal, in the type that Neptune holds nearest. Raises RefusedError."""
        held = self._held(name, restore(value))
        if held is None:
            return
        path = self.path(name, type(held).__name__)
        if path is not None and isinstance(held, str):
            self._text(name, path, held)
        elif path is not None:
            self.ops.append(Assign(path, held))

    def _held(self, name: str, value: Any) -> Value | None:
        if isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return self._integer(name, value)
        if isinstance(value, float):
            if math.isfinite(value) or self.limits.non_finite_values:
                return value
            return self._lowered("non-finite", name, "the client takes no such number", str(value))
        text = str(value) if value is None else json.dumps(_spelled(value), ensure_ascii=False)
        what = "None" if value is None else type(value).__name__
        return self._lowered("param-type", name, f"Neptune has no value of the type {what}", text)

    def _integer(self, name: str, value: int) -> Value | None:
        half = 1 << (self.limits.integer - 1)
        if -half <= value < half:
            return value
        near = float(value) if abs(value) <= _EXACT else str(value)
        return self._lowered("int-range", name, f"an integer here has {self.limits.integer} bits", near)

    def _lowered(self, kind: str, name: str, trouble: str, held: float | str) -> Value | None:
        remedy = f"it is the {'text' if isinstance(held, str) else 'float'} {held!s:.60}"
        return None if self.decide(kind, name, trouble=trouble, remedy=remedy) == "skip" else held

    def _text(self, name: str, path: str, text: str) -> None:
        cut = self.cut(name, path, text, self.limits.text)
        if cut is not None:
            self.ops.append(Assign(path, cut))

    def cut(self, name: str, path: str, text: str, room: int) -> str | None:
        """Return a text that fits into `room` bytes; its whole may become a file. Raises RefusedError."""
        data = text.encode()
        if len(data) <= room:
            return text
        whole = f"whole/{path}/{digest8(data)}"
        trouble = f"{len(data):,} bytes, where Neptune takes {room:,}"
        policy = self.lowerings.policy("text-length")
        remedy = f"the whole is the file {whole}" if policy == "artifact" else "it is cut"
        policy = self.decide("text-length", name, trouble=trouble, remedy=remedy)
        if policy == "skip":
            return None
        if policy != "artifact":
            return data[:room].decode(errors="ignore")
        self.file(whole, data=data, name="whole.txt")
        return f"{text[:_SHOWN].encode()[: room // 2].decode(errors='ignore')}... (whole: {whole})"[:room]

    def tags(self, add: Any = (), remove: Any = (), *, group: bool = False) -> None:
        """Add and remove tags."""
        if add or remove:
            self.ops.append(TagChange(add=tuple(add), remove=tuple(remove), group=group))

    def has(self, name: str, kind: str) -> bool:
        """Tell whether the run has such a field."""
        return self._paths.fields.get(name) == kind

    # -- series ----------------------------------------------------------------------------------

    def number(self, name: str, step: float | None, time: float, value: Any) -> None:
        """Add a number to a series; one that isn't finite goes as text into a series beside it. Raises RefusedError."""
        path = self.path(name, "series")
        if path is None:
            return
        if isinstance(value, str):
            trouble = f"a series can't hold {value}"
            remedy = f"it is in the text series nonfinite/{path}"
            if self.decide("non-finite", name, trouble=trouble, remedy=remedy) != "skip":
                self.point(name, f"nonfinite/{path}", step, time, value)
            return
        if type(value) is not float and abs(value) > _EXACT and int(value) != float(value):
            trouble, remedy = f"{value} doesn't fit a 64-bit float", f"it is {float(value)!r}"
            self.decide("precision", name, trouble=trouble, remedy=remedy)
        self.point(name, path, step, time, float(value))

    def point(self, name: str, path: str, step: float | None, time: float, value: float | str | Bins | Upload) -> None:
        """Add to the series at `path`: at its own step where the series can take it. Raises RefusedError.

        A point at or below the series' last step goes into `late/value/<path>`, counted from 0, and its step
        into `late/step/<path>`: Neptune would refuse it.
        """
        series = self._at(path)
        at = self._without_step(name, series) if step is None else self._fitting(name, step)
        if at is None:
            return
        if self._takes(series, at):
            self._append(name, path, at, time, value)
            return
        trouble = self._trouble(at)
        late = f"late/value/{path}"
        remedy = f"it is in {late}, its step in late/step/{path}"
        if self.decide("step", name, trouble=trouble, remedy=remedy) == "skip":
            return
        count = following(self._at(late), self.limits)
        self._append(name, late, count, time, value)
        self._append(name, f"late/step/{path}", count, time, float(at if step is None else step))

    def next_step(self, path: str) -> float:
        """Return the next whole step of a series."""
        return following(self._at(path), self.limits)

    def _without_step(self, name: str, series: Series) -> float | None:
        remedy = "it has the whole step above the series' last one"
        policy = self.decide("no-step", name, trouble="logged without a step", remedy=remedy)
        return None if policy == "skip" else following(series, self.limits)

    def _fitting(self, name: str, step: float) -> float:
        at = fit(step, self.limits)
        if at != step:
            trouble = f"steps keep {self.limits.digits} decimals"
            self.decide("step-digits", name, trouble=trouble, remedy=f"the first, {step!r}, is {at!r}")
        return at

    def _trouble(self, step: float) -> str:
        low, high = self.limits.steps or (-math.inf, math.inf)
        if low <= step < high:
            return f"the step {step:g} is not above the series' last one"
        return f"the step {step:g} is outside {low:g} to {high:g}"

    def _takes(self, series: Series, step: float) -> bool:
        low, high = self.limits.steps or (-math.inf, math.inf)
        return step > series.step and low <= step < high

    def _append(self, name: str, path: str, step: float, time: float, value: float | str | Bins | Upload) -> None:
        series = self._at(path)
        if time < series.time:
            remedy = "such a point has the time of the one before it"
            self.decide("time", name, trouble="time may not fall while the step rises", remedy=remedy)
            time = series.time
        self._undo.append((path, self._series.get(path)))
        self._series[path] = Series(step, time)
        if isinstance(value, Upload):
            fields = {field: getattr(value, field) for field in ("record", "name", "mime", "digest", "data")}
            self.ops.append(Upload(path=path, step=step, time=time, **fields))
        else:
            self.ops.append(Point(path, step, time, value))

    def _at(self, path: str) -> Series:
        return self._series.get(path) or self._position.series.get(path) or Series()

    # -- files -----------------------------------------------------------------------------------

    def file(
        self,
        path: str,
        *,
        name: str,
        record: Record | None = None,
        digest: str | None = None,
        data: bytes | None = None,
        mime: str | None = None,
    ) -> None:
        """Put a file at `path`."""
        kind = mime or mime_type(name)
        self.ops.append(Upload(path=path, record=record, name=name, mime=kind, digest=digest, data=data))

    def known(self, path: str) -> str | None:
        """Return the digest of what was put at `path`."""
        return self._digests.get(path) or self._position.digests.get(path)

    def remember(self, path: str, digest: str) -> None:
        """Take note of what is at `path`."""
        self._digests[path] = digest

    def forget(self, records: Container[tuple[str, int]]) -> None:
        """Take back what was remembered of records whose files are not to be had."""
        for op in self.ops:
            if isinstance(op, Upload) and op.record is not None and op.record.key in records:
                self._digests.pop(op.path, None)

    def moment(self, path: str, time: float) -> None:
        """Set a field to a point in time."""
        self.ops.append(Assign(path, Moment(time)))


def shown(field: str) -> str:
    """Return what the run itself calls a field."""
    return next((field[len(space) :] for space in _SPACES if field.startswith(space)), field)


def mime_type(name: str) -> str:
    """Return the type of a file by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _spelled(value: Any) -> Any:
    """Return a tree for JSON, which has no NaN: those become words again."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
