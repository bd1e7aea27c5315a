"""What a push merged, asked of GitHub, and the gated commit, fetched from there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from unitrack.ci import runner
from unitrack.ci.context import read_context
from unitrack.ci.github import GitHub, open_api
from unitrack.cli._output import note
from unitrack.cli._reporting import mask
from unitrack.errors import EvidenceError, UsageError
from unitrack.rerun.git import find_repository

if TYPE_CHECKING:
    from unitrack.config import Settings

__all__ = ["Merged", "fetch_gated", "merged_pull", "show_release_note"]

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
Merged = tuple[int, str]
"""A pull request's number, and the commit that its merge left on the branch."""


def merged_pull() -> Merged | None:
    """Return what this push merged into the default branch, None if it is no such push."""
    context = read_context(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
    mask(context.token)
    if context.event != "push":
        raise UsageError(f"`unitrack ci promote` is for `push` events, and this is {context.event or 'none'}")
    if not context.on_default_branch:
        note(f"{context.ref or 'this'} is not the default branch {context.default_branch or ''}".rstrip())
        return None
    api = open_api(context.api_url, context.token)
    try:
        found = [
            pull
            for pull in GitHub(api, context.repository).pulls_of(context.head_sha)
            if pull.merge_commit == context.head_sha
            and pull.state == "closed"
            and pull.base_ref == context.default_branch
        ]
    finally:
        api.close()
    if len(found) > 1:
        raise EvidenceError(f"{context.head_sha[:12]} is the merge of several pull requests: promote by hand")
    return (found[0].number, context.head_sha) if found else None


def fetch_gated(settings: Settings, remote: str, number: int, *, gated: str | None) -> None:
    """Fetch the commit that was gated, which a squash or a rebase leaves out of the branch. Raises EvidenceError.

    That is the pull request's head, or its test merge, which no ref leads to any more: GitHub gives it by its id.
    Only what it contains is compared, so it doesn't matter who named it.
    """
    repository = find_repository(settings.root)
    if gated is not None and repository.has(gated):
        return
    repository.fetch(remote, f"refs/pull/{number}/head")
    if gated is not None and _SHA.fullmatch(gated) and not repository.has(gated):
        try:
            repository.fetch(remote, gated)
        except EvidenceError as error:
            note(f"unitrack: warning: {error}")


def show_release_note(folder: Path) -> None:
    """Append the release note to the job's summary, if both are there."""
    summary, text = os.environ.get("GITHUB_STEP_SUMMARY"), folder / "release-note.md"
    if summary and text.exists():
        runner.write_summary(summary, text.read_text(encoding="utf-8"))
