"""The calls to GitHub's API that a report needs, each with what it takes and gives."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.ci.http import Api, RefusedError, segment, shaped
from unitrack.ci.sticky import Comment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unitrack.ci.context import Secret

__all__ = ["BOT", "GitHub", "IssueComments", "Pull", "open_api"]

BOT = "github-actions[bot]"
"""Who writes with GITHUB_TOKEN, on github.com and on Enterprise servers."""

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_GONE = (404, 410)
_RACE = timedelta(minutes=10)  # longer than any two steps that make a comment at once are apart


class _User(msgspec.Struct):
    login: str


class _Comment(msgspec.Struct):
    id: int
    user: _User | None = None  # the account was deleted
    body: str | None = None
    html_url: str = ""
    created_at: datetime | None = None


class _Repository(msgspec.Struct):
    id: int


class _Label(msgspec.Struct):
    name: str


class _Side(msgspec.Struct):
    sha: str
    ref: str
    repo: _Repository | None  # the fork was deleted


class _Pull(msgspec.Struct):
    number: int
    state: str
    head: _Side
    base: _Side
    labels: list[_Label]
    merge_commit_sha: str | None = None


class _Made(msgspec.Struct):
    id: int


class _File(msgspec.Struct):
    content: str
    encoding: str


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request as GitHub has it now. `merge_commit` is its test merge while it is open."""

    number: int
    state: str
    head_sha: str
    head_repository: int | None
    base_repository: int | None
    base_ref: str
    base_sha: str
    merge_commit: str | None
    labels: tuple[str, ...]


def open_api(url: str, token: Secret, **options: Any) -> Api:
    """Return the way to one server: `https://api.github.com`, or an Enterprise server's `https://HOST/api/v3`."""
    return Api(url, token, headers=_HEADERS, **options)


class GitHub:
    """One repository."""

    def __init__(self, api: Api, repository: str) -> None:
        self.api = api
        self._home = f"/repos/{repository}"

    def pull(self, number: int) -> Pull:
        """Return a pull request."""
        return _pull(self.api.call("GET", f"{self._home}/pulls/{number}").body)

    def pulls_from(self, owner: str, branch: str) -> list[Pull]:
        """Return the open pull requests whose head is a branch of `owner`'s repository or fork."""
        query = {"state": "open", "head": f"{owner}:{branch}"}
        return [_pull(one) for one in self.api.pages(f"{self._home}/pulls", query=query)]

    def pulls_of(self, commit: str) -> list[Pull]:
        """Return the pull requests a commit belongs to, merged ones too."""
        return [_pull(one) for one in self.api.pages(f"{self._home}/commits/{commit}/pulls", query={})]

    def create_check(self, body: Mapping[str, Any]) -> int:
        """Create a check run; return its id."""
        made = self.api.call("POST", f"{self._home}/check-runs", body=body).body
        return shaped(made, _Made, "the check run").id

    def update_check(self, id: int, body: Mapping[str, Any]) -> None:
        """Change a check run; annotations are added to those it has."""
        self.api.call("PATCH", f"{self._home}/check-runs/{id}", body=body)

    def create_status(self, sha: str, body: Mapping[str, Any]) -> None:
        """Set the status of a commit in one context."""
        self.api.call("POST", f"{self._home}/statuses/{sha}", body=body)

    def add_labels(self, number: int, labels: Sequence[str]) -> None:
        """Put labels on a pull request; unknown ones are created."""
        self.api.call("POST", f"{self._home}/issues/{number}/labels", body={"labels": list(labels)})

    def remove_label(self, number: int, label: str) -> None:
        """Take a label off a pull request, if it is there."""
        _unless_gone(self.api, "DELETE", f"{self._home}/issues/{number}/labels/{segment(label)}")

    def text(self, path: str, ref: str) -> str | None:
        """Return a file as `ref` has it, None if it has none."""
        where = f"{self._home}/contents/{'/'.join(map(segment, path.split('/')))}"
        try:
            body = self.api.call("GET", where, query={"ref": ref}).body
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return _decoded(body, path)

    def comments(self, number: int) -> IssueComments:
        """Return the comments of a pull request."""
        return IssueComments(self.api, self._home, number)


class IssueComments:
    """The conversation of one pull request, as `sticky.Comments`."""

    def __init__(self, api: Api, home: str, number: int) -> None:
        self._api, self._home, self._number = api, home, number

    def listed(self, *, around: Comment | None = None) -> Iterator[Comment]:
        """Yield all comments, or those that were written around the time of one."""
        since = {} if around is None or around.created is None else {"since": _iso(around.created - _RACE)}
        return map(_comment, self._api.pages(f"{self._home}/issues/{self._number}/comments", query=since))

    def create(self, body: str) -> Comment:
        """Add a comment."""
        path = f"{self._home}/issues/{self._number}/comments"
        return _comment(self._api.call("POST", path, body={"body": body}).body)

    def update(self, id: int, body: str) -> Comment | None:
        """Replace a comment's text; None if it is gone."""
        found = _unless_gone(self._api, "PATCH", f"{self._home}/issues/comments/{id}", {"body": body})
        return None if found is None else _comment(found)

    def delete(self, id: int) -> None:
        """Remove a comment, if it is still there."""
        _unless_gone(self._api, "DELETE", f"{self._home}/issues/comments/{id}")


def _unless_gone(api: Api, method: str, path: str, body: Any = None) -> Any:
    try:
        return api.call(method, path, body=body).body
    except RefusedError as error:
        if error.status in _GONE:
            return None
        raise


def _comment(tree: Any) -> Comment:
    found = shaped(tree, _Comment, "a comment")
    author = "" if found.user is None else found.user.login
    return Comment(id=found.id, author=author, body=found.body or "", url=found.html_url, created=found.created_at)


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pull(tree: Any) -> Pull:
    found = shaped(tree, _Pull, "a pull request")
    return Pull(
        number=found.number,
        state=found.state,
        head_sha=found.head.sha,
        head_repository=None if found.head.repo is None else found.head.repo.id,
        base_repository=None if found.base.repo is None else found.base.repo.id,
        base_ref=found.base.ref,
        base_sha=found.base.sha,
        merge_commit=found.merge_commit_sha,
        labels=tuple(label.name for label in found.labels),
    )


def _decoded(body: Any, path: str) -> str:
    found = shaped(body, _File, path)
    if found.encoding != "base64":  # GitHub leaves the content of files over a megabyte out
        raise RefusedError(f"{path}: it is too large to be read over the API", status=502)
    try:
        return base64.b64decode(found.content).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusedError(f"{path}: no text file came back: {error}", status=502) from error
