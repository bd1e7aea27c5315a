"""A forge that answers from memory and keeps what it was sent: the same code posts, and nothing leaves the machine."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from requests.adapters import BaseAdapter

__all__ = ["Sent", "rehearse"]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One request: the path with its query, and the decoded body."""

    method: str
    path: str
    body: Any


def rehearse(*, head: str, author: str, prefix: str = "") -> tuple[requests.Session, list[Sent]]:
    """Return a session that sends nothing, and the list of what would have been sent.

    Its pull request has `head` at its head, and neither a comment nor a label; `author` is who writes there.
    """
    sent: list[Sent] = []
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc
    session.mount("https://", _Memory(sent, head=head, author=author, prefix=prefix))
    return session, sent


class _Memory(BaseAdapter):
    def __init__(self, sent: list[Sent], *, head: str, author: str, prefix: str) -> None:
        super().__init__()
        self._sent, self._head, self._author, self._prefix = sent, head, author, prefix
        self._comments: list[dict[str, Any]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **_options: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        path = parts.path.removeprefix(self._prefix)
        body = json.loads(request.body) if request.body else None
        query = f"?{parts.query}" if parts.query else ""
        self._sent.append(Sent(method=str(request.method), path=path + query, body=body))
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response.raw = io.BytesIO(json.dumps(self._answer(str(request.method), path, body)).encode())
        return response

    def close(self) -> None:
        pass

    def _answer(self, method: str, path: str, body: Any) -> Any:
        last = path.rsplit("/", 1)[-1]
        if last in ("comments", "notes"):
            return self._comments if method == "GET" else self._commented(body["body"])
        if last == "user":
            return {"username": self._author}
        side = {"sha": self._head, "ref": "", "repo": None}
        return {"id": 1, "number": 1, "state": "open", "head": side, "base": side, "sha": self._head, "labels": []}

    def _commented(self, body: str) -> dict[str, Any]:
        made = {"id": 1, "body": body, "system": False}
        made["user"] = made["author"] = {"login": self._author, "username": self._author}
        self._comments.append(made)
        return made
