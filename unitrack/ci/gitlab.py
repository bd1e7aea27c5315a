"""The same report on GitLab: a merge request note that is kept up to date, a label, and a commit status if asked for.

The job itself is what GitLab shows of a gate and what keeps a merge request back, by its exit code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.ci import publication as say
from unitrack.ci import sticky
from unitrack.ci.context import Secret, safe_url
from unitrack.ci.http import Api, RefusedError, segment, shaped
from unitrack.ci.posting import Done, Kind, tried
from unitrack.ci.sticky import Comment
from unitrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from unitrack.ci.publication import Publication

__all__ = ["GitLab", "Job", "Merge", "Notes", "open_api", "post", "read_job", "status_body"]

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_GONE = (404, 410)
_QUICK_ACTION = re.compile(r"(?m)^(\s*)/(?=\w)")  # `/merge` at the start of a line is done as the token's user
_STATES = {"success": "success", "failure": "failed", "neutral": "success"}
_USUAL: frozenset[Kind] = frozenset({"comment", "label"})
_ROLES: dict[Kind, str] = {
    "comment": "the scope `api`",
    "label": "the scope `api` and the role Reporter",
    "status": "the scope `api` and the role Developer",
}


class _User(msgspec.Struct):
    username: str


class _Note(msgspec.Struct):
    id: int
    body: str
    author: _User
    system: bool = False


class _Merge(msgspec.Struct):
    sha: str | None  # none while GitLab prepares a new merge request
    labels: list[str]


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """A merge request as GitLab has it now."""

    head_sha: str | None
    labels: tuple[str, ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Where a GitLab job runs and for what. `head_sha` is the merge request's own head, `sha` what was checked out."""

    project: int
    api_url: str
    token: Secret
    sha: str
    head_sha: str
    merge_request: int | None = None
    pipeline: int = 0
    job: str = ""
    job_id: int = 0
    url: str | None = None


def read_job(environ: Mapping[str, str]) -> Job:
    """Read GitLab's variables. Raises UsageError naming what is wrong.

    The job's own token can't write notes: `GITLAB_TOKEN` holds a project access token with the scope `api`.
    """
    sha = environ.get("CI_COMMIT_SHA", "")
    head = environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or sha  # empty unless results are merged for a trial
    for name, value in (("CI_COMMIT_SHA", sha), ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", head)):
        if not _SHA.fullmatch(value):
            raise UsageError(f"{name} is {value!r:.100}, it should be a commit's id")
    try:
        numbers = {name: int(environ.get(name) or 0) for name in ("CI_PROJECT_ID", "CI_PIPELINE_ID", "CI_JOB_ID")}
        merge_request = int(environ["CI_MERGE_REQUEST_IID"]) if environ.get("CI_MERGE_REQUEST_IID") else None
    except ValueError as error:
        raise UsageError(f"one of GitLab's variables is no number: {error}") from error
    return Job(
        project=numbers["CI_PROJECT_ID"],
        api_url=safe_url(environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4", "CI_API_V4_URL"),
        token=Secret(environ.get("GITLAB_TOKEN", "")),
        sha=sha,
        head_sha=head,
        merge_request=merge_request,
        pipeline=numbers["CI_PIPELINE_ID"],
        job=environ.get("CI_JOB_NAME", ""),
        job_id=numbers["CI_JOB_ID"],
        url=environ.get("CI_JOB_URL") or None,
    )


def open_api(job: Job, **options: Any) -> Api:
    """Return the way to the job's server."""
    return Api(job.api_url, job.token, header="PRIVATE-TOKEN", prefix="", **options)


class GitLab:
    """One project."""

    def __init__(self, api: Api, project: int) -> None:
        self.api = api
        self._home = f"/projects/{project}"

    def whoami(self) -> str:
        """Return the user name that the token writes under."""
        return shaped(self.api.call("GET", "/user").body, _User, "the token's user").username

    def merge(self, number: int) -> Merge:
        """Return a merge request."""
        found = shaped(self.api.call("GET", f"{self._home}/merge_requests/{number}").body, _Merge, "the merge request")
        return Merge(head_sha=found.sha, labels=tuple(found.labels))

    def set_label(self, number: int, label: str, *, there: bool) -> None:
        """Put a label on a merge request or take it off; the others stay."""
        body = {"add_labels" if there else "remove_labels": label}
        self.api.call("PUT", f"{self._home}/merge_requests/{number}", body=body)

    def set_status(self, sha: str, body: Mapping[str, Any]) -> bool:
        """Set a commit's status; tell whether that changed anything."""
        try:
            self.api.call("POST", f"{self._home}/statuses/{segment(sha)}", body=body)
        except RefusedError as error:
            if error.status == 400 and "Cannot transition status" in str(error):  # it has that state already
                return False
            raise
        return True

    def notes(self, merge_request: int) -> Notes:
        """Return the notes of a merge request."""
        return Notes(self.api, f"{self._home}/merge_requests/{merge_request}/notes")


def post(
    gitlab: GitLab,
    job: Job,
    publication: Publication,
    *,
    gate: str,
    label: str | None = None,
    kinds: frozenset[Kind] = frozenset(),
) -> list[Done]:
    """Post each of `kinds`, note and label unless given; what one can't do, the next still may."""
    actions: dict[Kind, Callable[[], str]] = {
        "comment": lambda: _comment(gitlab, job, publication, gate),
        "label": lambda: _label(gitlab, job, publication, label),
        "status": lambda: _status(gitlab, job, publication, gate),
    }
    wanted = kinds or _USUAL
    return [
        tried(kind, action, needs=f"the token needs {_ROLES[kind]}")
        for kind, action in actions.items()
        if kind in wanted
    ]


def _comment(gitlab: GitLab, job: Job, publication: Publication, gate: str) -> str:
    number = job.merge_request
    if number is None:
        return ""
    mine = sticky.Sticky(
        workflow="gitlab", job=job.job, gate=gate, run=job.pipeline, attempt=job.job_id, author=gitlab.whoami()
    )
    text = _QUICK_ACTION.sub("\\1\u200b/", publication.report)
    return sticky.post(
        gitlab.notes(number), mine, text, current=lambda: gitlab.merge(number).head_sha == job.head_sha
    ).action


def _label(gitlab: GitLab, job: Job, publication: Publication, label: str | None) -> str:
    if job.merge_request is None or not label:
        return ""
    merge, wanted = gitlab.merge(job.merge_request), bool(publication.waived)
    if merge.head_sha != job.head_sha or (label in merge.labels) == wanted:
        return ""
    gitlab.set_label(job.merge_request, label, there=wanted)
    return f"{'added' if wanted else 'removed'} {label}"


def _status(gitlab: GitLab, job: Job, publication: Publication, gate: str) -> str:
    body = status_body(publication, gate=gate, url=job.url, pipeline=job.pipeline)
    changed = gitlab.set_status(job.sha, body)
    return f"{body['state']}{'' if changed else ' already'}"


def status_body(publication: Publication, *, gate: str, url: str | None, pipeline: int) -> dict[str, Any]:
    """Return the body of a commit status, which GitLab keeps in an external job of the pipeline."""
    made = say.status_body(publication, name=f"unitrack/{gate}", url=url)
    return {**made, "state": _STATES[publication.conclusion], **({"pipeline_id": pipeline} if pipeline else {})}


class Notes:
    """The notes of one merge request, as `sticky.Comments`."""

    def __init__(self, api: Api, path: str) -> None:
        self._api, self._path = api, path

    def listed(self, *, around: Comment | None = None) -> Iterator[Comment]:
        """Yield all notes but those that GitLab itself wrote, whatever is asked for: it can't list by time."""
        found = self._api.pages(self._path, query={"order_by": "created_at", "sort": "asc"})
        notes = (shaped(one, _Note, "a note") for one in found)
        return (_comment_of(one) for one in notes if not one.system)

    def create(self, body: str) -> Comment:
        """Add a note."""
        return _comment_of(shaped(self._api.call("POST", self._path, body={"body": body}).body, _Note, "the note"))

    def update(self, id: int, body: str) -> Comment | None:
        """Replace a note's text; None if it is gone."""
        found = self._unless_gone("PUT", id, {"body": body})
        return None if found is None else _comment_of(shaped(found, _Note, "the note"))

    def delete(self, id: int) -> None:
        """Remove a note, if it is still there."""
        self._unless_gone("DELETE", id)

    def _unless_gone(self, method: str, id: int, body: Any = None) -> Any:
        try:
            return self._api.call(method, f"{self._path}/{id}", body=body).body
        except RefusedError as error:
            if error.status in _GONE:
                return None
            raise


def _comment_of(note: _Note) -> Comment:
    return Comment(id=note.id, author=note.author.username, body=note.body)
