"""One request to a service, its answers as errors that never show the address: it may hold the secret."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from unitrack.errors import ConfigError, FatalBackendError, RetryableError

__all__ = ["checked_url", "send"]

_TIMEOUT = (5.0, 20.0)
_LONGEST_WAIT = 300.0
_PASSING = (408, 425, 429)


def checked_url(name: str, url: str) -> str:
    """Return `url`. Raises ConfigError for one that isn't HTTP."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ConfigError(f"the notifier {name} needs an http:// or https:// address", key=f"backends.{name}.url")
    return url


def send(service: str, method: str, url: str, **request: Any) -> requests.Response:
    """Return the answer of a service. Raises RetryableError for what may pass, FatalBackendError otherwise."""
    host = urlsplit(url).hostname
    try:
        answer = requests.request(method, url, timeout=_TIMEOUT, allow_redirects=False, **request)
    except requests.RequestException as error:
        raise RetryableError(f"{service} at {host} can't be reached: {type(error).__name__}") from None
    if answer.status_code < 300:
        return answer
    said = " ".join(answer.text[:200].split())
    text = f"{service} at {host} answered {answer.status_code}: {said}"
    if answer.status_code in _PASSING or answer.status_code >= 500 or _is_rate_limit(answer):
        raise RetryableError(text, after=_after(answer))
    raise FatalBackendError(text)


def _is_rate_limit(answer: requests.Response) -> bool:
    """GitHub answers 403 to what is too fast, too."""
    return answer.status_code == 403 and (
        "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    )


def _after(answer: requests.Response) -> float | None:
    try:
        return min(float(answer.headers["retry-after"]), _LONGEST_WAIT)
    except (KeyError, ValueError):
        return None
