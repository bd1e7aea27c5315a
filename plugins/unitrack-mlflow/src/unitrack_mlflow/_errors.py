"""What MLflow's client raises, as what unitrack's worker understands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unitrack.backend import FatalBackendError, RetryableError

__all__ = ["ServerFaultError", "translated"]

_REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}
_GONE = {"RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND", "NOT_FOUND", "INVALID_STATE"}
_PASSING = (408, 425, 429)


class ServerFaultError(RetryableError):
    """The server answered with a fault of its own, which may be the tracker's state or this very request."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise RetryableError and FatalBackendError for what they mean; a request that is refused passes as it is."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError, RequestException

    try:
        yield
    except MlflowException as error:
        _raise_mlflow(error, where)
    except HTTPError as error:
        _raise_http(error, where)
    except RequestException as error:
        raise RetryableError(f"{where}: {error}") from error


def _raise_mlflow(error: Exception, where: str) -> None:
    code, status = error.error_code, error.get_http_status_code()  # type: ignore[attr-defined]  # an MlflowException
    text = f"{where}: {error}"
    if code in _REFUSED or status in (401, 403):
        raise FatalBackendError(f"{text} (credentials come from the environment, as MLflow reads them)") from error
    if code in _GONE:
        raise FatalBackendError(text) from error
    if status in _PASSING:
        raise RetryableError(text) from error
    if status == 500 and _is_answer(error):
        raise ServerFaultError(text) from error
    if status >= 500:
        raise RetryableError(text) from error
    raise error


def _is_answer(error: Exception) -> bool:
    """Tell an answer 500 from a connection that broke, which MLflow's client gives the same code."""
    cause = error.__cause__ or error.__context__
    return not isinstance(cause, OSError) or "too many 500 error responses" in str(cause)


def _raise_http(error: Exception, where: str) -> None:
    """Artifacts go past MLflow's own errors."""
    response = error.response  # type: ignore[attr-defined]  # an HTTPError
    status = 0 if response is None else response.status_code
    if status in (401, 403):
        raise FatalBackendError(f"{where}: {error}") from error
    if 400 <= status < 500 and status not in _PASSING:
        raise ValueError(f"{where}: {error}") from error  # an HTTPError is an OSError, which would be retried
    raise RetryableError(f"{where}: {error}", after=_after(response)) from error


def _after(response: object) -> float | None:
    try:
        return float(response.headers["Retry-After"])  # type: ignore[attr-defined]  # absent headers are a KeyError
    except (AttributeError, KeyError, ValueError):
        return None
