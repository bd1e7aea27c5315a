"""A run that this backend wrote, back as it was."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from unitrack import events as neutral
from unitrack.backend import Lowering
from unitrack.errors import UsageError
from unitrack.foreign import Counts, ForeignInfo
from unitrack.journal.codec import decode_line
from unitrack.lowering import Lowerings
from unitrack.objects import ObjectStore
from unitrack_tensorboard._folder import OWN, Description
from unitrack_tensorboard._mapping import artifact_path, flatten, media_path, older_path
from unitrack_tensorboard._names import RESERVED, Tags
from unitrack_tensorboard._records import Damage, event_files, read_events

__all__ = ["OwnRun", "word"]

_WHOLE = "unitrack/event"
_WORDS = {math.inf: "Infinity", -math.inf: "-Infinity"}


class OwnRun:
    """One run of ours: what the shown values don't tell rides along as records."""

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder, self._description = folder, description
        self._lowerings = Lowerings()
        self._tags = Tags(Lowerings(), _read(folder / OWN / "names.json"))

    @property
    def info(self) -> ForeignInfo:
        """Who it is, as `run.json` says."""
        told = self._description
        return ForeignInfo(
            id=told.id, origin=str(self._folder), project=told.project, started=told.started, name=told.name,
            group=told.group, parent=told.parent, tags=tuple(tag for tag, text in told.tags.items() if not text),
            ended=told.ended, status=cast("neutral.FinalStatus | None", told.status),
        )  # fmt: skip

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What could not be had back."""
        return self._lowerings.all

    def events(self, objects: ObjectStore) -> Iterator[neutral.Event]:
        """Yield the run's events; files come from beside the event file, each checked by its digest."""
        for path in self._files():
            try:
                for event in read_events(path):
                    found = self._event(event, objects)
                    if found is not None:
                        yield found
            except Damage as damage:
                self._lowerings.tell("damage", path.name, str(damage))

    def _files(self) -> list[Path]:
        return [path for path in event_files(self._folder) if not path.name.endswith(".hparams")]

    def _event(self, event: Any, objects: ObjectStore) -> neutral.Event | None:
        values = {value.tag: value for value in event.summary.value}
        whole = values.pop(_WHOLE, None)
        if whole is None:
            return self._metrics(event)
        found = decode_line(whole.tensor.string_val[0])
        if isinstance(found, neutral.RunStarted):
            return None  # it is made from `info`
        if isinstance(found, neutral.Artifact) and found.digest and found.use == "output" and not found.uri:
            return found if self._put_artifact(found, objects) else None
        if isinstance(found, neutral.Media) and found.digest:
            return found if self._put_media(found, values, objects) else None
        return found

    def _metrics(self, event: Any) -> neutral.Metrics | None:
        values: dict[str, neutral.Metric] = {
            self._tags.name(value.tag): word(_exact(value.tensor))
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "scalars"
        }
        return neutral.Metrics(0, event.wall_time, values, event.step) if values else None

    # -- files -----------------------------------------------------------------------------------

    def _put_artifact(self, event: neutral.Artifact, objects: ObjectStore) -> bool:
        assert event.digest is not None
        for path in (artifact_path(event.name), older_path(event.name, event.digest)):
            local = self._folder / OWN / path
            try:
                stored = objects.put_tree(local).digest if event.tree else objects.put_file(local).digest
            except UsageError:
                continue
            if stored == event.digest:
                return True
        return self._missing(event.name, event.digest)

    def _put_media(self, event: neutral.Media, values: dict[str, Any], objects: ObjectStore) -> bool:
        """Take the bytes from what is shown, if they are the ones that were logged, else from the file."""
        for value in values.values():
            for data in value.tensor.string_val:
                if f"sha256:{hashlib.sha256(data).hexdigest()}" == event.digest:
                    objects.put_bytes(data)
                    return True
        try:
            stored = objects.put_file(self._folder / OWN / media_path(event)).digest
        except UsageError:
            stored = None
        return stored == event.digest or self._missing(event.name, event.digest or "")

    def _missing(self, name: str, digest: str) -> bool:
        self._lowerings.tell("file", name, f"its bytes ({digest}) are neither in the event file nor beside it")
        return False

    # -- what there is, asked apart --------------------------------------------------------------

    def expected(self) -> Counts:
        """Count what TensorBoard's own reader finds."""
        from unitrack_tensorboard._counting import tensors

        found = {path: tensors(path) for path in self._files()}
        points = artifacts = media = 0
        for tags in found.values():
            whole = [decode_line(tensor.string_val[0]) for tensor in tags.pop(_WHOLE, ("", []))[1]]
            artifacts += sum(isinstance(event, neutral.Artifact) for event in whole)
            media += sum(isinstance(event, neutral.Media) for event in whole)
            for tag, (plugin, values) in tags.items():
                points += len(values) if plugin == "scalars" and not tag.startswith(RESERVED) else 0
        told = self._description
        params = sum(1 for _ in flatten(told.params))
        return Counts(params=params, points=points, tags=len(told.tags), artifacts=artifacts, media=media)


def _exact(tensor: Any) -> float:
    """Return a scalar in 64 bits: beside what is shown, if that is less."""
    return float((tensor.double_val or tensor.float_val)[0])


def word(value: float) -> neutral.Metric:
    if math.isfinite(value):
        return value
    return cast("neutral.Metric", _WORDS.get(value, "NaN"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", msgspec.json.decode(path.read_bytes(), type=dict))
    except (OSError, ValueError):
        return None
