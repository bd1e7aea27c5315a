"""GitHub's published API description, cut to what unitrack calls: checks requests and answers against it.

The cut is tests/contracts/github.json; tests/contracts/cut_github.py makes it.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

CUT = Path(__file__).parent.parent / "contracts" / "github.json"
HOST = "https://api.github.com"


@functools.cache
def description() -> dict[str, Any]:
    return json.loads(CUT.read_text(encoding="utf-8"))


@functools.cache
def _contract() -> OpenAPI:
    return OpenAPI.from_dict(description())


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    made = []
    for path in description()["paths"]:
        pattern = re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{'.+' if name[1] == 'path' else '[^/]+'})", path)
        made.append((re.compile(f"^{pattern}$"), path))
    return tuple(made)


def operation(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the template of a path and its parts, or None for an operation that isn't in the cut."""
    for pattern, template in _patterns():
        found = pattern.match(path)
        if found and method.lower() in description()["paths"][template]:
            return template, found.groupdict()
    return None


def example(method: str, template: str, code: str) -> Any:
    """Return GitHub's own example of an answer, to be changed at will."""
    answer = description()["paths"][template][method.lower()]["responses"][code]
    return copy.deepcopy(answer["content"]["application/json"]["example"])


def request_breach(method: str, path: str, query: dict[str, str], body: bytes) -> str | None:
    """Say how a request breaks the contract. `path` is decoded, without the prefix of an Enterprise server."""
    if operation(method, path) is None:
        return f"{method} {path}: no such operation in the cut"
    try:
        _contract().validate_request(_request(method, path, query, body))
    except OpenAPIError as error:
        return f"{method} {path}: {_words(error)}"
    return _unknown_fields(method, path, body)


def answer_breach(method: str, path: str, status: int, body: bytes) -> str | None:
    """Say how an answer of a fake breaks the contract."""
    try:
        _contract().validate_response(
            _request(method, path, {}, b""), MockResponse(body, status, content_type="application/json")
        )
    except OpenAPIError as error:
        return f"{method} {path} -> {status}: {_words(error)}"
    return None


def _request(method: str, path: str, query: dict[str, str], body: bytes) -> MockRequest:
    head, mark, file = path.partition("/contents/")
    safe = quote(head) + mark + quote(file, safe="")
    return MockRequest(HOST, method.lower(), safe, args=query, data=body or None)


def _unknown_fields(method: str, path: str, body: bytes) -> str | None:
    """Name fields GitHub's description doesn't have: a slip of the pen that no schema refuses."""
    template, _ = operation(method, path) or ("", {})
    content = description()["paths"][template][method.lower()].get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if not body or "properties" not in schema:
        return None
    unknown = set(json.loads(body)) - set(schema["properties"])
    return f"{method} {path}: unknown fields {sorted(unknown)}" if unknown else None


def _words(error: OpenAPIError) -> str:
    cause = error.__cause__
    details = [f"{one.json_path}: {one.message[:200]}" for one in getattr(cause, "schema_errors", None) or ()]
    return f"{type(error).__name__}: {'; '.join(details) or str(cause or error)[:300]}"
