"""What a GitHub workflow says of itself: its environment and the event that started it, read once and frozen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from unitrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Context", "Secret", "Trigger", "read_context", "safe_url"]

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_LONGEST_NUMBER = 18
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Secret:
    """A token that shows itself only where it is asked to."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "'***'" if self._value else "''"

    __str__ = __repr__


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """The untrusted run that a `workflow_run` event tells of, in GitHub's words and not in its own."""

    run: int
    attempt: int
    event: str
    conclusion: str
    head_sha: str
    head_branch: str
    head_owner: str
    head_repository: int


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workflow runs and for what.

    `head_sha` is the commit reports are attached to: a pull request's own head, never its test merge, which is
    `sha`; `ref` is the full name of what the workflow runs on. `number` is the pull request's, None where the event
    has none. `fork` says that the head is from another repository, whose token can't write here. `files` maps
    `output` and `summary` to the runner's files.
    """

    event: str
    repository: str
    api_url: str
    server_url: str
    token: Secret
    sha: str
    head_sha: str
    head_ref: str = ""
    ref: str = ""
    base_sha: str | None = None
    base_ref: str | None = None
    number: int | None = None
    fork: bool = False
    default_branch: str | None = None
    workflow: str = ""
    job: str = ""
    run: int = 0
    attempt: int = 1
    on_runner: bool = False
    files: Mapping[str, str] = {}
    trigger: Trigger | None = None

    @property
    def on_default_branch(self) -> bool:
        """Tell whether this run is of the default branch; a tag of the same name is not."""
        return self.default_branch is not None and self.ref == f"refs/heads/{self.default_branch}"

    @property
    def run_url(self) -> str | None:
        """Return the page of this workflow run."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run}" if self.run else None


def read_context(environ: Mapping[str, str], read: Callable[[str], str]) -> Context:
    """Read the context; `read` returns the text of the event file. Raises UsageError naming what is wrong."""
    event = environ.get("GITHUB_EVENT_NAME", "")
    path = environ.get("GITHUB_EVENT_PATH", "")
    payload = _payload(path, read) if path else {}
    repository = _matching(_REPOSITORY, environ.get("GITHUB_REPOSITORY", ""), "GITHUB_REPOSITORY", "OWNER/NAME")
    sha = _matching(_SHA, environ.get("GITHUB_SHA", ""), "GITHUB_SHA", "a commit's id")
    found: dict[str, Any] = {"head_sha": sha, "head_ref": environ.get("GITHUB_REF_NAME", "")}
    try:
        found.update(_of_event(event, payload))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: no {event} event of GitHub: {type(error).__name__}: {error}") from error
    return Context(
        event=event,
        repository=repository,
        sha=sha,
        ref=environ.get("GITHUB_REF", ""),
        api_url=safe_url(environ.get("GITHUB_API_URL") or "https://api.github.com", "GITHUB_API_URL"),
        server_url=safe_url(environ.get("GITHUB_SERVER_URL") or "https://github.com", "GITHUB_SERVER_URL"),
        token=Secret(environ.get("GITHUB_TOKEN", "")),
        default_branch=_at(payload, "repository", "default_branch"),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        run=_count(environ, "GITHUB_RUN_ID", 0),
        attempt=_count(environ, "GITHUB_RUN_ATTEMPT", 1),
        on_runner=environ.get("GITHUB_ACTIONS") == "true",
        files={
            key: environ[name]
            for key, name in (("output", "GITHUB_OUTPUT"), ("summary", "GITHUB_STEP_SUMMARY"))
            if environ.get(name)
        },
        **found,
    )


def safe_url(url: str, name: str) -> str:
    """Return a server's address without a slash at the end. Raises UsageError if a token would travel in the open."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return url.rstrip("/")
    raise UsageError(f"{name} is {url!r}: a token is sent there, so it must start with https://")


def _payload(path: str, read: Callable[[str], str]) -> dict[str, Any]:
    try:
        payload = json.loads(read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"GITHUB_EVENT_PATH {path}: can't be read: {error}") from error
    if not isinstance(payload, dict):
        raise UsageError(f"GITHUB_EVENT_PATH {path}: no event, it holds {type(payload).__name__}")
    return payload


def _of_event(event: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the fields an event of this kind sets; other kinds keep the commit the workflow runs on."""
    if event in ("pull_request", "pull_request_target"):
        return _of_pull(payload["pull_request"])
    if event == "merge_group":
        return _of_sides(payload["merge_group"])
    if event == "push":
        before, after = payload["before"], _sha(payload["after"])
        return {"head_sha": after, "base_sha": before if int(before, 16) else None}
    if event == "workflow_run":
        trigger = _of_run(payload["workflow_run"])
        return {"trigger": trigger, "head_sha": trigger.head_sha, "head_ref": trigger.head_branch}
    return {}


def _of_pull(pull: dict[str, Any]) -> dict[str, Any]:
    head, base = pull["head"], pull["base"]
    return {
        "number": int(pull["number"]),
        "head_sha": _sha(head["sha"]),
        "head_ref": str(head["ref"]),
        "base_sha": _sha(base["sha"]),
        "base_ref": str(base["ref"]),
        "fork": head["repo"] is None or head["repo"]["id"] != base["repo"]["id"],  # None: the fork was deleted
    }


def _of_sides(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "head_sha": _sha(group["head_sha"]),
        "head_ref": str(group["head_ref"]),
        "base_sha": _sha(group["base_sha"]),
        "base_ref": str(group["base_ref"]).removeprefix("refs/heads/"),
    }


def _of_run(run: dict[str, Any]) -> Trigger:
    return Trigger(
        run=int(run["id"]),
        attempt=int(run.get("run_attempt") or 1),
        event=str(run["event"]),
        conclusion=str(run["conclusion"]),
        head_sha=_sha(run["head_sha"]),
        head_branch=str(run["head_branch"]),
        head_owner=str(run["head_repository"]["owner"]["login"]),
        head_repository=int(run["head_repository"]["id"]),
    )


def _sha(text: Any) -> str:
    if isinstance(text, str) and _SHA.fullmatch(text):
        return text
    raise ValueError(f"{text!r:.100} is no commit's id")


def _matching(pattern: re.Pattern[str], text: str, name: str, what: str) -> str:
    if pattern.fullmatch(text):
        return text
    missing = "is not set" if not text else f"is {text!r:.100}"
    raise UsageError(f"{name} {missing}, it should be {what}; on a laptop use `unitrack ci --dry-run`")


def _count(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environ.get(name) or str(otherwise)
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return int(text)
    raise UsageError(f"{name} is {text!r:.100}, it should be a number")


def _at(tree: Any, *keys: str) -> str | None:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else None
