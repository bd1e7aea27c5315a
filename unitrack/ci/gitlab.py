"""The same report on GitLab: a merge request note that is kept up to date, and a commit status."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.ci import publication as say
from unitrack.ci import sticky
from unitrack.ci.context import Secret, safe_url
from unitrack.ci.http import Api, RefusedError, segment
from unitrack.ci.sticky import Comment
from unitrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unitrack.ci.publication import Publication

__all__ = ["GitLab", "Job", "Notes", "open_api", "read_job", "status_body"]

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_GONE = (404, 410)
_STATES = {"success": "success", "failure": "failed", "neutral": "success"}


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

    The job's own token can't write notes: `UNITRACK_GITLAB_TOKEN` holds a project access token with the scope `api`.
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
        token=Secret(environ.get("UNITRACK_GITLAB_TOKEN", "")),
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
        return str(self.api.call("GET", "/user").body["username"])

    def head(self, merge_request: int) -> str:
        """Return the commit at the head of a merge request."""
        return str(self.api.call("GET", f"{self._home}/merge_requests/{merge_request}").body["sha"])

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

    def report(self, job: Job, publication: Publication, *, gate: str) -> list[str]:
        """Post the note and the status; return what was done, a line each."""
        done = []
        if job.merge_request is not None:
            number = job.merge_request
            mine = sticky.Sticky(
                workflow="gitlab", job=job.job, gate=gate, run=job.pipeline, attempt=job.job_id, author=self.whoami()
            )
            posted = sticky.post(
                self.notes(number), mine, publication.report, current=lambda: self.head(number) == job.head_sha
            )
            done.append(f"note: {posted.action}")
        body = status_body(publication, gate=gate, url=job.url)
        changed = self.set_status(job.head_sha, body)
        return [*done, f"status: {body['state']}{'' if changed else ' already'}"]


def status_body(publication: Publication, *, gate: str, url: str | None) -> dict[str, Any]:
    """Return the body of a commit status, which GitLab keeps in an external job of the pipeline."""
    made = say.status_body(publication, name=f"unitrack/{gate}", url=url)
    return {**made, "state": _STATES[publication.conclusion]}


class Notes:
    """The notes of one merge request, as `sticky.Comments`."""

    def __init__(self, api: Api, path: str) -> None:
        self._api, self._path = api, path

    def listed(self) -> Iterator[Comment]:
        """Yield all notes but those that GitLab itself wrote."""
        found = self._api.pages(self._path, query={"order_by": "created_at", "sort": "asc"})
        return (_note(one) for one in found if not one["system"])

    def create(self, body: str) -> Comment:
        """Add a note."""
        return _note(self._api.call("POST", self._path, body={"body": body}).body)

    def update(self, id: int, body: str) -> Comment | None:
        """Replace a note's text; None if it is gone."""
        found = self._unless_gone("PUT", id, {"body": body})
        return None if found is None else _note(found)

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


def _note(tree: dict[str, Any]) -> Comment:
    return Comment(id=tree["id"], author=tree["author"]["username"], body=tree["body"])
