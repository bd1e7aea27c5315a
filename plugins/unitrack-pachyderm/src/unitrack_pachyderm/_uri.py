"""What a `pfs://` URI names. Pure."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Reference", "parse"]

_URI = re.compile(
    r"pfs://(?:(?P<project>[\w-]+)/)?(?P<repo>[\w-]+)@(?P<at>[\w-]+)(?:=(?P<commit>[0-9a-f]{32}))?(?::(?P<path>/.*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{32}")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Data in a repository: of a `commit`, or of the head of a `branch`; `path` is a file or folder, `/` all of it."""

    project: str
    repo: str
    branch: str | None
    commit: str | None
    path: str


def parse(uri: str) -> Reference:
    """Return what `pfs://[project/]repo@(branch|commit|branch=commit)[:/path]` names. Raises ValueError."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise ValueError(
            f"{uri} is not understood: write pfs://project/repo@branch:/path, with a commit for the branch"
        )
    at, commit = found["at"], found["commit"]
    if commit is None and _COMMIT.fullmatch(at):
        at, commit = None, at
    return Reference(
        project=found["project"] or "default", repo=found["repo"], branch=at, commit=commit, path=found["path"] or "/"
    )
