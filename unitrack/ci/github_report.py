"""Post what a gate has to say to GitHub: comment, check run, status, label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unitrack.ci import publication as say
from unitrack.ci import sticky
from unitrack.ci.http import RefusedError
from unitrack.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unitrack.ci.context import Context
    from unitrack.ci.github import GitHub, Pull
    from unitrack.ci.publication import Publication

__all__ = ["PERMISSIONS", "Done", "Kind", "Names", "post", "sticky_of"]

Kind = Literal["comment", "check", "status", "label"]
PERMISSIONS: dict[Kind, str] = {
    "comment": "pull-requests: write",
    "check": "checks: write",
    "status": "statuses: write",
    "label": "pull-requests: write",
}


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What this gate is called: `gate` tells several gates of one job apart, `label` marks a waived failure."""

    gate: str = "gate"
    author: str
    label: str | None = "gate-waived"

    @property
    def check(self) -> str:
        """Return the name of the check run and the context of the status."""
        return f"unitrack/{self.gate}"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thing to post. `refused` is a lack of permission, `failed` anything else."""

    kind: Kind
    state: Literal["done", "skipped", "refused", "failed"]
    text: str


def post(
    github: GitHub, context: Context, publication: Publication, names: Names, *, kinds: frozenset[Kind]
) -> list[Done]:
    """Post each kind that is asked for, apart from the others: what one can't do, the next still may."""
    judged: list[Pull] = []

    def current() -> bool:
        """Ask whether the judged commit is still the head, and keep what else the answer says."""
        assert context.number is not None
        judged[:] = [github.pull(context.number)]
        return judged[0].head_sha == context.head_sha

    actions: dict[Kind, Callable[[], str]] = {
        "comment": lambda: _comment(github, context, publication, names, current),
        "check": lambda: _check(github, context, publication, names),
        "status": lambda: _status(github, context, publication, names),
        "label": lambda: _label(github, context, publication, names, judged),
    }
    return [_tried(kind, action) for kind, action in actions.items() if kind in kinds]


def sticky_of(context: Context, names: Names) -> sticky.Sticky:
    """Return what marks this gate's comment; of an untrusted run's report, the order is that of the untrusted runs."""
    run, attempt = (context.run, context.attempt)
    if context.trigger is not None:
        run, attempt = context.trigger.run, context.trigger.attempt
    return sticky.Sticky(
        workflow=context.workflow, job=context.job, gate=names.gate, run=run, attempt=attempt, author=names.author
    )


def _tried(kind: Kind, action: Callable[[], str]) -> Done:
    try:
        text = action()
    except RefusedError as error:
        lacking = error.status in (401, 403)
        text = f"{error}: give the job `{PERMISSIONS[kind]}`" if lacking else str(error)
        return Done(kind=kind, state="refused" if lacking else "failed", text=text)
    except BackendError as error:
        return Done(kind=kind, state="failed", text=str(error))
    return Done(kind=kind, state="done" if text else "skipped", text=text or "nothing to do")


def _comment(
    github: GitHub, context: Context, publication: Publication, names: Names, current: Callable[[], bool]
) -> str:
    if context.number is None:
        return ""
    done = sticky.post(github.comments(context.number), sticky_of(context, names), publication.report, current=current)
    return f"{done.action} {done.url}".strip()


def _check(github: GitHub, context: Context, publication: Publication, names: Names) -> str:
    first, *rest = say.check_bodies(publication, name=names.check, sha=context.head_sha, url=context.run_url)
    made = github.create_check(first)
    for body in rest:
        github.update_check(made, body)
    return f"{publication.conclusion}, {len(publication.annotations)} annotations"


def _status(github: GitHub, context: Context, publication: Publication, names: Names) -> str:
    body = say.status_body(publication, name=names.check, url=context.run_url)
    github.create_status(context.head_sha, body)
    return str(body["state"])


def _label(github: GitHub, context: Context, publication: Publication, names: Names, judged: list[Pull]) -> str:
    """Keep the label that tells a waived failure; asks for the labels only if the comment didn't already."""
    if context.number is None or not names.label:
        return ""
    pull = judged[0] if judged else github.pull(context.number)
    there = names.label in pull.labels
    if pull.head_sha != context.head_sha or there == bool(publication.waived):
        return ""
    if there:
        github.remove_label(context.number, names.label)
        return f"removed {names.label}"
    github.add_labels(context.number, [names.label])
    return f"added {names.label}"
