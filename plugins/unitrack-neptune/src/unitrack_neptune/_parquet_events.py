"""Rows of neptune-exporter's to events of ours, each kind of attribute to what holds all of it."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from unitrack.events import Artifact, Event, Media, MediaKind, Metrics, Params, Step
from unitrack.lowering import Lowerings
from unitrack.model import metric_value, plain, text
from unitrack.objects import ObjectStore
from unitrack_neptune._draft import digest8
from unitrack_neptune._names import clean
from unitrack_neptune._parquet_rows import FILES, PARAMS, DamagedError, Row

__all__ = ["SYSTEM", "Exported", "step_of"]

SYSTEM = "sys/"
_INLINE = 16_384
_MANY = 500
_MICRO = 1_000_000
_EXACT = 2**53
_IMAGES = {"png", "jpg", "jpeg", "gif", "webp", "bmp", "tiff", "svg"}


def step_of(micros: int) -> Step:
    """Return a step given in millionths: an integer where it is whole, else the nearest float."""
    whole, part = divmod(micros, _MICRO)
    return micros / _MICRO if part else whole


class Exported:
    """Turns the rows of one run into events. `roots` are the folders that files may lie in, in the order to look."""

    def __init__(self, roots: tuple[Path, ...], objects: ObjectStore, started: float, lowerings: Lowerings) -> None:
        self._roots = roots
        self._objects = objects
        self._started = started
        self._lowerings = lowerings

    def events(self, rows: Iterable[Row]) -> Iterator[Event]:
        """Yield the events; params and the metrics of one step are put together as far as they follow each other."""
        params: dict[str, Any] = {}
        metrics: Metrics | None = None
        for row in rows:
            if row.path.startswith(SYSTEM):
                continue
            if metrics is not None and not self._joins(metrics, row):
                yield metrics
                metrics = None
            if row.kind in PARAMS:
                if row.value is not None:
                    params[row.path] = self._param(row)
                if len(params) >= _MANY:
                    yield self._params(params)
                    params = {}
            elif row.kind == "float_series":
                metrics = self._metric(metrics, row)
            else:
                yield from self._other(row)
        if metrics is not None:
            yield metrics
        if params:
            yield self._params(params)

    # -- params and metrics ----------------------------------------------------------------------

    def _params(self, flat: dict[str, Any]) -> Params:
        tree: dict[str, Any] = {}
        for path, value in flat.items():
            *spaces, last = path.split("/")
            place = tree
            for space in spaces:
                place = place.setdefault(space, {})
                if not isinstance(place, dict):
                    raise DamagedError(f"{path!r} lies in a field: Neptune has no such path, so the file is wrong")
            place[last] = value
        return Params(seq=0, time=self._started, values=tree)

    def _param(self, row: Row) -> Any:
        if row.kind == "datetime":
            self._lowerings.tell("datetime", row.path, "a time is text: ISO 8601, UTC")
            moment = datetime.fromtimestamp(row.value // 1000, timezone.utc)
            return moment.replace(microsecond=row.value % 1000 * 1000).isoformat()
        return plain(row.value)

    def _metric(self, metrics: Metrics | None, row: Row) -> Metrics:
        # A point without a value is NaN: the exporter writes points through pandas, which takes NaN for absent.
        value = metric_value(float("nan") if row.value is None else row.value)
        if metrics is not None:
            metrics.values[row.path] = value
            return metrics
        return Metrics(0, self._time(row), {row.path: value}, self._step(row))

    def _joins(self, metrics: Metrics, row: Row) -> bool:
        same = row.kind == "float_series" and row.path not in metrics.values and len(metrics.values) < _MANY
        return same and metrics.time == self._time(row) and metrics.step == self._step(row)

    def _time(self, row: Row) -> float:
        return self._started if row.time is None else row.time / 1000

    def _step(self, row: Row) -> Step | None:
        if row.step is None:
            return None
        step = step_of(row.step)
        if abs(row.step) > _EXACT and isinstance(step, float):
            detail = f"steps beyond a float's 15 digits are the nearest: {row.step}e-6 is {step!r}"
            self._lowerings.tell("step-digits", row.path, detail)
        return step

    # -- text, histograms, files -----------------------------------------------------------------

    def _other(self, row: Row) -> Iterator[Event]:
        if row.kind not in ("string_series", "histogram_series", "file_series", *FILES):
            self._lowerings.tell("type", row.path, f"attributes of the type {row.kind!r} are unknown and left out")
        elif row.value is None:
            pass  # the exporter's tables have a row for every run and attribute, whether the run has it or not
        elif row.kind == "string_series":
            yield self._text(row)
        elif row.kind == "histogram_series":
            yield self._histogram(row)
        elif row.kind == "file_series":
            yield self._shown(row)
        else:
            yield self._artifact(row)

    def _text(self, row: Row) -> Media:
        words = text(row.value)
        place: dict[str, Any] = {"inline": words}
        if len(words) > _INLINE:
            kept = self._objects.put_bytes(words.encode())
            place = {"digest": kept.digest, "size": kept.size}
        return self._media(row, "text", "txt", **place)

    def _histogram(self, row: Row) -> Media:
        edges, values = row.value["edges"] or [], row.value["values"] or []
        kind = row.value["type"]
        counts = kind != "DENSITY" and all(value is not None and value == int(value) for value in values)
        inline = {"edges": plain(edges), "counts": [int(value) for value in values] if counts else plain(values)}
        return self._media(row, "histogram", "json", inline=inline, metadata={"type": kind})

    def _shown(self, row: Row) -> Media:
        path = self._find(row)
        extension = PurePosixPath(row.value["path"]).suffix[1:].lower() or "bin"
        kind: MediaKind = "image" if extension in _IMAGES else "file"
        if path is None:
            return self._media(row, kind, extension, metadata={"missing": row.value["path"]})
        if path.is_dir():
            raise DamagedError(f"{path}: a folder, where the export names a file of the series {row.path!r}")
        kept = self._objects.put_file(path)
        return self._media(row, kind, extension, digest=kept.digest, size=kept.size)

    def _media(self, row: Row, kind: MediaKind, form: str, **fields: Any) -> Media:
        return Media(seq=0, time=self._time(row), name=row.path, kind=kind, format=form, step=self._step(row), **fields)

    def _artifact(self, row: Row) -> Artifact:
        name, path = self._artifact_name(row.path), self._find(row)
        about: dict[str, Any] = {"seq": 0, "time": self._time(row), "name": name, "kind": row.kind}
        mime = mimetypes.guess_type(row.value["path"])[0]
        metadata = {"mime": mime} if mime else {}
        if path is None:
            return Artifact(**about, uri=f"neptune-export:{row.value['path']}", metadata={"missing": True})
        if path.is_dir():
            tree = self._objects.put_tree(path)
            for skipped, reason in tree.skipped:
                self._lowerings.tell("file", f"{row.path}/{skipped}", f"can't be read: {reason}")
            return Artifact(**about, digest=tree.digest, size=tree.size, tree=True)
        kept = self._objects.put_file(path)
        return Artifact(**about, digest=kept.digest, size=kept.size, metadata=metadata)

    def _artifact_name(self, path: str) -> str:
        """Return the attribute's path as an artifact's name: relative, without `..`, printable."""
        parts = [part if part.strip(".") else "_" for part in clean(path, 480).replace("\\", "_").split("/")]
        name = "".join(sign if sign.isprintable() else "_" for sign in "/".join(parts))
        if name == path:
            return path
        name = f"{name}-{digest8(path)}"
        self._lowerings.tell("name", path, f"the artifact is {name}")
        return name

    def _find(self, row: Row) -> Path | None:
        """Return where a file is; None, and told, if it is missing. Raises DamagedError if it lies elsewhere."""
        named = row.value["path"] or ""
        pure = PurePosixPath(named)
        if not named or pure.is_absolute() or ".." in pure.parts or "\0" in named or "\\" in named:
            raise DamagedError(
                f"{row.path!r} names the file {named[:200]!r}, which may lie outside the export: don't trust its source"
            )
        for root in self._roots:
            path = root / named
            if not path.exists():
                continue
            if not path.resolve().is_relative_to(root.resolve()):
                raise DamagedError(f"{path}: a link that leads out of the export: don't trust its source")
            return path
        places = " or ".join(map(str, self._roots))
        self._lowerings.tell("file", row.path, f"{named} is missing from {places}: named, without its bytes")
        return None
