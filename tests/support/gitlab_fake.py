"""A GitLab on loopback: one project with merge requests, notes, labels and commit statuses, which fails on demand.

Every request and every answer is checked against tests/contracts/gitlab.json, a description written after GitLab's API
documentation. It carries out quick actions at the start of a note's lines, as GitLab does for the note's author.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fake_server import Answer, FakeServer
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

HOST = "https://gitlab.example/api/v4"
PREFIX = "/api/v4"
_QUICK = re.compile(r"(?m)^\s*/(merge|approve|close|label)\b")


@functools.cache
def contract() -> OpenAPI:
    path = Path(__file__).parent.parent / "contracts" / "gitlab.json"
    return OpenAPI.from_dict(json.loads(path.read_text(encoding="utf-8")))


class FakeGitLab:
    def __init__(self, project: int = 42) -> None:
        self.project = project
        self.merges: dict[int, dict[str, Any]] = {}
        self.notes: dict[int, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.breaches: list[str] = []
        self.actions: list[str] = []
        self._tokens: dict[str, tuple[str, str]] = {}
        self._faults: list[list[Any]] = []
        self._ids = 0
        self._lock = threading.RLock()

    # --- what a test arranges ---

    def token(self, username: str = "project_42_bot", role: str = "developer") -> str:
        made = f"glpat-{secrets.token_hex(10)}"
        self._tokens[made] = (username, role)
        return made

    def add_merge(self, iid: int, *, head: str | None, labels: tuple[str, ...] = ()) -> None:
        self.merges[iid] = {
            "iid": iid, "project_id": self.project, "state": "opened", "sha": head, "labels": list(labels),
            "source_branch": "topic", "target_branch": "main",
        }  # fmt: skip

    def add_note(self, iid: int, body: str, username: str, *, system: bool = False) -> dict[str, Any]:
        with self._lock:
            self._ids += 1
            now = datetime.now(timezone.utc).isoformat()
            made = {
                "id": self._ids, "body": body, "author": _user(username), "created_at": now, "updated_at": now,
                "system": system, "noteable_type": "MergeRequest", "noteable_iid": iid,
            }  # fmt: skip
            self.notes[self._ids] = made
            return made

    def fail(self, method: str, pattern: str, status: int, *, headers: dict[str, str] | None = None) -> None:
        """Answer the next matching request with `status`."""
        self._faults.append([method, pattern, status, headers or {}])

    def notes_of(self, iid: int) -> list[str]:
        return [one["body"] for one in self.notes.values() if one["noteable_iid"] == iid and not one["system"]]

    # --- the server ---

    @property
    def url(self) -> str:
        return self._server.url + PREFIX

    def __enter__(self) -> FakeGitLab:
        self._server = FakeServer(self._answer, self.breaches.append)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        if kind is None and self.breaches:
            raise AssertionError("the contract was broken:\n" + "\n".join(self.breaches))

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(target)
        path, query = parts.path.removeprefix(PREFIX), dict(parse_qsl(parts.query))
        with self._lock:
            self.calls.append(f"{method} {path}")
            for fault in self._faults:
                if fault[0] == method and re.search(fault[1], path):
                    self._faults.remove(fault)
                    return fault[2], {"message": "no"}, fault[3]
            user = self._tokens.get(headers.get("PRIVATE-TOKEN", ""))
            if user is None:
                return 401, {"message": "401 Unauthorized"}, {}
            request = MockRequest(
                HOST.removesuffix(PREFIX), method.lower(), PREFIX + path, args=query, data=body or None
            )
            try:
                contract().validate_request(request)
            except OpenAPIError as broken:
                self.breaches.append(f"{method} {path}: {broken.__cause__ or broken!r}")
                return 400, {"error": "invalid"}, {}
            status, tree, told = self._perform(method, path, query, json.loads(body) if body else {}, user)
            if status != 204:
                answer = MockResponse(json.dumps(tree).encode(), status, content_type="application/json")
                contract().validate_response(request, answer)
            return status, tree, told

    def _perform(
        self, method: str, path: str, query: dict[str, str], sent: dict[str, Any], user: tuple[str, str]
    ) -> Answer:
        name, role = user
        if path == "/user":
            return 200, _user(name), {}
        found = re.fullmatch(rf"/projects/{self.project}/(merge_requests|statuses)/(\w+)(/notes)?(?:/(\d+))?", path)
        if found is None:
            return 404, {"message": "404 Project Not Found"}, {}
        if found[1] == "statuses":
            return self._status(found[2], sent, role)
        if int(found[2]) not in self.merges:
            return 404, {"message": "404 Merge Request Not Found"}, {}
        if not found[3]:
            return self._merge(method, int(found[2]), sent, role)
        return self._note(method, int(found[2]), found[4], query, sent, name)

    def _status(self, sha: str, sent: dict[str, Any], role: str) -> Answer:
        if role != "developer":
            return 403, {"message": "403 Forbidden"}, {}
        name = sent.get("context", "default")
        before = next((one for one in self.statuses if (one["sha"], one["name"]) == (sha, name)), None)
        if before is not None and before["status"] == sent["state"]:
            words = f"Cannot transition status via :{sent['state']} from :{sent['state']}"
            return 400, {"message": words}, {}
        if before is not None:
            self.statuses.remove(before)
        made = {"id": len(self.statuses) + 1, "sha": sha, "status": sent["state"], "name": name, **sent}
        self.statuses.append(made)
        return 201, made, {}

    def _merge(self, method: str, iid: int, sent: dict[str, Any], role: str) -> Answer:
        merge = self.merges[iid]
        if method == "PUT":
            if role == "guest":
                return 403, {"message": "403 Forbidden"}, {}
            kept = [one for one in merge["labels"] if one != sent.get("remove_labels")]
            merge["labels"] = [*kept, *([sent["add_labels"]] if "add_labels" in sent else [])]
        return 200, merge, {}

    def _note(
        self, method: str, iid: int, id: str | None, query: dict[str, str], sent: dict[str, Any], name: str
    ) -> Answer:
        if method == "GET":
            return self._listed(iid, query)
        if id is not None and int(id) not in self.notes:
            return 404, {"message": "404 Note Not Found"}, {}
        if id is not None and self.notes[int(id)]["author"]["username"] != name:
            return 403, {"message": "403 Forbidden"}, {}
        if method == "DELETE" and id is not None:
            del self.notes[int(id)]
            return 204, None, {}
        self.actions += _QUICK.findall(re.sub(r"(?s)```.*?```", "", sent["body"]))
        if id is None:
            return 201, self.add_note(iid, sent["body"], name), {}
        self.notes[int(id)]["body"] = sent["body"]
        return 200, self.notes[int(id)], {}

    def _listed(self, iid: int, query: dict[str, str]) -> Answer:
        size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
        every = sorted(
            (one for one in self.notes.values() if one["noteable_iid"] == iid),
            key=lambda one: one["id"],
            reverse=query.get("sort", "desc") == "desc",
        )
        told = {}
        if page * size < len(every):
            more = "&".join(f"{key}={value}" for key, value in {**query, "page": page + 1}.items())
            told["Link"] = f'<{self.url}/projects/{self.project}/merge_requests/{iid}/notes?{more}>; rel="next"'
        return 200, every[(page - 1) * size : page * size], told


def _user(username: str) -> dict[str, Any]:
    return {"id": 1, "username": username, "name": username, "state": "active"}
