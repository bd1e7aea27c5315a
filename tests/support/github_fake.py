"""A GitHub on loopback: keeps comments, check runs, statuses and labels, and fails on demand.

Every request is checked against GitHub's published description, and so is every answer of its own; what breaks it
is in `breaches` and raised when the server is left. It is no GitHub: it has one repository, the operations of
tests/contracts/github.json, and the limits and permissions that unitrack has to live with.

    with FakeGitHub() as hub:
        hub.add_pull(7, head="a" * 40)
        token = hub.token()                                  # GITHUB_TOKEN of a workflow of the repository
        weak = hub.token(permissions={"contents": "read"})   # one of a fork
        hub.fail("POST", "/comments$", 502, times=2)
        ... GITHUB_API_URL=hub.url GITHUB_REPOSITORY=hub.repository ...
        assert len(hub.comments_of(7)) == 1
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fake_server import FakeServer
from github_contract import answer_breach, example, operation, request_breach

BOT = "github-actions[bot]"
WRITE = {"contents": "read", "pull-requests": "write", "checks": "write", "statuses": "write"}
READ = {"contents": "read", "pull-requests": "read", "checks": "read", "statuses": "read"}
NEEDS = {"check-runs": "checks", "statuses": "statuses", "contents": "contents", "commits": "contents"}
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@dataclass(kw_only=True)
class Call:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    login: str | None
    status: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(kw_only=True)
class Fault:
    """What happens to matching requests; with `lost` they are carried out all the same."""

    method: str
    pattern: str
    status: int
    headers: dict[str, str]
    message: str
    times: int
    delay: float
    lost: bool


@dataclass(kw_only=True)
class _Token:
    login: str
    permissions: dict[str, str]


@dataclass(kw_only=True)
class RefusalError(Exception):
    status: int
    message: str
    errors: list[Any] = field(default_factory=list)


class FakeGitHub:
    def __init__(self, repository: str = "acme/models", *, prefix: str = "/api/v3", visible_after: float = 0.0) -> None:
        """`visible_after`: seconds until a new comment is listed, as on a replica that lags behind."""
        self.repository, self.prefix, self.visible_after = repository, prefix, visible_after
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.checks: dict[int, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.files: dict[tuple[str, str], str] = {}
        self.calls: list[Call] = []
        self.breaches: list[str] = []
        self._tokens: dict[str, _Token] = {}
        self._faults: list[Fault] = []
        self._made: dict[int, float] = {}
        self._ids = 0
        self._lock = threading.RLock()
        self._server: FakeServer | None = None

    # --- what a test arranges ---

    def token(self, login: str = BOT, permissions: dict[str, str] | None = None) -> str:
        """Make a token; without permissions given it may write what a report job writes."""
        made = f"ghs_{secrets.token_hex(18)}"
        self._tokens[made] = _Token(login=login, permissions=dict(WRITE if permissions is None else permissions))
        return made

    def add_pull(
        self,
        number: int,
        *,
        head: str,
        head_ref: str = "topic",
        head_repository: str | None = None,
        base: str = "b" * 40,
        base_ref: str = "main",
        merge_commit: str | None = None,
        state: str = "open",
        labels: tuple[str, ...] = (),
    ) -> None:
        pull = example("GET", "/repos/{owner}/{repo}/pulls/{pull_number}", "200")
        pull.update(number=number, state=state, merge_commit_sha=merge_commit, labels=[_label(name) for name in labels])
        pull.update(id=self._next_id(), requested_teams=[])
        for side, ref, sha, repository in (
            ("head", head_ref, head, head_repository or self.repository),
            ("base", base_ref, base, self.repository),
        ):
            owner, name = repository.split("/")
            pull[side].update(ref=ref, sha=sha, label=f"{owner}:{ref}")
            pull[side]["user"]["login"] = owner
            pull[side]["repo"].update(full_name=repository, name=name, id=repository_id(repository))
            pull[side]["repo"]["owner"]["login"] = owner
            pull[side]["repo"]["default_branch"] = "main"
        self.pulls[number] = pull

    def push(self, number: int, head: str) -> None:
        """Move the head of a pull request."""
        self.pulls[number]["head"]["sha"] = head

    def add_comment(self, number: int, body: str, login: str = BOT) -> int:
        with self._lock:
            made = example("POST", _COMMENTS, "201")
            made.update(id=self._next_id(), body=body, issue_url=f"{self.url}/repos/{self.repository}/issues/{number}")
            made["user"].update(login=login, type="Bot" if login.endswith("[bot]") else "User")
            made["created_at"] = made["updated_at"] = _now()
            made["html_url"] = f"https://github.com/{self.repository}/pull/{number}#issuecomment-{made['id']}"
            self.comments[made["id"]] = made
            self._made[made["id"]] = time.monotonic()
            return made["id"]

    def fail(
        self,
        method: str,
        pattern: str,
        status: int = 0,
        *,
        headers: dict[str, str] | None = None,
        message: str = "Server Error",
        times: int = 1,
        delay: float = 0.0,
        lost: bool = False,
    ) -> None:
        """Answer the next `times` matching requests with `status` (0: as usual, `CUT`: half) after `delay` seconds."""
        self._faults.append(
            Fault(
                method=method, pattern=pattern, status=status, headers=headers or {}, message=message, times=times,
                delay=delay, lost=lost,
            )
        )  # fmt: skip

    def comments_of(self, number: int) -> list[dict[str, Any]]:
        return [one for one in self.comments.values() if one["issue_url"].endswith(f"/issues/{number}")]

    def labels_of(self, number: int) -> list[str]:
        return [label["name"] for label in self.pulls[number]["labels"]]

    # --- the server ---

    @property
    def url(self) -> str:
        """Return what GITHUB_API_URL should be."""
        assert self._server is not None, "start it with `with`"
        return f"{self._server.url}{self.prefix}"

    def __enter__(self) -> FakeGitHub:
        self._server = FakeServer(self._answer, self.breaches.append)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.stop()
        if kind is None and self.breaches:
            raise AssertionError("the contract was broken:\n" + "\n".join(self.breaches))

    def _answer(
        self, method: str, target: str, sent: Mapping[str, str], body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        token = (sent.get("Authorization") or "").removeprefix("Bearer ").strip()
        parts = urlsplit(target)
        path = unquote(parts.path).removeprefix(self.prefix)
        query = dict(parse_qsl(parts.query))
        known = self._tokens.get(token)
        call = Call(
            method=method, path=path, query=query, body=json.loads(body) if body else None, login=known and known.login
        )
        with self._lock:
            self.calls.append(call)
            fault = self._fault(method, path)
        if fault is not None and fault.delay:
            time.sleep(fault.delay)
        status, tree, headers = self._carry_out(call, known, body, fault)
        call.status = status
        return status, tree, headers

    def _carry_out(
        self, call: Call, known: _Token | None, body: bytes, fault: Fault | None
    ) -> tuple[int, Any, dict[str, str]]:
        fails = fault is not None and fault.status != 0
        headers: dict[str, str] = {}
        if fault is not None and fails and not fault.lost:
            return fault.status, {"message": fault.message, "documentation_url": ""}, fault.headers
        try:
            with self._lock:
                status, tree = self._perform(call, known, body, headers)
        except RefusalError as refusal:
            status, tree = refusal.status, {"message": refusal.message, "documentation_url": ""}
            if refusal.errors:
                tree["errors"] = refusal.errors
        if fault is not None and fails:
            return fault.status, {"message": fault.message, "documentation_url": ""}, fault.headers
        return status, tree, headers

    def _perform(self, call: Call, known: _Token | None, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        if known is None:
            raise RefusalError(status=401, message="Bad credentials")
        breach = request_breach(call.method, call.path, call.query, body)
        if breach:
            self.breaches.append(breach)
            raise RefusalError(status=422, message=f"Invalid request.\n\n{breach}")
        found = operation(call.method, call.path)
        assert found is not None
        template, names = found
        if f"{names['owner']}/{names['repo']}" != self.repository:
            raise RefusalError(status=404, message="Not Found")
        self._allow(call, known)
        perform = getattr(self, _PERFORM[call.method, template])
        status, tree = perform(call, names, known, headers)
        if status != 204:
            self._note(answer_breach(call.method, call.path, status, json.dumps(tree).encode()))
        return status, tree

    def _note(self, breach: str | None) -> None:
        if breach:
            self.breaches.append(f"the fake's own: {breach}")

    def _allow(self, call: Call, known: _Token) -> None:
        need = next((permission for part, permission in NEEDS.items() if f"/{part}" in call.path), "pull-requests")
        has = known.permissions.get(need, "none")
        if has == "none" or (call.method != "GET" and has != "write"):
            raise RefusalError(status=403, message="Resource not accessible by integration")

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.method == method and re.search(fault.pattern, path):
                fault.times -= 1
                return fault
        return None

    def _next_id(self) -> int:
        with self._lock:
            self._ids += 1
            return self._ids

    # --- what each operation does ---

    def list_comments(self, call: Call, names: dict[str, str], _known: _Token, headers: dict[str, str]) -> Any:
        self._pull(names["issue_number"])
        now = time.monotonic()
        seen = [
            one
            for one in self.comments_of(int(names["issue_number"]))
            if now - self._made[one["id"]] >= self.visible_after and one["updated_at"] >= call.query.get("since", "")
        ]
        return 200, self._page(sorted(seen, key=lambda one: one["id"]), call, headers)

    def create_comment(self, call: Call, names: dict[str, str], known: _Token, _headers: dict[str, str]) -> Any:
        self._pull(names["issue_number"])
        _limit(call.body["body"], 65_536, "body", "Body is too long (maximum is 65536 characters)")
        return 201, self.comments[self.add_comment(int(names["issue_number"]), call.body["body"], known.login)]

    def update_comment(self, call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        comment = self._comment(names["comment_id"])
        _limit(call.body["body"], 65_536, "body", "Body is too long (maximum is 65536 characters)")
        comment.update(body=call.body["body"], updated_at=_now())
        return 200, comment

    def delete_comment(self, _call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        del self.comments[self._comment(names["comment_id"])["id"]]
        return 204, None

    def get_pull(self, _call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        return 200, self._pull(names["pull_number"])

    def list_pulls(self, call: Call, _names: dict[str, str], _known: _Token, headers: dict[str, str]) -> Any:
        state, head = call.query.get("state", "open"), call.query.get("head")
        chosen = [
            self._listed(pull)
            for pull in self.pulls.values()
            if state in ("all", pull["state"]) and head in (None, pull["head"]["label"])
        ]
        return 200, self._page(chosen, call, headers)

    def pulls_of_commit(self, call: Call, names: dict[str, str], _known: _Token, headers: dict[str, str]) -> Any:
        sha = names["commit_sha"]
        chosen = [
            self._listed(pull)
            for pull in self.pulls.values()
            if sha in (pull["merge_commit_sha"], pull["head"]["sha"])
            and pull["head"]["repo"]["full_name"] == self.repository
        ]
        return 200, self._page(chosen, call, headers)

    def create_check(self, call: Call, _names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        made = example("POST", "/repos/{owner}/{repo}/check-runs", "201")
        made["id"] = self._next_id()
        made["output"].update(annotations_count=0)
        made["pull_requests"] = []
        self.checks[made["id"]] = {"annotations": []}
        self._update_check(made["id"], call.body)
        return 201, self._check(made)

    def patch_check(self, call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        made = example("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "200")
        made["id"] = int(names["check_run_id"])
        made["pull_requests"] = []
        if made["id"] not in self.checks:
            raise RefusalError(status=404, message="Not Found")
        self._update_check(made["id"], call.body)
        return 200, self._check(made)

    def create_status(self, call: Call, names: dict[str, str], known: _Token, _headers: dict[str, str]) -> Any:
        _limit(call.body.get("description") or "", 140, "description", "description is too long")
        made = example("POST", "/repos/{owner}/{repo}/statuses/{sha}", "201")
        made.update({key: call.body.get(key) for key in ("state", "context", "description", "target_url")})
        made["creator"]["login"] = known.login
        self.statuses.append({"sha": names["sha"], **call.body})
        return 201, made

    def add_labels(self, call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        pull = self._pull(names["issue_number"])
        wanted = call.body["labels"] if isinstance(call.body, dict) else call.body
        pull["labels"] += [_label(name) for name in wanted if name not in self.labels_of(pull["number"])]
        return 200, pull["labels"]

    def remove_label(self, _call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        pull = self._pull(names["issue_number"])
        if names["name"] not in self.labels_of(pull["number"]):
            raise RefusalError(status=404, message="Label does not exist")
        pull["labels"] = [label for label in pull["labels"] if label["name"] != names["name"]]
        return 200, pull["labels"]

    def get_file(self, call: Call, names: dict[str, str], _known: _Token, _headers: dict[str, str]) -> Any:
        text = self.files.get((call.query.get("ref", "main"), names["path"]))
        if text is None:
            raise RefusalError(status=404, message="Not Found")
        data = text.encode()
        url = f"https://api.github.com/repos/{self.repository}/contents/{names['path']}"
        return 200, {
            "type": "file", "encoding": "base64", "size": len(data), "name": names["path"].rpartition("/")[2],
            "path": names["path"], "content": base64.encodebytes(data).decode(), "sha": hashlib.sha1(data).hexdigest(),
            "url": url, "git_url": url, "html_url": url, "download_url": url,
            "_links": {"git": url, "self": url, "html": url},
        }  # fmt: skip

    # --- helpers ---

    def _pull(self, number: str) -> dict[str, Any]:
        if int(number) not in self.pulls:
            raise RefusalError(status=404, message="Not Found")
        return self.pulls[int(number)]

    def _comment(self, id: str) -> dict[str, Any]:
        if int(id) not in self.comments:
            raise RefusalError(status=404, message="Not Found")
        return self.comments[int(id)]

    def _listed(self, pull: dict[str, Any]) -> dict[str, Any]:
        """Return a pull request as lists show it: less than alone."""
        template = example("GET", "/repos/{owner}/{repo}/pulls", "200")[0]
        return {**template, **{key: pull[key] for key in template if key in pull}}

    def _update_check(self, id: int, body: dict[str, Any]) -> None:
        check, output = self.checks[id], body.get("output", {})
        for key in ("summary", "text"):
            _limit(output.get(key) or "", 65_535, f"output.{key}", f"{key} is too long")
        added = output.get("annotations", [])
        if len(added) > 50:
            raise RefusalError(status=422, message="Invalid request. No more than 50 annotations are allowed.")
        annotations = [*check["annotations"], *added]
        check.update({key: value for key, value in body.items() if key != "output"})
        check.update({key: value for key, value in output.items() if key != "annotations"}, annotations=annotations)

    def _check(self, made: dict[str, Any]) -> dict[str, Any]:
        kept = self.checks[made["id"]]
        made.update({key: kept[key] for key in ("name", "head_sha", "status", "conclusion") if key in kept})
        made["html_url"] = f"https://github.com/{self.repository}/runs/{made['id']}"
        made["output"].update(annotations_count=len(kept["annotations"]), title=kept.get("title"))
        return made

    def _page(self, items: list[Any], call: Call, headers: dict[str, str]) -> list[Any]:
        size, page = min(int(call.query.get("per_page", 30)), 100), int(call.query.get("page", 1))
        if page * size < len(items):
            query = "&".join(f"{key}={value}" for key, value in {**call.query, "page": page + 1}.items())
            headers["Link"] = f'<{self.url}{call.path}?{query}>; rel="next"'
        return items[(page - 1) * size : page * size]


_COMMENTS = "/repos/{owner}/{repo}/issues/{issue_number}/comments"
_PERFORM = {
    ("GET", _COMMENTS): "list_comments",
    ("POST", _COMMENTS): "create_comment",
    ("PATCH", "/repos/{owner}/{repo}/issues/comments/{comment_id}"): "update_comment",
    ("DELETE", "/repos/{owner}/{repo}/issues/comments/{comment_id}"): "delete_comment",
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}"): "get_pull",
    ("GET", "/repos/{owner}/{repo}/pulls"): "list_pulls",
    ("GET", "/repos/{owner}/{repo}/commits/{commit_sha}/pulls"): "pulls_of_commit",
    ("POST", "/repos/{owner}/{repo}/check-runs"): "create_check",
    ("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}"): "patch_check",
    ("POST", "/repos/{owner}/{repo}/statuses/{sha}"): "create_status",
    ("POST", "/repos/{owner}/{repo}/issues/{issue_number}/labels"): "add_labels",
    ("DELETE", "/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}"): "remove_label",
    ("GET", "/repos/{owner}/{repo}/contents/{path}"): "get_file",
}


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def repository_id(repository: str) -> int:
    """Return the id the fake gives a repository, in events too."""
    return int(hashlib.sha256(repository.encode()).hexdigest()[:7], 16)


def _label(name: str) -> dict[str, Any]:
    made = {"id": 1, "node_id": "x", "url": "https://api.github.com/labels/x", "color": "ededed", "default": False}
    return {**made, "name": name, "description": None}


def _limit(text: str, longest: int, field: str, message: str) -> None:
    if len(text) > longest:
        errors = [{"resource": "IssueComment", "field": field, "code": "unprocessable", "message": message}]
        raise RefusalError(status=422, message="Validation Failed", errors=errors)
