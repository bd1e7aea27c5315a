"""The resolver `dvc`: the MD5 by which DVC knows a file or folder, from `.dvc` files and `dvc.lock`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unitrack.hookspecs import DatasetVersion
from unitrack_dvc._places import Place, find_place
from unitrack_dvc._stage import facts_of_stage

__all__ = ["ChangedError", "DvcResolver"]

_FOLDER = ".dir"  # what DVC's digests of folders end in


class ChangedError(ValueError):
    """The file isn't the version that DVC knows any more, or DVC never saw it."""


class DvcResolver:
    """Answers for `dvc://PATH[?repo=URL&rev=REVISION]` and for paths in a DVC repository that DVC tracks.

    The version is DVC's MD5, that of a folder with `.dir` at its end. A file in the working tree is believed to be
    what DVC knows only if DVC's own record of sizes and times, or a new hash, says so.
    """

    name = "dvc"

    def resolve(self, uri: str) -> DatasetVersion | None:
        """Return the version, None for what DVC does not track.

        Raises ChangedError for a file that was changed since `dvc add` or the stage that made it.
        """
        place = find_place(uri, Path.cwd())
        if place is None:
            return None
        if place.rev is None and Path(place.repo).is_dir():
            return _in_working_tree(uri, place)
        return _at_revision(uri, place)


def _in_working_tree(uri: str, place: Place) -> DatasetVersion | None:
    from dvc.exceptions import NotDvcRepoError, OutputNotFoundError
    from dvc.repo import Repo

    try:
        with Repo(place.repo) as repo:
            (out, *_) = repo.find_outs_by_path(str(Path(place.repo, place.path)), strict=False)
            _check_unchanged(out, place)
            whole = str(Path(place.repo, place.path)) == out.fs_path
            md5 = out.hash_info.value if whole else _md5(repo.dvcfs, place)
            about = facts_of_stage(out.stage)
    except (NotDvcRepoError, OutputNotFoundError):
        if uri.startswith("dvc://"):
            raise
        return None
    return _version(uri, md5, {"path": place.path, **about})


def _check_unchanged(out: Any, place: Place) -> None:
    if not out.hash_info:
        raise ChangedError(f"DVC has no version of {place.path} yet: run `dvc repro` or `dvc commit`")
    if out.exists and out.changed_checksum():
        raise ChangedError(
            f"{place.path} is not what {out.stage.relpath} says any more: run `dvc commit` to keep it, "
            "or `dvc checkout` to have the old one back"
        )


def _at_revision(uri: str, place: Place) -> DatasetVersion:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(place.repo, rev=place.rev)
    try:
        return _version(uri, _md5(files, place), {"path": place.path, "repo": place.repo, "rev": place.rev})
    finally:
        files.close()


def _md5(files: Any, place: Place) -> str:
    found = files.info(place.path).get("dvc_info", {}).get("md5")
    if found is None:
        raise ChangedError(f"DVC does not track {place.path} in {place.repo}: `dvc add` it, or name what is tracked")
    return str(found)


def _version(uri: str, md5: str, metadata: dict[str, Any]) -> DatasetVersion:
    known = {name: value for name, value in metadata.items() if value is not None}
    return DatasetVersion(uri=uri, version=md5, digest=f"md5:{md5.removesuffix(_FOLDER)}", metadata=known)
