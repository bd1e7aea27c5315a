"""What W&B's client raises, as what unitrack's worker understands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from unitrack.errors import BackendError, FatalBackendError, RetryableError

__all__ = ["REMEDY", "status_error", "translated"]

REMEDY = "log in with `wandb login`, or set WANDB_API_KEY to a key that may write there; see entity and project"
_REFUSED = re.compile(r"\b(401|403)\b|permission|unauthori[sz]ed|API key|credentials", re.IGNORECASE)


def status_error(where: str, status: int, text: str, after: float | None = None) -> Exception:
    """Return the error that an answer of the server stands for."""
    if status in (401, 403):
        return FatalBackendError(f"{where} refuses ({status}): {text}. {REMEDY}")
    if status in (408, 425, 429) or status >= 500:
        return RetryableError(f"{where} answered {status}: {text}", after=after)
    return FatalBackendError(f"{where} answered {status}: {text}. Is it a W&B server? See base_url")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise RetryableError and FatalBackendError for what W&B's client raises."""
    from wandb import errors

    try:
        yield
    except (BackendError, ImportError):
        raise
    except errors.AuthenticationError as error:
        raise FatalBackendError(f"{where}: {error}. {REMEDY}") from error
    except errors.UsageError as error:
        if _REFUSED.search(str(error)):
            raise FatalBackendError(f"{where}: {error}. {REMEDY}") from error
        raise
    except (errors.CommError, TimeoutError, ConnectionError) as error:
        if _REFUSED.search(str(error)):
            raise FatalBackendError(f"{where}: {error}. {REMEDY}") from error
        raise RetryableError(f"{where}: {error}") from error
    except Exception as error:
        if type(error).__name__ != "WandbApiFailedError":  # what W&B's API raises, of a module of its own
            raise
        raise RetryableError(f"{where}: {error}") from error
