"""What the store holds of the files that records name, and W&B's artifacts made of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack import events
from unitrack.backend import Record
from unitrack.errors import UnitrackError
from unitrack.files import sync_directory, write_atomic
from unitrack.objects import ObjectStore
from unitrack_wandb._names import to_entry

if TYPE_CHECKING:
    from unitrack_wandb._plan import FileOp, LogArtifactOp

__all__ = ["make_artifact", "missing", "place_file"]


def missing(record: Record, objects: Path) -> str | None:
    """Return why the files of a record are not to be had, None if they are or it has none."""
    event = record.event
    if not isinstance(event, (events.Artifact, events.Media)) or event.digest is None:
        return None
    if isinstance(event, events.Artifact) and event.use == "input":
        return None
    store = ObjectStore(objects)
    try:
        store.get(event.digest)
        if isinstance(event, events.Artifact) and event.tree:
            for entry in store.manifest(event.digest).files:
                store.get(entry.digest)
    except UnitrackError as error:
        return str(error)
    return None


def make_artifact(op: LogArtifactOp, objects: Path) -> Any:
    """Return W&B's artifact; its files stay where they are until they are sent."""
    import wandb

    artifact = wandb.Artifact(op.name, type=op.type, metadata=op.metadata)
    if op.digest is None:
        artifact.add_reference(op.uri or "", name=op.entry or None, checksum=False)
        return artifact
    store = ObjectStore(objects)
    if not op.tree:
        _add(artifact, store.get(op.digest), op.entry)
        return artifact
    for entry in store.manifest(op.digest).files:
        _add(artifact, store.get(entry.digest), entry.path)
    return artifact


def _add(artifact: Any, path: Path, name: str) -> None:
    # An object never changes, so W&B needs no copy of its own.
    artifact.add_file(str(path.absolute()), name=to_entry(name), policy="immutable", skip_cache=True)


def place_file(op: FileOp, folder: Path, objects: Path) -> None:
    """Put a run's file where W&B looks for it, whole or not at all."""
    path = folder / op.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if op.data is not None:
        write_atomic(path, op.data)
        return
    source = ObjectStore(objects).get(op.digest or "")
    if path.exists() and path.stat().st_size == source.stat().st_size:
        return  # its name holds its digest
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        shutil.copyfile(source, scratch.name)
    Path(scratch.name).chmod(0o644)
    Path(scratch.name).replace(path)
    sync_directory(path.parent)
