"""A double of W&B's protocol for what no server that runs here has: it proves the request side only.

It answers what W&B's client asks by the name of the GraphQL operation, keeps files streams by offset as W&B
describes them, and takes files by PUT. Whether W&B's own server would be content with the requests, it can't tell.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wandb_double_registry import Collections

KEY = "local" + "0" * 35


class Double(Collections):
    """A server on a free port of this machine; what it was told is in its attributes."""

    def __init__(self):
        super().__init__()
        self.runs, self.streams, self.files, self.contents, self.asked = {}, {}, {}, {}, Counter()
        self.alerts, self.faults, self.unknown = [], [], []
        self.lock = threading.RLock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body of an answer are sent one after the other

            def log_message(self, *args):
                """Keep quiet."""

            def do_POST(self):
                double.handle(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            do_PUT = do_GET = do_POST  # noqa: N815 - as the base class calls them

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that hangs up is no news
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.options = {"base_url": self.url, "timeout": 5}
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # -- HTTP ------------------------------------------------------------------------------------

    def fail(self, status, times, where="", headers=None):
        """Answer the next `times` requests to paths or operations that hold `where` with `status`."""
        self.faults.append([status, times, where, headers or {}])

    def handle(self, request, body):
        with self.lock:
            path = request.path.partition("?")[0]
            asked = _operation(body) if path == "/graphql" else path
            self.asked[asked] += 1
            for fault in self.faults:
                if fault[1] > 0 and fault[2] in asked:
                    fault[1] -= 1
                    return self.answer(request, fault[0], {"error": "as the test wants it"}, fault[3])
            if path == "/graphql":
                call = json.loads(body)
                try:
                    data = self.graphql(asked, call.get("variables") or {}, call["query"])
                except Exception as error:  # the client would ask again and again, and nobody would know why
                    self.unknown.append(f"{asked} {body!r}: {error!r}")
                    return self.answer(request, 400, {"errors": [{"message": repr(error)}]})
                return self.answer(request, 200, {"data": data})
            if path.endswith("/file_stream"):
                self.stream(path.split("/")[-2], json.loads(body))
                return self.answer(request, 200, {"exitcode": None, "limits": {}})
            if request.command == "PUT":
                self.files[path] = body
                self.contents[hashlib.md5(body, usedforsecurity=False).hexdigest()] = body
                return self.answer(request, 200, {})
            if "/artifacts" in path and self.content(path) is not None:
                return self.answer(request, 200, self.content(path))
            if path in self.files:
                return self.answer(request, 200, self.files[path])
            return self.answer(request, 404, {"error": path})

    def answer(self, request, status, value, headers=None):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        request.send_response(status)
        for name, text in {**(headers or {}), "Content-Type": "application/json", "Content-Length": len(data)}.items():
            request.send_header(name, str(text))
        request.end_headers()
        request.wfile.write(data)

    # -- file streams ----------------------------------------------------------------------------

    def stream(self, run, told):
        for name, part in told.get("files", {}).items():
            lines = self.streams.setdefault((run, name), [])
            lines[part["offset"] : part["offset"] + len(part["content"])] = part["content"]
        if told.get("complete"):
            self.runs[run]["state"] = "failed" if told.get("exitcode") else "finished"

    def lines(self, run, name="wandb-history.jsonl"):
        return [json.loads(line) for line in self.streams.get((run, name), [])]

    def summary(self, run):
        return (self.lines(run, "wandb-summary.json") or [{}])[-1]

    def config(self, run):
        return {key: value["value"] for key, value in json.loads(self.runs[run]["config"] or "{}").items()}

    # -- GraphQL ---------------------------------------------------------------------------------

    def graphql(self, operation, given, query):
        answer = getattr(self, f"on_{_snake(operation)}", None)
        if answer is not None:
            return answer(given)
        if "__type(" in query:
            return {"__type": None, **dict.fromkeys(re.findall(r"(\w+): *__type", query))}
        self.unknown.append(f"{operation} {json.dumps(given)}: {query}")
        return {}

    def on_viewer(self, given):
        return {"viewer": {"id": "u", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    on_get_default_entity = on_viewer

    def on_server_info(self, given):
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}, "latestLocalVersionInfo": None}}

    def on_server_features_query(self, given):
        return {"serverInfo": {"features": []}}

    def bucket(self, run):
        made = self.runs[run]
        history, events = (self.streams.get((run, f"wandb-{name}.jsonl"), []) for name in ("history", "events"))
        return {
            **made, "id": run, "name": run, "summaryMetrics": json.dumps(self.summary(run)), "sweepName": None,
            "historyLineCount": len(history), "eventsLineCount": len(events), "logLineCount": 0,
            "historyTail": json.dumps(history[-1:]), "eventsTail": json.dumps(events[-1:]),
            "wandbConfig": json.dumps(self.config(run).get("_wandb", {})),
            "historyKeys": {"keys": {}, "lastStep": len(history) - 1}, "user": {"name": "me", "username": "me"},
            "projectId": "1", "heartbeatAt": "2026-01-01T00:00:00Z", "runInfo": None, "systemMetrics": "{}",
            "project": {"id": "1", "name": made["in"], "entity": {"name": "team"}}, "readOnly": False, "stopped": False,
        }  # fmt: skip

    def on_run_resume_status(self, given):
        run = given.get("name")
        found = self.bucket(run) if run in self.runs else None
        return {"model": {"id": "1", "name": "p", "entity": {"id": "1", "name": "team"}, "bucket": found}}

    # -- what the public API asks ----------------------------------------------------------------

    def on_run(self, given):
        found = self.bucket(given["name"]) if given["name"] in self.runs else None
        return {"project": {"run": found}}

    def on_run_history_keys(self, given):
        keys = {key: {"typeCounts": [{"type": "number"}]} for row in self.lines(given["name"]) for key in row}
        last = len(self.lines(given["name"])) - 1
        return {"project": {"run": {"historyKeys": {"sets": [], "keys": keys, "lastStep": last}}}}

    def on_run_parquet_history(self, given):
        found = {"parquetUrls": [], "liveData": _worded(self.lines(given["runName"]))}
        return {"project": {"run": {"parquetHistory": found}}}

    def on_history_page(self, given):
        lines = [row for row in self.lines(given["run"]) if given["minStep"] <= row["_step"] < given["maxStep"]]
        history = [json.dumps(_worded(row)) for row in lines[: given["pageSize"]]]
        return {"project": {"run": {"history": history}}}

    def content(self, path):
        """Return a file of an artifact by the MD5 in its path, as W&B's second storage layout has it."""
        for digest, data in self.replaced.items():
            if base64.b64decode(digest).hex() in path.split("/"):
                return data
        return next((self.contents[part] for part in path.split("/") if part in self.contents), None)

    def on_run_files(self, given):
        folder = f"/run/{given['name']}/"
        names = [path.removeprefix(folder) for path in self.files if path.startswith(folder)]
        names = [name for name in names if not given["fileNames"] or name in given["fileNames"]]
        edges = []
        for name in names:
            url, size = f"{self.url}{folder}{name}", len(self.files[folder + name])
            node = {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": size, "mimetype": "",
                    "updatedAt": "2026-01-01T00:00:00Z", "md5": ""}  # fmt: skip
            edges.append({"node": node, "cursor": name})
        files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}

    def on_upsert_bucket(self, given):
        run = given["name"]
        fresh = {"state": "running", "config": None, "tags": [], "displayName": None, "group": None, "jobType": None,
                 "notes": None, "createdAt": "2026-01-01T00:00:00Z", "description": None, "commit": None,
                 "in": given.get("project") or "p"}  # fmt: skip
        made = self.runs.setdefault(run, fresh)
        made["state"] = "running"
        names = {"groupName": "group", "displayName": "displayName", "config": "config", "tags": "tags",
                 "jobType": "jobType", "notes": "notes"}  # fmt: skip
        made.update({names[key]: value for key, value in given.items() if key in names and value is not None})
        return {"upsertBucket": {"bucket": self.bucket(run), "inserted": True}}

    def on_create_run_files(self, given):
        folder = f"{self.url}/run/{given['run']}"
        made = [{"name": name, "uploadUrl": f"{folder}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": made}}

    # -- alerts ----------------------------------------------------------------------------------

    def on_notify_scriptable_run_alert(self, given):
        self.alerts.append(given["title"])
        return {"notifyScriptableRunAlert": {"success": True}}


def _operation(body):
    found = re.search(r"(?:query|mutation)\s+(\w+)", json.loads(body)["query"])
    return found.group(1) if found else "anonymous"


def _snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _worded(value):
    """Return what a GraphQL answer can hold: numbers that aren't finite as W&B words them."""
    if isinstance(value, dict):
        return {key: _worded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_worded(one) for one in value]
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return words.get(str(value), value) if isinstance(value, float) else value
