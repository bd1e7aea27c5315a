"""Every error unitrack raises on purpose.

    UnitrackError
    ├── ConfigError          a setting is unknown, of the wrong type or contradictory
    ├── UsageError           a call can't be carried out as asked (also a ValueError)
    │   ├── RunExistsError   the id is taken, or another process is writing the run
    │   └── RunNotFoundError no run of that id in the store
    ├── JournalError         a journal is corrupt before its tail
    ├── RegistryError        a model, version or alias can't be had or changed
    ├── PluginError          a plugin can't be loaded or breaks its contract
    ├── EvidenceError        a rerun or gate lacks what it would have to judge
    └── BackendError
        ├── RetryableError   the same call may succeed later
        └── FatalBackendError  it never will without a change

Each message says what happened, where, and what to do next. Each class carries the
exit code a command ends with when the error reaches it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BackendError",
    "ConfigError",
    "EvidenceError",
    "FatalBackendError",
    "JournalError",
    "PluginError",
    "RegistryError",
    "RetryableError",
    "RunExistsError",
    "RunNotFoundError",
    "UnitrackError",
    "UnitrackWarning",
    "UsageError",
]


class UnitrackError(Exception):
    """The root of all errors raised by unitrack."""

    exit_code: ClassVar[int] = 4


class UsageError(UnitrackError, ValueError):
    """A call or command can't be carried out as asked."""

    exit_code = 2


class ConfigError(UnitrackError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    exit_code = 2

    def __init__(
        self, message: str, *, file: str | None = None, key: str | None = None, line: int | None = None
    ) -> None:
        where = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(where + message)
        self.file, self.key, self.line = file, key, line


class RunExistsError(UsageError):
    """The run's id is taken, or another live process is writing it."""


class RunNotFoundError(UsageError):
    """The store has no run of that id."""

    exit_code = 4


class JournalError(UnitrackError):
    """A journal holds a bad line before its tail."""

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path, self.line = path, line


class RegistryError(UnitrackError):
    """A model, version or alias can't be had or can't be changed as asked."""

    exit_code = 2


class PluginError(UnitrackError):
    """A plugin can't be loaded or breaks its contract."""


class EvidenceError(UnitrackError):
    """A rerun or a gate lacks what it would have to judge."""


class BackendError(UnitrackError):
    """A tracker did not take what it was given."""


class RetryableError(BackendError):
    """The same call may succeed later: the tracker is down, slow or over its rate.

    `after` is the tracker's own wish in seconds (a Retry-After header), if it had one.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class FatalBackendError(BackendError):
    """The call will not succeed without a change: bad credentials, client not installed."""


class UnitrackWarning(UserWarning):
    """Something was lost or degraded while training goes on."""
