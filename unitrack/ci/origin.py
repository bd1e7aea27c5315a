"""Which pull request an untrusted run was for: asked of the event and of GitHub, never of what the run left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import EvidenceError

if TYPE_CHECKING:
    from unitrack.ci.context import Context
    from unitrack.ci.github import GitHub, Pull

__all__ = ["commits_of", "find_pull", "for_pull"]


def find_pull(github: GitHub, context: Context) -> Pull:
    """Return the one open pull request whose head is the commit that the event tells of.

    A fork's `workflow_run` event lists no pull requests, so it is looked up by the head's owner and branch, and
    must agree in commit and repository. Raises EvidenceError if there is none, or more than one.
    """
    trigger = context.trigger
    if trigger is None:
        raise EvidenceError(f"--evidence is for `workflow_run` events, and this is {context.event or 'none'}")
    if trigger.event != "pull_request":
        raise EvidenceError(f"the evidence is of a {trigger.event} run, not of a pull_request run")
    found = [
        pull
        for pull in github.pulls_from(trigger.head_owner, trigger.head_branch)
        if pull.head_sha == trigger.head_sha and pull.head_repository == trigger.head_repository
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise EvidenceError(
            f"no open pull request has {trigger.head_sha} of {trigger.head_owner}:{trigger.head_branch} as its head: "
            "it was closed, or a newer commit was pushed, whose own run reports"
        )
    numbers = ", ".join(f"#{pull.number}" for pull in found)
    raise EvidenceError(f"{numbers} have the same head: close all but one, so that it is clear which one is judged")


def for_pull(context: Context, pull: Pull) -> Context:
    """Return the context of a report about a pull request that another run was for."""
    return msgspec.structs.replace(
        context, number=pull.number, head_sha=pull.head_sha, base_ref=pull.base_ref, base_sha=pull.base_sha, fork=False
    )


def commits_of(context: Context, pull: Pull | None = None) -> frozenset[str]:
    """Return the commits a verdict may be about: the head, and its test merge with the base.

    `pull_request_target` runs on the base branch: its own commit is not the pull request's.
    """
    merge = pull.merge_commit if pull is not None else context.sha if context.event == "pull_request" else None
    return frozenset(commit for commit in (context.head_sha, merge) if commit)
