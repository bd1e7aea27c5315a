"""One call to a forge's API: authorised, bounded in time, tried again when that can help.

Rate limits are waited out as the server asks, faults of the server with growing pauses, until `patience` is used up.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec
import requests

from unitrack.errors import FatalBackendError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from unitrack.ci.context import Secret

__all__ = ["Answer", "Api", "RefusedError", "pause_of", "segment", "shaped"]

_Shape = TypeVar("_Shape")

_LONGEST_PAUSE = 30.0
_SECONDARY_PAUSE = 60.0  # GitHub asks for at least a minute where it says nothing else
_REDIRECTS = (301, 302, 307, 308)
_LARGEST = 32 << 20
_SHORTEST_WAIT = 1.0
_PAGES = 100


class RefusedError(FatalBackendError):
    """The server will not do it; `status` is HTTP's."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: the decoded body, and the address of the next page if there is one."""

    status: int
    body: Any
    next: str | None = None


class _Bearer(requests.auth.AuthBase):
    """Sets the header at the last moment: one that is set earlier loses to a `.netrc`."""

    def __init__(self, header: str, prefix: str, token: Secret) -> None:
        self._header, self._prefix, self._token = header, prefix, token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self._header] = self._prefix + self._token.reveal()
        return request


class Api:
    """Calls one server with one token. `calls` counts the requests that were sent, `clock` tells seconds."""

    def __init__(
        self,
        url: str,
        token: Secret,
        *,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        patience: float = 300.0,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        session: requests.Session | None = None,
    ) -> None:
        self._url, self._auth = url, _Bearer(header, prefix, token)
        self._headers = {"User-Agent": "unitrack", **(headers or {})}
        self._timeout, self._sleep, self.clock = timeout, sleep, clock
        self._deadline = clock() + patience
        self._session = session or requests.Session()
        self.calls = 0

    def call(self, method: str, path: str, *, body: Any = None, query: Mapping[str, str | int] | None = None) -> Answer:
        """Send a request. Raises RefusedError, or RetryableError once patience is used up."""
        attempt = 0
        while True:
            what, pause = f"{method} {path}", None
            try:
                response = self._send(method, path, body, query)
                pause = pause_of(response.status_code, response.headers, _message(response), attempt, time.time())
                if pause is None:
                    return _answer(response, what)
                reason = f"{response.status_code} {_message(response)}"
            except _PASSING as error:
                reason, pause = f"{type(error).__name__}", _backoff(attempt)
            except requests.RequestException as error:
                raise RefusedError(f"{what}: can't be sent: {type(error).__name__}: {error}", status=0) from error
            if self.clock() + pause > self._deadline:
                raise RetryableError(f"{what}: {reason}; run this step again later", after=pause)
            self._sleep(pause)
            attempt += 1

    def pages(self, path: str, *, query: Mapping[str, str | int]) -> Iterator[Any]:
        """Yield the items of all pages of a list."""
        answer = self.call("GET", path, query={**query, "per_page": 100})
        for _ in range(_PAGES):
            yield from shaped(answer.body, list[Any], f"GET {path}")
            if answer.next is None:
                return
            answer = self.call("GET", answer.next)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, str | int] | None) -> requests.Response:
        url = path if "://" in path else self._url + path
        for _ in range(3):
            _same_server(url, self._url)
            self.calls += 1
            response = self._session.request(
                method,
                url,
                params=query if "://" not in path else None,
                json=body,
                headers=self._headers,
                auth=self._auth,
                timeout=max(min(self._timeout, self._deadline - self.clock()), _SHORTEST_WAIT),
                allow_redirects=False,  # requests would turn a POST into a GET, which answers and does nothing
            )
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            url = urljoin(url, response.headers["location"])
        return response


def pause_of(status: int, headers: Mapping[str, str], message: str, attempt: int, now: float) -> float | None:
    """Return the seconds to wait before the same call again, None when an answer is final.

    `now` is epoch seconds. A 403 is a limit only if the server says so: one for lack of permission is final.
    """
    wish = headers.get("retry-after", "")
    limited = status == 429 or (
        status == 403 and (wish != "" or headers.get("x-ratelimit-remaining") == "0" or "rate limit" in message.lower())
    )
    asked = _number(wish)
    if limited:
        reset = _number(headers.get("x-ratelimit-reset", "")) if headers.get("x-ratelimit-remaining") == "0" else None
        if asked is None and reset is not None:
            return max(reset - now, 0.0) + 1.0
        return _SECONDARY_PAUSE * 2.0 ** min(attempt, 10) if asked is None else asked
    if status >= 500 or status == 408:
        return _backoff(attempt) if asked is None else asked
    return None


def _number(text: str) -> float | None:
    return max(float(text), 1.0) if text.isascii() and text.isdigit() else None  # 0 would be a busy loop


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def shaped(tree: Any, shape: type[_Shape], what: str) -> _Shape:
    """Return the part of an answer that is used. Raises RefusedError if the server sent something else."""
    try:
        return msgspec.convert(tree, shape)
    except msgspec.ValidationError as error:
        raise RefusedError(f"{what}: the answer is not what the API describes: {error}", status=502) from error


def _backoff(attempt: int) -> float:
    return float(min(2.0 ** min(attempt, 10), _LONGEST_PAUSE) * (0.5 + random.random() / 2))


def _same_server(url: str, home: str) -> None:
    there, here = urlsplit(url), urlsplit(home)
    if (there.scheme, there.netloc.lower()) != (here.scheme, here.netloc.lower()):
        raise RefusedError(f"{here.netloc} sends us to {there.netloc}: the token is not for it", status=301)


def _answer(response: requests.Response, what: str) -> Answer:
    if response.status_code >= 300:
        hint = _HINTS.get(response.status_code, "")
        raise RefusedError(f"{what}: {response.status_code} {_message(response)}{hint}", status=response.status_code)
    if len(response.content) > _LARGEST:
        raise RefusedError(f"{what}: {len(response.content):,} bytes are too many for an answer", status=502)
    body = _decoded(response) if response.content else None
    return Answer(status=response.status_code, body=body, next=response.links.get("next", {}).get("url"))


_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
_HINTS = {
    401: "; the token is wrong or has expired",
    403: "; the token lacks a permission for this",
    404: "; it isn't there, or the token may not see it",
}


def _decoded(response: requests.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise RefusedError(f"{response.url}: no JSON came back", status=502) from error


def _message(response: requests.Response) -> str:
    """Return the server's own words, on one line and short."""
    try:
        tree = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    words = tree.get("message") if isinstance(tree, dict) and response.status_code >= 300 else None
    details = tree.get("errors") if isinstance(tree, dict) and response.status_code == 422 else None
    text = f"{words or ''}{f' {details}' if details else ''}"
    return "".join(c if c.isprintable() else " " for c in text)[:300]
