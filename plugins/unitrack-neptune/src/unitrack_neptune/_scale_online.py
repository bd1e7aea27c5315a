"""A server that speaks neptune-scale's protocol, through the client's own protobufs and HTTP client.

`neptune_scale.Run` starts a process for every run, hides a dead server for six minutes behind its own retries, and
names faults in callbacks long after the call. Below it lie plain requests, whose answers say at once what was taken.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unitrack.backend import FatalBackendError, RetryableError, RunInfo
from unitrack.journal import layout
from unitrack_neptune._draft import digest8
from unitrack_neptune._place import Sent
from unitrack_neptune._plan import Op, Upload
from unitrack_neptune._scale_protocol import create_run, destination, snapshots

__all__ = ["ScaleOnline"]

_REQUEST = 4 << 20
_FILES = 50
_PATIENCE = 60.0
_HAD = {"SERIES_POINT_DUPLICATE", "SERIES_STEP_NON_INCREASING", "SERIES_TIMESTAMP_DECREASING"}
_EXISTS = {"RUN_DUPLICATE", "RUN_CONFLICTING"}
_GONE = {"PROJECT_NOT_FOUND", "PROJECT_INVALID_NAME", "RUN_NOT_FOUND"}
_PASSING = {"INGEST_SUSPENDED", "INTERNAL"}


class ScaleOnline:
    """Sends runs to one project of one server. The token comes from NEPTUNE_API_TOKEN and names the server."""

    def __init__(self, server: str | None, project: str) -> None:
        self._project = project
        self._server = server
        self._client: Any = None
        self._run = ""
        self.target = f"neptune-scale {server or _address()} {project}"

    def position(self, run: RunInfo) -> Path:
        """With the run's cursors."""
        return layout.sync_dir(run.folder) / f"neptune-{digest8(self.target)}.position"

    def begin(self, run: RunInfo, mark: tuple[int, ...]) -> tuple[int, ...]:
        """Make the run; one that is there stays as it is."""
        from neptune_api.proto.neptune_pb.ingest.v1.pub.ingest_pb2 import RunOperation

        self._run = run.id
        with self._translated():
            if self._client is None:
                self._client = _connect(self._server)
            create = create_run(run.id, run.name, run.started)
            request = self._submit(RunOperation(project=self._project, run_id=run.id, create=create))
            self._await(request, allowed=_EXISTS)
        return mark

    def send(self, ops: Sequence[Op]) -> Sent:
        """Send operations and wait until the server has processed them."""
        with self._translated():
            uploads = [op for op in ops if isinstance(op, Upload)]
            for start in range(0, len(uploads), _FILES):
                self._upload(uploads[start : start + _FILES])
            requests = [request for batch in self._batches(ops) for request in self._submit(batch)]
            return Sent(refused=self._await(requests, allowed=_HAD) if requests else 0)

    def _batches(self, ops: Sequence[Op]) -> Iterator[Any]:
        from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import UpdateRunSnapshots
        from neptune_api.proto.neptune_pb.ingest.v1.pub.ingest_pb2 import RunOperation

        batch: list[Any] = []
        size = 0
        for snapshot in snapshots(ops, self._run, time.time()):
            if batch and size + snapshot.ByteSize() > _REQUEST:
                update = UpdateRunSnapshots(snapshots=batch)
                yield RunOperation(project=self._project, run_id=self._run, update_batch=update)
                batch, size = [], 0
            batch.append(snapshot)
            size += snapshot.ByteSize()
        if batch:
            update = UpdateRunSnapshots(snapshots=batch)
            yield RunOperation(project=self._project, run_id=self._run, update_batch=update)

    # -- requests --------------------------------------------------------------------------------

    def _submit(self, operation: Any) -> list[str]:
        from neptune_api.api.ingestion import ingest
        from neptune_api.proto.neptune_pb.ingest.v1.pub.client_pb2 import SubmitResponse
        from neptune_api.types import File

        body = File(payload=operation.SerializeToString())
        response = self._checked(ingest.sync_detailed(client=self._client, body=body))
        answer = SubmitResponse.FromString(response.content)
        ids = list(answer.request_ids) or ([answer.request_id] if answer.request_id else [])
        if not ids:
            raise RetryableError(f"{self.target} took a request and gave it no id")
        return ids

    def _await(self, requests: Sequence[str], allowed: set[str]) -> int:
        """Wait until all requests are processed; return how many operations were refused for an allowed reason."""
        until = time.monotonic() + _PATIENCE
        pause, refused, left = 0.02, 0, list(requests)
        while left:
            done = self._statuses(left)
            left = left[len(done) :]
            refused += sum(self._judge(codes, allowed) for codes in done)
            if left and time.monotonic() > until:
                raise RetryableError(f"{self.target} has not processed {len(left)} requests within {_PATIENCE:.0f} s")
            if left:
                time.sleep(pause)
                pause = min(1.0, pause * 2)
        return refused

    def _statuses(self, requests: Sequence[str]) -> list[Counter[str]]:
        """Return what became of the leading requests that are processed: ingest codes, counted."""
        from neptune_api.api.ingestion import bulk_check_status
        from neptune_api.proto.google_rpc.code_pb2 import Code
        from neptune_api.proto.neptune_pb.ingest.v1.ingest_pb2 import IngestCode
        from neptune_api.proto.neptune_pb.ingest.v1.pub.client_pb2 import BulkRequestStatus, RequestId, RequestIdList
        from neptune_api.types import File

        ids = RequestIdList(ids=[RequestId(value=request) for request in requests[:1000]])
        body = File(payload=ids.SerializeToString())
        response = bulk_check_status.sync_detailed(client=self._client, project_identifier=self._project, body=body)
        done: list[Counter[str]] = []
        for status in BulkRequestStatus.FromString(self._checked(response).content).statuses:
            if any(entry.code == Code.UNAVAILABLE for entry in status.code_by_count):
                break
            codes: Counter[str] = Counter()
            for entry in status.code_by_count:
                if entry.code != Code.OK:
                    codes[IngestCode.Name(entry.detail)] += entry.count
            done.append(codes)
        return done

    def _judge(self, codes: Counter[str], allowed: set[str]) -> int:
        faults = set(codes) - allowed - _EXISTS
        words = ", ".join(sorted(faults))
        if faults & _GONE:
            raise FatalBackendError(f"{self.target}: {words}: check `project` in [backends.neptune]")
        if faults & _PASSING:
            raise RetryableError(f"{self.target}: {words}")
        if faults:
            raise ValueError(f"Neptune refused it: {words}")
        return sum(codes.values())

    def _checked(self, response: Any) -> Any:
        status = int(response.status_code)
        if status == 200:
            return response
        where = f"{self.target} answered {status}"
        if status in (401, 403):
            raise FatalBackendError(f"{where}: check NEPTUNE_API_TOKEN and who may write to the project")
        if status in (408, 425, 429) or status >= 500:
            raise RetryableError(where, after=_after(response.headers))
        if status == 404:
            raise FatalBackendError(f"{where}: it may speak another protocol than neptune-scale 0.30")
        raise ValueError(where)

    # -- files -----------------------------------------------------------------------------------

    def _upload(self, uploads: Sequence[Upload]) -> None:
        from neptune_api.api.storage import signed_url_generic
        from neptune_api.models import CreateSignedUrlsRequest, FileToSign, Permission

        by_place = {destination(op, self._run): op for op in uploads}
        files = [
            FileToSign(path=path, project_identifier=self._project, permission=Permission("write"), size=_size(op))
            for path, op in by_place.items()
        ]
        body = CreateSignedUrlsRequest(files=files)
        response = self._checked(signed_url_generic.sync_detailed(client=self._client, body=body))
        for signed in response.parsed.files:
            self._put(by_place[signed.path], signed)

    def _put(self, op: Upload, signed: Any) -> None:
        if op.file is not None:
            self._put_path(str(op.file), op.mime, signed)
            return
        with tempfile.NamedTemporaryFile(prefix="unitrack-") as scratch:
            scratch.write(op.data or b"")
            scratch.flush()
            self._put_path(scratch.name, op.mime, signed)

    def _put_path(self, path: str, mime: str, signed: Any) -> None:
        from neptune_api.models import Provider
        from neptune_scale.sync.storage.azure_storage import upload_to_azure
        from neptune_scale.sync.storage.gcs import upload_to_gcp
        from neptune_scale.sync.storage.s3 import upload_to_s3_single

        chunk = 16 << 20
        if signed.multipart:
            self._put_parts(path, mime, signed)
        elif signed.provider == Provider.AZURE:
            self._bounded(lambda: upload_to_azure(path, mime, signed.url, chunk_size=chunk))
        elif signed.provider == Provider.GCP:
            self._bounded(lambda: upload_to_gcp(path, mime, signed.url, chunk_size=chunk))
        else:
            self._bounded(lambda: upload_to_s3_single(path, mime, signed.url))

    def _put_parts(self, path: str, mime: str, signed: Any) -> None:
        from neptune_api.api.storage import complete_multipart_upload
        from neptune_api.models import CompleteMultipartUploadRequest, MultipartPart
        from neptune_scale.sync.storage.s3 import upload_to_s3_multipart

        part = signed.multipart
        etags = self._bounded(lambda: upload_to_s3_multipart(path, mime, part.part_size, list(part.part_urls)))
        body = CompleteMultipartUploadRequest(
            upload_id=part.upload_id,
            project_identifier=self._project,
            path=signed.path,
            parts=[MultipartPart(part_number=number, etag=etag) for number, etag in etags.items()],
        )
        self._checked(complete_multipart_upload.sync_detailed(client=self._client, body=body))

    def _bounded(self, upload: Callable[[], Any]) -> Any:
        """Run one of the client's uploads, whose own retries would go on for minutes."""

        async def run() -> Any:
            return await asyncio.wait_for(upload(), timeout=600.0)

        return asyncio.run(run())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what unitrack's worker understands for what the client raises."""
        import httpx
        from google.protobuf.message import DecodeError
        from neptune_api import errors
        from neptune_scale.exceptions import NeptuneRetryableError

        try:
            yield
        except (errors.InvalidApiTokenException, errors.UnableToDeserializeApiKeyError) as error:
            raise FatalBackendError(
                f"{self.target}: NEPTUNE_API_TOKEN can't be read ({type(error).__name__})"
            ) from error
        except errors.ApiKeyRejectedError as error:
            raise FatalBackendError(f"{self.target} rejects NEPTUNE_API_TOKEN: make a new one there") from error
        except httpx.HTTPStatusError as error:
            raise ValueError(f"{self.target}: a file was refused with {error.response.status_code}") from error
        except (httpx.RequestError, NeptuneRetryableError, DecodeError, asyncio.TimeoutError) as error:
            raise RetryableError(f"{self.target}: {type(error).__name__}: {error!s:.300}") from error
        except (errors.UnableToExchangeApiKeyError, errors.UnableToRefreshTokenError) as error:
            if "HTTP 403" in str(error):  # the client has no other sign of it
                raise FatalBackendError(f"{self.target} forbids access: check NEPTUNE_API_TOKEN") from error
            raise RetryableError(f"{self.target} gives no access now: {error}") from error
        except errors.UnableToParseResponse as error:
            raise RetryableError(f"{self.target} doesn't answer as Neptune does: {error!r:.300}") from error

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.__exit__()
            self._client = None


def _connect(server: str | None) -> Any:
    from neptune_api.credentials import Credentials
    from neptune_scale.net.api_client import create_auth_api_client, get_config_and_token_urls
    from neptune_scale.util.envs import VERIFY_SSL, get_bool

    token = os.environ.get("NEPTUNE_API_TOKEN", "")
    if not token:
        raise FatalBackendError("NEPTUNE_API_TOKEN is not set: Neptune's token names the server, and is all it takes")
    credentials = Credentials.from_api_key(token) if server is None else Credentials(api_key=token, base_url=server)
    # Without TLS there is nothing to verify, and loading certificates for every run takes longer than all else.
    secure = credentials.base_url.startswith("https")
    verify = secure and get_bool(VERIFY_SSL, default_missing=True, default_invalid=True)
    try:
        config, urls = get_config_and_token_urls(credentials=credentials, verify_ssl=verify)
    except (KeyError, TypeError, AttributeError) as error:
        raise RetryableError(f"{credentials.base_url} doesn't answer as Neptune does: {error!r:.300}") from error
    return create_auth_api_client(credentials=credentials, config=config, token_refreshing_urls=urls, verify_ssl=verify)


def _address() -> str:
    """Return the server that the token names, and nothing else of it."""
    import base64
    import json

    try:
        words = json.loads(base64.b64decode(os.environ.get("NEPTUNE_API_TOKEN", "")))
        return str(words.get("api_url") or words.get("api_address"))
    except (ValueError, AttributeError):
        return "(no readable NEPTUNE_API_TOKEN)"


def _size(op: Upload) -> int:
    if op.file is not None:
        return op.file.stat().st_size
    return len(op.data or b"")


def _after(headers: Any) -> float | None:
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
