"""Post what a gate has to say to GitHub: comment, check run, status, label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.ci import publication as say
from unitrack.ci import sticky
from unitrack.ci.posting import Done, Kind, tried

if TYPE_CHECKING:
    from collections.abc import Callable

    from unitrack.ci.context import Context
    from unitrack.ci.github import GitHub, Pull
    from unitrack.ci.publication import Publication

__all__ = ["CALLS", "PERMISSIONS", "Names", "Seen", "post", "sticky_of"]

PERMISSIONS: dict[Kind, str] = {
    "comment": "pull-requests: write",
    "check": "checks: write",
    "status": "statuses: write",
    "label": "pull-requests: write",
}


CALLS = 8
"""The most calls a gate makes, find out and look up included, while a pull request has at most a hundred comments."""

_USUAL: frozenset[Kind] = frozenset({"comment", "label", "check"})
_FRESH = 5.0  # seconds


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What this gate is called: `gate` tells several gates of one job apart, `label` marks a waived failure."""

    gate: str = "gate"
    author: str
    label: str | None = "gate-waived"

    @property
    def check(self) -> str:
        """Return the name of the check run and the context of the status."""
        return f"unitrack/{self.gate}"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request as it was at a moment of the API's clock."""

    pull: Pull
    at: float


def post(
    github: GitHub,
    context: Context,
    publication: Publication,
    names: Names,
    *,
    kinds: frozenset[Kind] = frozenset(),
    seen: Seen | None = None,
) -> list[Done]:
    """Post each of `kinds` apart from the others: what one can't do, the next still may.

    Without `kinds` it is comment, label and check run, and a commit status where the token may not write check runs.
    The check run comes last and takes the calls that are left, so that a gate makes no more than `CALLS`.
    """
    head = _Head(github, context, seen)
    actions: dict[Kind, Callable[[], str]] = {
        "comment": lambda: _comment(github, context, publication, names, head),
        "label": lambda: _label(github, context, publication, names, head),
        "status": lambda: _status(github, context, publication, names),
        "check": lambda: _check(github, context, publication, names),
    }
    wanted = kinds or _USUAL
    done = [_tried(kind, action) for kind, action in actions.items() if kind in wanted]
    if not kinds and done[-1].state == "refused":
        done.append(_tried("status", actions["status"]))
    return done


def _tried(kind: Kind, action: Callable[[], str]) -> Done:
    return tried(kind, action, needs=f"give the job `{PERMISSIONS[kind]}`")


class _Head:
    """Knows whether the judged commit is still the head, and what else the pull request said of itself."""

    def __init__(self, github: GitHub, context: Context, seen: Seen | None) -> None:
        self._github, self._context, self._seen = github, context, seen

    def is_current(self) -> bool:
        """Ask, unless the answer is a few seconds old: no newer commit is trained and judged in that time."""
        if self._seen is None or self._github.api.clock() - self._seen.at > _FRESH:
            self._ask()
        return self.pull.head_sha == self._context.head_sha

    @property
    def pull(self) -> Pull:
        """Return the pull request as it was asked for last."""
        return (self._seen or self._ask()).pull

    def _ask(self) -> Seen:
        assert self._context.number is not None
        pull = self._github.pull(self._context.number)
        self._seen = Seen(pull=pull, at=self._github.api.clock())
        return self._seen


def sticky_of(context: Context, names: Names) -> sticky.Sticky:
    """Return what marks this gate's comment; of an untrusted run's report, the order is that of the untrusted runs."""
    run, attempt = (context.run, context.attempt)
    if context.trigger is not None:
        run, attempt = context.trigger.run, context.trigger.attempt
    return sticky.Sticky(
        workflow=context.workflow, job=context.job, gate=names.gate, run=run, attempt=attempt, author=names.author
    )


def _comment(github: GitHub, context: Context, publication: Publication, names: Names, head: _Head) -> str:
    if context.number is None:
        return ""
    notes = github.comments(context.number)
    done = sticky.post(notes, sticky_of(context, names), publication.report, current=head.is_current)
    return f"{done.action} {done.url}".strip()


def _label(github: GitHub, context: Context, publication: Publication, names: Names, head: _Head) -> str:
    """Keep the label that tells a waived failure."""
    if context.number is None or not names.label:
        return ""
    pull, wanted = head.pull, bool(publication.waived)
    there = names.label in pull.labels
    if pull.head_sha != context.head_sha or there == wanted:
        return ""
    if there:
        github.remove_label(context.number, names.label)
        return f"removed {names.label}"
    github.add_labels(context.number, [names.label])
    return f"added {names.label}"


def _check(github: GitHub, context: Context, publication: Publication, names: Names) -> str:
    first, *rest = say.check_bodies(
        publication,
        name=names.check,
        sha=context.head_sha,
        url=context.run_url,
        requests=max(CALLS - github.api.calls, 1),
    )
    made = github.create_check(first)
    for body in rest:
        github.update_check(made, body)
    return f"{publication.conclusion}, {len(publication.annotations)} annotations"


def _status(github: GitHub, context: Context, publication: Publication, names: Names) -> str:
    body = say.status_body(publication, name=names.check, url=context.run_url)
    github.create_status(context.head_sha, body)
    return str(body["state"])
