"""Which path of which DVC repository a path or URI names. Looks at names of files only, and imports no DVC."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

__all__ = ["Place", "find_place", "find_root"]

_KNOWN = {"repo", "rev"}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is relative to the repository `repo`; `rev` is a revision of git, None for the working tree."""

    repo: str
    path: str
    rev: str | None = None


def find_place(uri: str, folder: Path) -> Place | None:
    """Return where the data is, None if that is no matter of DVC's; `folder` is where a bare `dvc://` begins.

    Raises ValueError for a `dvc://` that can't be.
    """
    if uri.startswith("dvc://"):
        return _of_uri(uri, folder)
    path = Path(uri)
    root = find_root(path.parent) if path.is_absolute() else None
    return Place(repo=str(root), path=path.relative_to(root).as_posix()) if root is not None else None


def find_root(folder: Path) -> Path | None:
    """Return the innermost DVC repository that holds a folder."""
    return next((each for each in (folder, *folder.parents) if (each / ".dvc" / "config").is_file()), None)


def _of_uri(uri: str, folder: Path) -> Place:
    parts = urlsplit(uri)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if options.keys() - _KNOWN:
        raise ValueError(f"{uri}: after the ? there may be repo= and rev=, not {', '.join(options.keys() - _KNOWN)}")
    path = f"{parts.netloc}{parts.path}".strip("/")
    if not path:
        raise ValueError(f"{uri} names no path: dvc://data/train.csv?rev=v1")
    repo = options.get("repo") or find_root(folder)
    if repo is None:
        raise ValueError(f"{uri}: {folder} is in no DVC repository: run it in one, or add ?repo=")
    return Place(repo=str(repo), path=path, rev=options.get("rev"))
