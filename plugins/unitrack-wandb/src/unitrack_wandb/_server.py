"""What a W&B server says it holds of a run, asked past W&B's client: it says only what it has sent.

One GraphQL query, which every server that can resume runs answers.
"""

from __future__ import annotations

import json
import netrc
import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from unitrack.backend import FatalBackendError, RetryableError
from unitrack_wandb._errors import REMEDY, status_error

__all__ = ["Held", "Server", "api_key"]

_QUERY = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id name
    bucket(name: $name, missingOk: true) { id name state summaryMetrics config historyLineCount historyTail }
  }
}
"""
_DEFAULT = "https://api.wandb.ai"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the server has it: its summary, its config, the last rows of its history."""

    summary: dict[str, Any]
    config: dict[str, Any]
    tail: list[dict[str, Any]]
    lines: int = 0
    state: str | None = None


class Server:
    """A W&B server, asked with the credentials W&B's client would use."""

    def __init__(self, base_url: str | None, *, timeout: float) -> None:
        self.url = (base_url or os.environ.get("WANDB_BASE_URL") or _DEFAULT).rstrip("/")
        self._timeout = timeout

    @property
    def where(self) -> str:
        """Name it in a message."""
        return f"W&B at {self.url}"

    def held(self, *, entity: str | None, project: str, run: str) -> Held | None:
        """Return what the server has of a run, None if it hasn't. Raises RetryableError, FatalBackendError."""
        data = self.ask(_QUERY, {"entity": entity, "project": project, "name": run})
        bucket = ((data or {}).get("model") or {}).get("bucket")
        if not bucket:
            return None
        config = {key: _unwrapped(value) for key, value in _tree(bucket.get("config")).items()}
        tail = [_tree(line) for line in _lines(bucket.get("historyTail"))]
        summary, lines = _tree(bucket.get("summaryMetrics")), bucket.get("historyLineCount") or 0
        return Held(summary=summary, config=config, tail=tail, lines=lines, state=bucket.get("state"))

    def viewer(self) -> str | None:
        """Return the account's own entity. Raises RetryableError, FatalBackendError."""
        data = self.ask("query Viewer { viewer { id entity username } }", {})
        return ((data or {}).get("viewer") or {}).get("entity")

    def ask(self, query: str, variables: dict[str, Any]) -> Any:
        """Return the data that answers a GraphQL query."""
        import requests

        key = api_key(self.url)
        if key is None:
            raise FatalBackendError(f"{self.where}: no API key is known for it. {REMEDY}")
        try:
            response = requests.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, auth=("api", key),
                timeout=(min(self._timeout, 10.0), self._timeout),
            )  # fmt: skip
        except requests.RequestException as error:
            raise RetryableError(f"{self.where}: {error}") from error
        if response.status_code != 200:
            raise status_error(self.where, response.status_code, response.text[:200], _after(response))
        return self._data(response)

    def _data(self, response: Any) -> Any:
        try:
            answer = response.json()
        except ValueError:
            raise FatalBackendError(f"{self.where} answered no JSON. Is it a W&B server? See base_url") from None
        if answer.get("errors") and not answer.get("data"):
            text = str(answer["errors"][0].get("message", answer["errors"]))
            if "permission" in text.lower() or "not logged in" in text.lower():
                raise FatalBackendError(f"{self.where}: {text}. {REMEDY}")
            raise RetryableError(f"{self.where}: {text}")
        return answer.get("data")


def api_key(url: str) -> str | None:
    """Return the key that W&B's client would use: from the environment, else from `.netrc`."""
    key = os.environ.get("WANDB_API_KEY")
    if key:
        return key.strip()
    with suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).hostname or "")
        return known[2] if known else None
    return None


def _after(response: Any) -> float | None:
    with suppress(KeyError, ValueError):
        return float(response.headers["Retry-After"])
    return None


def _tree(text: Any) -> dict[str, Any]:
    with suppress(TypeError, ValueError):
        tree = json.loads(text)
        return tree if isinstance(tree, dict) else {}
    return {}


def _lines(text: Any) -> list[Any]:
    with suppress(TypeError, ValueError):
        lines = json.loads(text)
        return lines if isinstance(lines, list) else []
    return []


def _unwrapped(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value else value
