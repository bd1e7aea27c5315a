"""Where `check` finds the data it compares: as the settings name them, or as runs logged them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from unitrack.errors import EvidenceError, UnitrackError
from unitrack.journal import layout
from unitrack.monitor.reading import SUFFIXES, read_sample
from unitrack.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.config import CheckSettings, Settings
    from unitrack.events import DatasetUsed
    from unitrack.monitor import Sample
    from unitrack.reader import RunView

__all__ = ["Located", "Missing", "in_project", "of_run", "read", "training_schema"]

_TEXTS = (".csv", ".tsv")
_TRAINING = ("train", "training")


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A file to read. `suffix` says what it is, `source` how people know it, `names` are columns that were logged."""

    path: Path
    source: str
    suffix: str
    digest: str
    names: tuple[str, ...] | None = None


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Why data can't be had, in words that go on from "the reference data" or "the fresh data".

    `lost` says that there were some: then drift is open, not out of the question.
    """

    why: str
    lost: bool = False


def in_project(settings: Settings, name: str, key: str) -> Located:
    """Return the file that the key of `[check]` names. Raises EvidenceError if it is not there."""
    path = settings.root / name
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise EvidenceError(f"[check].{key}: {path} {what}: drift is tested in a file; fetch it before the check")
    digest = ObjectStore(layout.objects_dir(settings.store)).digest(path, cached=True).digest
    return Located(path=path, source=name, suffix=path.suffix, digest=digest)


def of_run(view: RunView, store: Path, *, training: bool) -> Located | Missing:
    """Return the data that a run logged: those it trained on, or those it measured the model on.

    A copy that was kept comes first, else the file itself if it is still the same.
    """
    chosen = _chosen(view.datasets, training=training)
    if not chosen:
        return Missing(why=f"are not known: run {view.id} logged no dataset")
    objects = ObjectStore(layout.objects_dir(store))
    for dataset in chosen:
        found = _kept(view, dataset, objects) or _still_there(dataset, objects)
        if found is not None:
            return found
    return Missing(
        why=f"are gone or changed since run {view.id} logged {chosen[0].name!r:.80}: log them with keep=True",
        lost=True,
    )


def _chosen(datasets: Sequence[DatasetUsed], *, training: bool) -> list[DatasetUsed]:
    """Return the datasets of one purpose, those that say so first."""
    if training:
        said = [one for one in datasets if one.split in _TRAINING]
        return said or [one for one in datasets if one.split is None]
    said = [one for one in datasets if one.split == "fresh"]
    return said or [one for one in datasets if one.split not in _TRAINING]


def _names(dataset: DatasetUsed) -> tuple[str, ...] | None:
    return None if dataset.columns is None else tuple(column[0] for column in dataset.columns)


def _kept(view: RunView, dataset: DatasetUsed, objects: ObjectStore) -> Located | None:
    kept = dataset.metadata.get("kept")
    artifact = next((one for one in view.artifacts if one.digest == kept and not one.tree), None)
    if artifact is None or not isinstance(kept, str):
        return None
    try:
        if not objects.verify(kept):
            return None
        path = objects.get(kept)
    except UnitrackError:
        return None
    # What is kept of a file is named after it and its split, and what is kept of a frame has an ending of its own.
    endings = [Path(name).suffix.lower() for name in (artifact.name, dataset.name)]
    suffix = next((ending for ending in endings if ending in SUFFIXES), endings[0])
    return Located(
        path=path,
        source=f"{dataset.name} of run {view.id}",
        suffix=suffix,
        digest=dataset.digest or kept,
        names=_names(dataset),
    )


def _still_there(dataset: DatasetUsed, objects: ObjectStore) -> Located | None:
    path = Path(unquote((dataset.uri or "").removeprefix("file://")))
    if not dataset.uri or not path.is_absolute() or not path.is_file():
        return None
    if objects.digest(path, cached=True).digest != dataset.digest:
        return None
    return Located(
        path=path, source=str(path), suffix=path.suffix, digest=dataset.digest or "", names=_names(dataset)
    )  # fmt: skip


def read(found: Located, check: CheckSettings) -> Sample:
    """Read a sample. Raises EvidenceError and UsageError, which name the data as people know them."""
    try:
        return read_sample(found.path, most=check.rows, names=found.names, suffix=found.suffix)
    except UnitrackError as error:
        raise type(error)(str(error).replace(str(found.path), found.source)) from error


def training_schema(view: RunView | None) -> list[list[str]] | None:
    """Return the columns that a run's training data had, for when the data themselves are gone.

    What is known of a CSV file's types is only that they are written as text.
    """
    found = [] if view is None else [one for one in _chosen(view.datasets, training=True) if one.columns]
    if not found or found[0].columns is None:
        return None
    untyped = str(found[0].uri or found[0].name).lower().endswith(_TEXTS)
    return [[name, "" if untyped else kind] for name, kind in found[0].columns]
