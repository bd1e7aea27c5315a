"""Hash files and folders on all cores, and not again while they stay as they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Union

from unitrack.objects import tree
from unitrack.objects.cache import DigestCache, Known, stamp_of
from unitrack.objects.reading import SourceError, digest_bytes, digest_file

__all__ = ["HashProgress", "digest_files", "digest_path"]

HashProgress = Callable[[int, int], object]
"""Is told (bytes done, bytes in all) from several threads, one call at a time; what the cache knows counts as done."""

Outcome = Union[Known, SourceError]
_MOST_WORKERS = 8  # more readers than this make a disk slower, not faster


def digest_path(
    path: str | os.PathLike[str],
    *,
    cache: DigestCache | None = None,
    exclude: Iterable[Path] = (),
    progress: HashProgress | None = None,
) -> tree.TreeInfo:
    """Return what a file or folder would be stored as (`ObjectStore.put_file`, `put_tree`), storing nothing.

    Of a file, `files` holds it alone. Raises SourceError if `path` itself can't be read.
    """
    if os.path.isdir(path):
        manifest = tree.describe(Path(path), lambda paths: digest_files(paths, cache, progress), exclude=exclude)
        return tree.info_of(digest_bytes(manifest.encode()), manifest)
    (outcome,) = digest_files([os.path.abspath(path)], cache, progress)
    if isinstance(outcome, SourceError):
        raise outcome
    digest, size = outcome
    entry = tree.FileEntry(path=tree.escape(os.path.basename(path)), digest=digest, size=size)
    return tree.TreeInfo(digest=digest, size=size, files=(entry,))


def digest_files(
    paths: Sequence[str], cache: DigestCache | None = None, progress: HashProgress | None = None
) -> list[Outcome]:
    """Return digest and size of each file, or why it can't be read, in the order of `paths`."""
    stamps = {path: stamp for path in paths if (stamp := stamp_of(path)) is not None}
    known = {} if cache is None else cache.look_up({path: stamp for path, (stamp, _) in stamps.items()})
    told = _Told(progress, [int(stamp.split(" ", 1)[0]) for stamp, _ in stamps.values()], known)
    found: dict[str, Outcome] = {**known}
    left = [path for path in dict.fromkeys(paths) if path not in known]
    found.update(zip(left, _hash(left, told), strict=True))
    if cache is not None:
        cache.remember(_settled(left, found, stamps))
    return [found[path] for path in paths]


def _settled(
    paths: Sequence[str], found: dict[str, Outcome], stamps: dict[str, tuple[str, bool]]
) -> list[tuple[str, str, Known]]:
    """Return what may be remembered: of files that had come to rest before they were hashed."""
    kept = []
    for path in paths:
        outcome, (stamp, settled) = found[path], stamps.get(path, ("", False))
        if settled and not isinstance(outcome, SourceError) and stamp_of(path) == (stamp, True):
            kept.append((path, stamp, outcome))
    return kept


def _hash(paths: Sequence[str], told: _Told) -> list[Outcome]:
    """Hash files side by side; reading and hashing let go of the interpreter, so threads do."""
    workers = min(len(paths), _cores(), _MOST_WORKERS)
    if workers < 2:
        return [_digest(path, told) for path in paths]
    from concurrent.futures import ThreadPoolExecutor  # 5 ms that one file does not need

    with ThreadPoolExecutor(workers, thread_name_prefix="unitrack-hash") as pool:
        return list(pool.map(lambda path: _digest(path, told), paths, chunksize=1))


def _digest(path: str, told: _Told) -> Outcome:
    try:
        return digest_file(path, None if told.silent else lambda chunk: told.add(len(chunk)))
    except SourceError as error:
        return error


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _Told:
    """Adds up what threads have read."""

    def __init__(self, progress: HashProgress | None, sizes: Sequence[int], known: dict[str, Known]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._all = sum(sizes)
        self._done = sum(size for _, size in known.values())
        if known and progress is not None:
            progress(self._done, self._all)

    @property
    def silent(self) -> bool:
        return self._progress is None

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, max(self._all, self._done))
