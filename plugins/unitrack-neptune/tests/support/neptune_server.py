"""A stand-in for the server of Neptune 3.x, on loopback. There is no real one to test with: Neptune is closed.

It is built on the client's own protobufs (`neptune_api.proto.neptune_pb.ingest.v1`) and on what the client asks for:
client configuration, OpenID discovery, an oauth token, `ingest`, `ingest/check`, signed URLs. It refuses what the
protocol has codes for: steps that don't rise, times that fall, types that change, paths in a field. So it proves the
request side and the handling of those codes; what a real server would do beyond them it can't prove.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections import Counter

from neptune_api.proto.google_rpc.code_pb2 import Code
from neptune_api.proto.neptune_pb.ingest.v1.ingest_pb2 import IngestCode
from neptune_api.proto.neptune_pb.ingest.v1.pub.client_pb2 import BulkRequestStatus, RequestIdList, SubmitResponse
from neptune_api.proto.neptune_pb.ingest.v1.pub.ingest_pb2 import RunOperation

WORD = "not-a-secret"


class Run:
    """What the server holds of one run."""

    def __init__(self):
        self.created, self.experiment = 0, None
        self.fields, self.kinds, self.series, self.last = {}, {}, {}, {}
        self.tags = {"sys/tags": set(), "sys/group_tags": set()}
        self.files = {}


class Server:
    """Serves until `stop`. `fault(method, path, body)` may answer with (status, headers), or "drop"."""

    def __init__(self):
        self.runs, self.storage, self.requests, self.answers = {}, {}, [], {}
        self.fault = lambda method, path, body: None
        self.polls = 1  # how often a request isn't processed yet when it is asked for
        self.asked = Counter()
        self.projects = {"w/p"}
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # one packet an answer: two would wait 40 ms for each other

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.requests.append((self.command, self.path))
                fault = server.fault(self.command, self.path, body)
                if fault == "drop":
                    self.close_connection = True
                    return
                status, headers, data = (
                    (*fault, b"no") if fault else server.answer(self.command, self.path, body, self.headers)
                )
                if fault == "lost":
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {
                    "Content-Type": "application/json",
                    **headers,
                    "Content-Length": str(len(data)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815 - http.server's names

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def token(self):
        """A token as Neptune makes them: it names the server."""
        words = {"api_address": self.url, "api_url": self.url, "api_key": WORD}
        return base64.b64encode(json.dumps(words).encode()).decode()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    # -- answers ---------------------------------------------------------------------------------

    def answer(self, method, path, body, headers):
        path, _, _ = path.partition("?")
        if path.endswith("/clients/config"):
            security = {"clientId": "c", "openIdDiscovery": f"{self.url}/openid"}
            return self._json(
                {"apiUrl": self.url, "applicationUrl": self.url, "pyLibVersions": {}, "security": security}
            )
        if path == "/openid":
            return self._json({"authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token"})
        if path.endswith("/oauth-token"):
            if headers.get("X-Neptune-Api-Token") != self.token:
                return 401, {}, b"{}"
            return self._json({"accessToken": _jwt(), "refreshToken": _jwt(), "username": "u"})
        if path.startswith("/storage/") and method == "PUT":
            self.storage[path.removeprefix("/storage/")] = body
            return 200, {"ETag": '"e"'}, b""
        if not headers.get("Authorization", "").startswith("Bearer "):
            return 401, {}, b"{}"
        if path == "/api/client/v1/ingest":
            return 200, {}, self._ingest(RunOperation.FromString(body))
        if path == "/api/client/v1/ingest/check":
            return 200, {}, self._check(RequestIdList.FromString(body))
        if path.endswith("/signedUrl"):
            files = json.loads(body)["files"]
            signed = [
                {
                    "path": one["path"],
                    "project_identifier": one["project_identifier"],
                    "provider": "aws",
                    "url": f"{self.url}/storage/{one['path']}",
                }
                for one in files
            ]
            return self._json({"files": signed})
        return 404, {}, b"{}"

    @staticmethod
    def _json(value):
        return 200, {}, json.dumps(value).encode()

    def _ingest(self, operation):
        request = f"request-{len(self.answers)}"
        self.answers[request] = self._apply(operation)
        return SubmitResponse(request_ids=[request]).SerializeToString()

    def _check(self, requests):
        answer = BulkRequestStatus()
        for request in requests.ids:
            self.asked[request.value] += 1
            status = answer.statuses.add()
            if self.asked[request.value] <= self.polls:
                status.code_by_count.add(count=1, code=Code.UNAVAILABLE)
                continue
            for name, count in self.answers[request.value].items():
                code = Code.OK if name == "OK" else Code.INVALID_ARGUMENT
                status.code_by_count.add(count=count, code=code, detail=IngestCode.Value(name))
        return answer.SerializeToString()

    # -- what a run holds ------------------------------------------------------------------------

    def _apply(self, operation):
        if operation.project not in self.projects:
            return Counter(PROJECT_NOT_FOUND=1)
        if operation.HasField("create"):
            run = self.runs.setdefault(operation.run_id, Run())
            run.created += 1
            run.experiment = operation.create.experiment_id
            return Counter(OK=1) if run.created == 1 else Counter(RUN_DUPLICATE=1)
        run = self.runs.get(operation.run_id)
        if run is None:
            return Counter(RUN_NOT_FOUND=1)
        codes = Counter()
        for update in operation.update_batch.snapshots:
            codes.update(self._update(run, update))
        return codes

    def _update(self, run, update):
        step = update.step.whole + update.step.micro / 1_000_000
        time = update.timestamp.seconds + update.timestamp.nanos / 1e9
        for path, value in update.assign.items():
            kind = value.WhichOneof("value")
            code = self._fits(run, path, kind)
            if code == "OK":
                self._set(run, path, kind, value)
            yield code
        for path, value in update.append.items():
            yield self._append(run, path, value, step, time)
        for path, change in update.modify_sets.items():
            for tag, word in change.string.values.items():
                (run.tags[path].add if word == 1 else run.tags[path].discard)(tag)
            yield "OK"

    def _fits(self, run, path, kind):
        if not path or len(path.encode()) > 1024:
            return "FIELD_PATH_EXCEEDS_SIZE_LIMIT" if path else "FIELD_PATH_EMPTY"
        if any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in run.kinds):
            return "FIELD_PATH_INVALID"
        return "OK" if run.kinds.setdefault(path, kind) == kind else "FIELD_TYPE_CONFLICTING"

    def _set(self, run, path, kind, value):
        if kind == "file_ref":
            run.files[path] = self.storage[value.file_ref.path]
        elif kind == "timestamp":
            run.fields[path] = value.timestamp.seconds + value.timestamp.nanos / 1e9
        else:
            run.fields[path] = getattr(value, kind)

    def _append(self, run, path, value, step, time):
        kind = value.WhichOneof("value")
        code = self._fits(run, path, f"{kind} series")
        if code != "OK":
            return code
        last, when = run.last.get(path, (-1.0, 0.0))
        if step <= last:
            return "SERIES_POINT_DUPLICATE" if step == last else "SERIES_STEP_NON_INCREASING"
        if time < when:
            return "SERIES_TIMESTAMP_DECREASING"
        if kind == "float64" and (value.float64 != value.float64 or abs(value.float64) == float("inf")):
            return "FLOAT_VALUE_NAN_INF_UNSUPPORTED"
        run.last[path] = step, time
        point = self.storage[value.file_ref.path] if kind == "file_ref" else getattr(value, kind)
        run.series.setdefault(path, []).append((step, point))
        return "OK"


def _jwt():
    def part(words):
        return base64.urlsafe_b64encode(json.dumps(words).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'exp': time.time() + 3600})}.{part({})}"
