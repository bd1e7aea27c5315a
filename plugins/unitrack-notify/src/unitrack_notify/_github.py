"""Issues on GitHub: one for each title, later messages are its comments (https://docs.github.com/rest/issues)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from unitrack.errors import ConfigError
from unitrack_notify._http import checked_url, send
from unitrack_notify._options import checked, needed

__all__ = ["GithubIssueFactory"]

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_PAGE = 100
_LONGEST, _LONGEST_TITLE = 60_000, 250


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    repository: str | None = None
    token: str | None = None
    label: str = "unitrack"
    api_url: str | None = None


class GithubIssueFactory:
    """Makes notifiers that open issues."""

    name = "github-issue"

    def open(self, options: Mapping[str, Any]) -> GithubIssue:
        """Return the notifier. Raises ConfigError without repository or token."""
        given = checked(self.name, options, _Options)
        repository = needed(self.name, "repository", given.repository, "GITHUB_REPOSITORY")
        if not _REPOSITORY.fullmatch(repository):
            raise ConfigError(f"the notifier github-issue: {repository!r:.100} is no OWNER/NAME")
        token = needed(self.name, "token", given.token, "GITHUB_TOKEN")
        api = given.api_url or os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        return GithubIssue(checked_url(self.name, api).rstrip("/"), repository, token, given.label)


class GithubIssue:
    """Opens an issue, or comments on the open one of the same title."""

    name = "github-issue"

    def __init__(self, api: str, repository: str, token: str, label: str) -> None:
        self._issues, self._label = f"{api}/repos/{repository}/issues", label
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def notify(self, title: str, text: str, level: str) -> None:
        """Write one message."""
        subject = " ".join(title.split())[:_LONGEST_TITLE]
        body = f"**{level}**\n\n{_quoted(text or title)}"
        number = self._open_one(subject)
        if number is None:
            issue = {"title": subject, "body": body, "labels": [self._label]}
            send("GitHub", "POST", self._issues, json=issue, headers=self._headers)
        else:
            send("GitHub", "POST", f"{self._issues}/{number}/comments", json={"body": body}, headers=self._headers)

    def _open_one(self, title: str) -> int | None:
        """Return the number of the newest open issue of this title, among the last hundred with our label."""
        wanted = {"labels": self._label, "state": "open", "per_page": _PAGE}
        issues = send("GitHub", "GET", self._issues, params=wanted, headers=self._headers).json()
        same = [one for one in issues if one.get("title") == title and "pull_request" not in one]
        return int(same[0]["number"]) if same else None


def _quoted(text: str) -> str:
    """Return foreign text as a code block, where nothing is markup, a mention or a reference."""
    text = text[:_LONGEST]
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
