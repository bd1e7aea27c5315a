"""A server that neptune 1.x speaks to, through the client's own backend object.

`neptune.Run` sends from a thread that reports faults to a log only; the object below it answers at once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unitrack.backend import FatalBackendError, RetryableError, RunInfo
from unitrack.journal import layout
from unitrack_neptune._draft import digest8
from unitrack_neptune._legacy_protocol import operations
from unitrack_neptune._place import Sent
from unitrack_neptune._plan import Assign, Op, Upload

__all__ = ["LegacyOnline", "custom_id"]

_LONGEST_ID = 36
_AT_ONCE = 1000
_HAD = "strictly increasing"
"""What the server's words for a step that doesn't rise have in them; the client gives no code."""
_REFUSED = {"Unauthorized", "Forbidden", "NeptuneInvalidApiTokenException", "NeptuneMissingApiTokenException"}
_GONE = {"ProjectNotFound", "ProjectNotFoundWithSuggestions", "NeptuneLegacyProjectException"}
_PASSING = {"NeptuneConnectionLostException", "InternalServerError", "NeptuneSSLVerificationError"}


def custom_id(run_id: str) -> str:
    """Return the run's id as a custom id of Neptune's, which takes 36 characters and drops a longer one."""
    return run_id if len(run_id) <= _LONGEST_ID else hashlib.sha256(run_id.encode()).hexdigest()[:_LONGEST_ID]


class LegacyOnline:
    """Sends runs to one project of one server. The token comes from NEPTUNE_API_TOKEN."""

    def __init__(self, server: str | None, project: str) -> None:
        self._server, self._project = server, project
        self._backend: Any = None
        self._storage: Any = None
        self._id: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.target = f"neptune {server or '(server of NEPTUNE_API_TOKEN)'} {project}"

    def position(self, run: RunInfo) -> Path:
        """With the run's cursors."""
        return layout.sync_dir(run.folder) / f"neptune-{digest8(self.target)}.position"

    def begin(self, run: RunInfo, mark: tuple[int, ...]) -> tuple[int, ...]:
        """Find the run by its custom id, or make it."""
        from neptune.core.components.operation_storage import OperationStorage

        with self._translated():
            if self._backend is None:
                self._backend = self._connect()
                self._scratch = tempfile.TemporaryDirectory(prefix="unitrack-")
                self._storage = OperationStorage(Path(self._scratch.name))
            project = self._backend.get_project(self._project)
            self._id = self._backend.create_run(project.id, custom_run_id=custom_id(run.id)).id
        if run.name:
            self.send([Assign("sys/name", run.name)])
        return mark

    def _connect(self) -> Any:
        from neptune.internal.backends.hosted_neptune_backend import HostedNeptuneBackend
        from neptune.internal.credentials import Credentials

        if not os.environ.get("NEPTUNE_API_TOKEN"):
            raise FatalBackendError("NEPTUNE_API_TOKEN is not set: the token names the server, and is all it takes")
        token = Credentials.from_token()
        if self._server is not None:
            token = Credentials(token.api_token, token_origin_address=self._server, api_url_opt=self._server)
        return HostedNeptuneBackend(credentials=token)

    def send(self, ops: Sequence[Op]) -> Sent:
        """Send operations; the server has processed them when this returns."""
        from neptune.internal.container_type import ContainerType

        left, refused = list(operations(ops, self._keep)), 0
        while left:
            with self._translated():
                done, errors = self._backend.execute_operations(
                    container_id=self._id,
                    container_type=ContainerType.RUN,
                    operations=left[:_AT_ONCE],
                    operation_storage=self._storage,
                )
            had = [error for error in errors if _HAD in str(error)]
            refused += len(had)
            if len(had) < len(errors):
                reason = next(str(error) for error in errors if _HAD not in str(error))
                raise ValueError(f"Neptune refused it: {reason:.300}")
            if not done:
                raise RetryableError(f"{self.target} took no operation")
            left = left[done:]
        return Sent(refused=refused)

    def _keep(self, op: Upload) -> str:
        name = f"{digest8(op.path)}-{op.name[-60:]}"
        (self._storage.upload_path / name).write_bytes(op.data or b"")
        return name

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what unitrack's worker understands for what the client raises."""
        from neptune.common.exceptions import NeptuneException
        from requests.exceptions import RequestException

        try:
            yield
        except NeptuneException as error:
            names = {kind.__name__ for kind in type(error).__mro__}
            text = f"{self.target}: {type(error).__name__}"
            if names & _REFUSED:
                raise FatalBackendError(f"{text}: check NEPTUNE_API_TOKEN") from error
            if names & _GONE:
                raise FatalBackendError(f"{text}: check `project` in [backends.neptune]") from error
            if names & _PASSING:
                raise RetryableError(text) from error
            raise ValueError(f"{text}: {error!s:.300}") from error
        except RequestException as error:
            raise RetryableError(f"{self.target}: {type(error).__name__}") from error

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Let go of the server."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
