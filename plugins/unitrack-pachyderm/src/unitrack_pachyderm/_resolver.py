"""The resolver `pachyderm`: asks the cluster for the commit and the hash of what a URI names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from unitrack.hookspecs import DatasetVersion
from unitrack_pachyderm._uri import Reference, parse

__all__ = ["OpenCommitError", "PachydermResolver"]


class OpenCommitError(ValueError):
    """The commit isn't finished: its content can still change."""


class PachydermResolver:
    """Answers for `pfs://[project/]repo@(branch|commit)[:/path]`.

    The version is the commit's id, never the branch; the digest is the hash that Pachyderm has for the path. The
    cluster is that of PACHD_ADDRESS, else of the configuration that `pachctl` uses.
    """

    name = "pachyderm"

    def __init__(self, connect: Callable[[], Any] | None = None) -> None:
        self._connect = connect or _connect

    def resolve(self, uri: str) -> DatasetVersion | None:
        """Return the version, None for other URIs.

        Raises OpenCommitError, ValueError for a URI that can't be, and what the client raises if the cluster is away
        or has no such data.
        """
        if not uri.startswith("pfs://"):
            return None
        wanted = parse(uri)
        client = self._connect()
        info = client.pfs.inspect_commit(commit=_commit(wanted))
        if info.finished is None or info.finished.timestamp() <= 0:
            raise OpenCommitError(f"{uri}: commit {info.commit.id} is not finished: wait for it, or name its parent")
        fixed = _commit(wanted, id=info.commit.id)
        file = client.pfs.inspect_file(file=_file(fixed, wanted.path))
        return DatasetVersion(
            uri=uri, version=info.commit.id, digest=f"pfs:{file.hash.hex()}" if file.hash else None,
            metadata=_about(wanted, info, file),
        )  # fmt: skip


def _connect() -> Any:
    from pachyderm_sdk import Client

    address = os.environ.get("PACHD_ADDRESS")
    return Client.from_pachd_address(address) if address else Client.from_config()


def _commit(wanted: Reference, *, id: str | None = None) -> Any:
    from pachyderm_sdk.api import pfs

    repo = pfs.Repo(name=wanted.repo, type="user", project=pfs.Project(name=wanted.project))
    commit = id or wanted.commit
    if commit is not None:
        return pfs.Commit(repo=repo, id=commit)
    return pfs.Commit(repo=repo, branch=pfs.Branch(repo=repo, name=wanted.branch))


def _file(commit: Any, path: str) -> Any:
    from pachyderm_sdk.api import pfs

    return pfs.File(commit=commit, path=path)


def _about(wanted: Reference, info: Any, file: Any) -> dict[str, Any]:
    made_of = [f"{one.repo.as_uri()}@{one.id}" for one in info.direct_provenance]
    known = {
        "repo": f"{wanted.project}/{wanted.repo}",
        "branch": wanted.branch or (info.commit.branch.name if info.commit.branch else None),
        "path": wanted.path,
        "finished": info.finished.isoformat(),
        "bytes": file.size_bytes,
        "made_of": made_of or None,
    }
    return {name: value for name, value in known.items() if value not in (None, "")}
