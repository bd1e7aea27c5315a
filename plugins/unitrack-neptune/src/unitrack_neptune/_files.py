"""Find the files that operations name: objects of the store, folders file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from unitrack.backend import Rejection
from unitrack.errors import UnitrackError
from unitrack.objects import ObjectStore
from unitrack_neptune._draft import digest8, mime_type
from unitrack_neptune._names import clean
from unitrack_neptune._plan import Op, Upload

__all__ = ["TREE", "found"]

TREE = "inode/directory"


def found(ops: Iterable[Op], objects: Path) -> tuple[list[Op], list[Rejection]]:
    """Return the operations with their files found, and the records whose files are not to be had."""
    store = ObjectStore(objects)
    kept: list[Op] = []
    rejected: list[Rejection] = []
    for op in ops:
        if not isinstance(op, Upload) or op.digest is None:
            kept.append(op)
            continue
        try:
            kept += list(_tree(op, store)) if op.mime == TREE else [_file(op, op.digest, store)]
        except UnitrackError as error:
            assert op.record is not None  # what has a digest comes from a record
            rejected.append(Rejection(record=op.record, reason=str(error)))
    return kept, rejected


def _file(op: Upload, digest: str, store: ObjectStore) -> Upload:
    return msgspec.structs.replace(op, file=store.get(digest))


def _tree(op: Upload, store: ObjectStore) -> Iterator[Upload]:
    assert op.digest is not None
    for entry in store.manifest(op.digest).files:
        path = clean(entry.path, 512)
        if path != entry.path:
            path = f"{path}-{digest8(entry.path)}"
        name = entry.path.rpartition("/")[2]
        inner = msgspec.structs.replace(op, path=f"{op.path}/{path}", name=name, mime=mime_type(name))
        yield _file(inner, entry.digest, store)
