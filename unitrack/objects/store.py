"""The store of objects: `<root>/<aa>/<sha256>`, written whole or not at all, never changed.

Bytes go into a scratch file in the root first and get their name by a rename, so a crash
leaves scratch files only. A scratch file is locked while its writer lives: `clean` removes
the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from unitrack.errors import UnitrackError, UsageError
from unitrack.files import sync_directory
from unitrack.journal import _lock
from unitrack.objects import tree
from unitrack.objects.cache import DigestCache
from unitrack.objects.checkout import restore_file, restore_tree
from unitrack.objects.hashing import HashProgress, digest_path
from unitrack.objects.reading import ChangedError, Progress, SourceError, digest_bytes, digest_file

__all__ = ["ObjectInfo", "ObjectStore"]

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ_ONLY = 0o444
_SCRATCH = ".*.tmp"
_GRACE = 60.0  # seconds: a scratch file is unlocked for a moment after it was made
_LARGEST_MANIFEST = 1 << 30


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object: `sha256:<hex>`, size in bytes, and whether this put brought it in."""

    digest: str
    size: int
    new: bool


class ObjectStore:
    """Content-addressed files under `root`. Safe for threads and processes that put the same at once.

    The folder is made by the first put. With `durable` an object survives a power cut once
    its put returns. Puts raise UsageError when the source can't be read, OSError when the
    store can't be written.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._durable = durable
        self._swept = False

    # -- in --------------------------------------------------------------------------------------

    def put_file(self, path: str | os.PathLike[str], *, progress: Progress | None = None) -> ObjectInfo:
        """Copy a file in, hashing it on the way. Links are followed.

        A file that changes meanwhile is read once more; if it changes again that is a UsageError.
        """
        try:
            return self._copy(path, progress)
        except ChangedError:
            return self._copy(path, progress)

    def _copy(self, path: str | os.PathLike[str], progress: Progress | None) -> ObjectInfo:
        with self._scratch() as (scratch, handle):
            digest, size = digest_file(path, lambda chunk: _write(handle, chunk), progress=progress)
            return self._adopt(scratch, handle, digest, size)

    def put_bytes(self, data: bytes) -> ObjectInfo:
        """Keep bytes from memory."""
        digest = digest_bytes(data)
        if self._holds(digest, len(data)):
            return ObjectInfo(digest=digest, size=len(data), new=False)
        with self._scratch() as (scratch, handle):
            _write(handle, memoryview(data))
            return self._adopt(scratch, handle, digest, len(data))

    def put_tree(
        self,
        folder: str | os.PathLike[str],
        *,
        exclude: Iterable[Path] = (),
        progress: Progress | None = None,
    ) -> tree.TreeInfo:
        """Keep a folder: each file, and the manifest that names them (see `unitrack.objects.tree`).

        Links are followed. What can't be stored (dangling links, loops, sockets, unreadable or
        ever-changing files) is left out and told in `skipped`; this store and `exclude` are not.
        """
        manifest = tree.describe(Path(folder), lambda paths: self._keep(paths, progress), exclude=(self.root, *exclude))
        return tree.info_of(self.put_bytes(manifest.encode()).digest, manifest)

    def _keep(self, paths: list[str], progress: Progress | None) -> Iterator[tuple[str, int] | SourceError]:
        done = 0

        def tell(count: int) -> None:
            if progress is not None:
                progress(done + count)

        for path in paths:
            try:
                stored = self.put_file(path, progress=tell)
            except SourceError as error:
                yield error
            else:
                yield stored.digest, stored.size
                done += stored.size

    def digest(
        self,
        path: str | os.PathLike[str],
        *,
        exclude: Iterable[Path] = (),
        cached: bool = False,
        progress: HashProgress | None = None,
    ) -> tree.TreeInfo:
        """Return what putting a file or folder would, without storing anything. Raises UsageError.

        On all cores. With `cached`, files that were hashed before and stayed as they were are not read again.
        """
        cache = DigestCache(self.root.with_name("digests.sqlite3")) if cached else None
        return digest_path(path, cache=cache, exclude=(self.root, *exclude), progress=progress)

    # -- out -------------------------------------------------------------------------------------

    def get(self, digest: str) -> Path:
        """Return the path of an object, which is read-only. Raises UsageError if it isn't here."""
        path = self._path(digest)
        if not path.is_file():
            raise UsageError(f"{self.root} holds no object {digest}: copy it here from the store that logged it")
        return path

    def verify(self, digest: str) -> bool:
        """Tell whether the object is here and its bytes are what its name says."""
        try:
            return digest_file(self._path(digest))[0] == digest
        except SourceError:
            return False

    def read(self, digest: str, *, largest: int) -> bytes:
        """Return an object's bytes, verified. Raises UsageError for more than `largest`, UnitrackError if damaged."""
        path = self.get(digest)
        if path.stat().st_size > largest:
            raise UsageError(f"the object {digest} has more than {largest:,} bytes, too many for what it should be")
        data = path.read_bytes()
        if digest_bytes(data) != digest:
            raise UnitrackError(f"the object {path} is damaged: its bytes don't match its name. Put it again")
        return data

    def manifest(self, digest: str) -> tree.Manifest:
        """Return the manifest of a stored folder, every path in it checked. Raises UsageError if it is none."""
        return tree.parse(self.read(digest, largest=_LARGEST_MANIFEST))

    def checkout(self, digest: str, destination: str | os.PathLike[str], *, tree: bool | None = None) -> Path:
        """Restore a file or (`tree`) a folder at `destination` and return it, all digests verified.

        It appears whole or not at all, in copies that may be changed. A destination that already
        holds exactly this is left as it is; any other that is there, or is a link, is a UsageError,
        as is a manifest whose paths lead out of it. A damaged object raises UnitrackError. With
        `tree=None` an object that reads as a manifest is taken as one.
        """
        target = Path(destination)
        if self.is_tree(digest) if tree is None else tree:
            restore_tree(self.manifest(digest), self.get, target)
        else:
            restore_file(self.get(digest), digest, target)
        return target

    def is_tree(self, digest: str) -> bool:
        """Tell whether an object reads as a stored folder. Raises UsageError if it isn't here."""
        with self.get(digest).open("rb") as file:
            if not file.read(16).startswith(b'{"files":['):
                return False
        with suppress(UsageError):
            manifest = self.manifest(digest)
            return manifest.encode() == self.get(digest).read_bytes()
        return False

    # -- upkeep ----------------------------------------------------------------------------------

    def clean(self, *, older_than: float = _GRACE) -> tuple[Path, ...]:
        """Remove what crashed writers left and return it: scratch files unlocked and `older_than` seconds old."""
        return tuple(path for path in self.root.glob(_SCRATCH) if _remove_abandoned(path, older_than))

    def _path(self, digest: str) -> Path:
        if not tree.is_digest(digest):
            raise UsageError(f"{digest!r:.100} is no digest: it is 'sha256:' and 64 hexadecimal digits")
        return self.root / digest[7:9] / digest[7:]

    def _holds(self, digest: str, size: int) -> bool:
        try:
            return self._path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    @contextmanager
    def _scratch(self) -> Iterator[tuple[Path, int]]:
        self.root.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            self.clean()
        path = self.root / f".{os.urandom(12).hex()}.tmp"
        handle = os.open(path, _CREATE, _READ_ONLY)
        try:
            _lock.try_acquire(handle)
            yield path, handle
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)

    def _adopt(self, scratch: Path, handle: int, digest: str, size: int) -> ObjectInfo:
        path = self._path(digest)
        if self._holds(digest, size):  # an object of another size was cut short by a crash: replace it
            return ObjectInfo(digest=digest, size=size, new=False)
        if self._durable:
            os.fsync(handle)
        fresh = not path.parent.is_dir()
        path.parent.mkdir(exist_ok=True)
        scratch.replace(path)
        if self._durable:
            sync_directory(path.parent)
            if fresh:
                sync_directory(self.root)
        return ObjectInfo(digest=digest, size=size, new=True)


def _write(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _remove_abandoned(path: Path, older_than: float) -> bool:
    try:
        if time.time() - path.stat().st_mtime < older_than or _lock.is_held(path):
            return False
        path.unlink()
    except OSError:  # another process was quicker, or the file isn't ours to remove
        return False
    return True
