"""From a reference to the bytes of a model: in the store already, or downloaded and verified."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from unitrack.errors import RegistryError, UsageError
from unitrack.journal import layout
from unitrack.objects import ObjectStore
from unitrack.registry.base import Registry
from unitrack.registry.interface import ModelVersion

__all__ = ["Obtained", "obtain"]


class Obtained(msgspec.Struct, frozen=True, kw_only=True):
    """A version whose bytes are among the store's objects under its digest."""

    version: ModelVersion
    digest: str
    tree: bool
    size: int


def obtain(registry: Registry, reference: str, store: Path) -> Obtained:
    """Return a version whose object the store holds, after downloading it if need be.

    What is here is not verified, what is downloaded is. Raises RegistryError for a version without a model, whose
    model is nowhere, or whose downloaded bytes are not what was registered.
    """
    version = registry.get(reference)
    if version.digest is None:
        raise RegistryError(f"{reference} was registered without a model artifact: register it with --artifact")
    objects = ObjectStore(layout.objects_dir(store))
    held = _held(objects, version, version.digest)
    if held is not None:
        return held
    with tempfile.TemporaryDirectory(prefix="model-", dir=store) as scratch:
        return _adopt(registry, version, version.digest, objects, Path(scratch))


def _held(objects: ObjectStore, version: ModelVersion, digest: str) -> Obtained | None:
    try:
        tree = objects.is_tree(digest)
        size = objects.get(digest).stat().st_size
        for file in objects.manifest(digest).files if tree else ():
            size += objects.get(file.digest).stat().st_size
    except UsageError:
        return None
    return Obtained(version=version, digest=digest, tree=tree, size=size)


def _adopt(registry: Registry, version: ModelVersion, digest: str, objects: ObjectStore, scratch: Path) -> Obtained:
    found = registry.fetch(version, scratch)
    if found is None:
        raise RegistryError(
            f"the model of {version.reference} is nowhere: the store has no object {digest}, and {registry.where} "
            "keeps no files. Copy the store's objects here, or log the model again"
        )
    files = [path for path in found.rglob("*") if path.is_file()] if found.is_dir() else [found]
    # A tracker keeps a model of one file in a folder of its own.
    for tree, path in ((True, found), (False, files[0] if len(files) == 1 else found)):
        if path.is_dir() != tree:
            continue
        info = objects.digest(path)
        if info.digest == digest:
            size = (objects.put_tree(path) if tree else objects.put_file(path)).size
            return Obtained(version=version, digest=digest, tree=tree, size=size)
    raise RegistryError(
        f"what {registry.where} holds for {version.reference} is not what was registered: its digest is not {digest}. "
        "Somebody changed the files: don't use them, and register the model anew"
    )
