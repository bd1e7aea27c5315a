"""Describe a folder as a manifest: what is in it, under which digest, and what had to be left out.

A manifest is canonical JSON (sorted keys and paths, no spaces), so equal folders have equal
digests:

    {"files":[{"digest":"sha256:...","path":"a/b.txt","size":3}],"folders":["empty"],
     "skipped":[["pipe","fifo"]],"version":1}

`folders` are those that hold no stored file. Names that aren't UTF-8 are escaped reversibly.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Literal

import msgspec

from unitrack.errors import UsageError
from unitrack.objects.reading import SourceError, kind_of

__all__ = [
    "FileEntry", "Manifest", "TreeInfo", "check_path", "describe", "escape", "info_of", "is_digest", "parse",
    "unescape",
]  # fmt: skip

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MARKS = re.compile(r"\\(?=udc[89a-f][0-9a-f]|x5c)")  # what would read as an escape, though it is the name itself
_ESCAPES = re.compile(r"\\x5c|\\udc[89a-f][0-9a-f]")

_Identity = tuple[int, int]  # device, inode
_Where = tuple[str, str, frozenset[_Identity]]  # path on disk, path in the tree, the folders it is in


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tree: its path with `/`, `sha256:<hex>`, and its size in bytes."""

    path: str
    digest: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder held."""

    version: Literal[1] = 1
    files: tuple[FileEntry, ...] = ()
    folders: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """Return the one spelling of this manifest."""
        return msgspec.json.encode(self, order="sorted")


class TreeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored folder: its manifest's digest, the size of its files in bytes, and what the manifest says."""

    digest: str
    size: int
    files: tuple[FileEntry, ...]
    folders: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def is_digest(word: object) -> bool:
    """Tell whether `word` is `sha256:` and 64 lower-case hexadecimal digits."""
    return isinstance(word, str) and _DIGEST.fullmatch(word) is not None


# -- names ---------------------------------------------------------------------------------------


def escape(name: str) -> str:
    r"""Return a name that UTF-8 can hold: each undecodable byte as `\udcXX`. `unescape` undoes it."""
    return _MARKS.sub(r"\\x5c", name).encode("utf-8", "backslashreplace").decode()


def unescape(name: str) -> str:
    """Return the name as the file system has it."""
    return _ESCAPES.sub(lambda match: "\\" if match[0] == "\\x5c" else chr(int(match[0][2:], 16)), name)


def check_path(path: str) -> str:
    """Return the file system's name of a manifest's path, or raise UsageError if it could lead out of the folder."""
    name = unescape(path)
    parts = name.split("/")
    pure = PurePath(name)  # takes `.`, `//`, and on Windows drives and backslashes apart
    bad = "\0" in name or any(part in ("", ".", "..") for part in parts)
    if bad or pure.is_absolute() or pure.drive or pure.parts != tuple(parts) or not _encodable(name):
        raise UsageError(f"the manifest's path {path[:200]!r} may lead out of its folder: don't trust its source")
    return name


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


# -- manifests -----------------------------------------------------------------------------------


def parse(data: bytes) -> Manifest:
    """Return the manifest in `data`, every path and digest checked. Raises UsageError for any other bytes."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"this is no manifest of a folder that this version can read: {error}") from None
    names = [check_path(entry.path) for entry in manifest.files] + [check_path(path) for path in manifest.folders]
    if len(set(names)) < len(names):
        raise UsageError("the manifest holds a path twice: don't trust its source")
    for entry in manifest.files:
        if not is_digest(entry.digest) or entry.size < 0:
            raise UsageError(f"the manifest gives {entry.path[:200]!r} no valid digest and size: {entry!r:.300}")
    return manifest


def describe(
    folder: Path, take: Callable[[list[str]], Iterable[tuple[str, int] | SourceError]], *, exclude: Iterable[Path] = ()
) -> Manifest:
    """Return the manifest of `folder`; `take` gets the paths of all files and says digest and size of each, in turn.

    A file for which it says a SourceError is left out and told, what `exclude` names is left out unmentioned. Raises
    SourceError if `folder` itself can't be read.
    """
    names: list[str] = []
    paths: list[str] = []
    folders: list[str] = []
    skipped: list[tuple[str, str]] = []
    for kind, name, detail in _walk(folder, frozenset(_identities(exclude))):
        if kind == "folder":
            folders.append(name)
        elif kind == "skipped":
            skipped.append((escape(name), detail))
        else:
            names.append(name)
            paths.append(detail)
    files: list[FileEntry] = []
    for name, outcome in zip(names, take(paths), strict=True):
        if isinstance(outcome, SourceError):
            skipped.append((escape(name), outcome.reason))
        else:
            files.append(FileEntry(path=escape(name), digest=outcome[0], size=outcome[1]))
    files.sort(key=lambda entry: entry.path)
    leaves = _without_parents(folders, [unescape(entry.path) for entry in files])
    return Manifest(files=tuple(files), folders=tuple(sorted(map(escape, leaves))), skipped=tuple(sorted(skipped)))


def info_of(digest: str, manifest: Manifest) -> TreeInfo:
    """Return what is told of a folder whose manifest has this digest."""
    return TreeInfo(
        digest=digest,
        size=sum(entry.size for entry in manifest.files),
        files=manifest.files,
        folders=manifest.folders,
        skipped=manifest.skipped,
    )


def _without_parents(folders: list[str], files: list[str]) -> set[str]:
    parents: set[str] = set()
    for name in (*folders, *files):
        parent = name.rpartition("/")[0]
        while parent and parent not in parents:
            parents.add(parent)
            parent = parent.rpartition("/")[0]
    return set(folders) - parents


# -- walking -------------------------------------------------------------------------------------


def _walk(folder: Path, exclude: frozenset[_Identity]) -> Iterator[tuple[str, str, str]]:
    """Yield ("file", name, path), ("folder", name, "") and ("skipped", name, reason) below `folder`."""
    root = os.path.abspath(folder)
    # The folder's own parents count too: a link to `/` is as endless as one to the folder.
    above = frozenset(_identities(Path(os.path.realpath(root)).parents))
    pending: list[_Where] = [(root, "", above)]
    while pending:
        path, name, above = pending.pop()
        try:
            identity = _identity(os.stat(path))
            entries = _entries(path)
        except OSError as error:
            if not name:
                raise SourceError(folder, error.strerror or str(error)) from error
            yield "skipped", name, error.strerror or str(error)
            continue
        if name:
            yield "folder", name, ""
        here = above | {identity}
        for entry in entries:
            inside = f"{name}/{entry.name}" if name else entry.name
            kind, reason = _classify(entry, here, exclude)
            if kind == "folder":
                pending.append((entry.path, inside, here))
            elif kind != "excluded":
                yield kind, inside, entry.path if kind == "file" else reason


def _entries(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _classify(entry: os.DirEntry[str], above: frozenset[_Identity], exclude: frozenset[_Identity]) -> tuple[str, str]:
    try:
        found = os.stat(entry.path)
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) and entry.is_symlink()
        return "skipped", "dangling link" if dangling else error.strerror or str(error)
    if _identity(found) in exclude:
        return "excluded", ""
    if stat.S_ISREG(found.st_mode):
        return "file", ""
    if stat.S_ISDIR(found.st_mode):
        return ("skipped", "loop") if _identity(found) in above else ("folder", "")
    return "skipped", kind_of(found.st_mode)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _identities(paths: Iterable[Path]) -> Iterator[_Identity]:
    for path in paths:
        try:
            yield _identity(os.stat(path))
        except OSError:
            continue  # not there: nothing to meet
