"""A double of W&B's protocol for what no server that runs here has: it proves the request side only.

It answers what W&B's client asks by the name of the GraphQL operation, keeps files streams by offset as W&B
describes them, and takes files by PUT. Whether W&B's own server would be content with the requests, it can't tell.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "local" + "0" * 35


class Double:
    """A server on a free port of this machine; what it was told is in its attributes."""

    def __init__(self):
        self.runs, self.streams, self.files, self.artifacts, self.asked = {}, {}, {}, [], Counter()
        self.alerts, self.used, self.linked, self.faults, self.unknown = [], [], [], [], []
        self.lock = threading.RLock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

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
                data = self.graphql(asked, call.get("variables") or {}, call["query"])
                return self.answer(request, 200, {"data": data})
            if path.endswith("/file_stream"):
                self.stream(path.split("/")[-2], json.loads(body))
                return self.answer(request, 200, {"exitcode": None, "limits": {}})
            if request.command == "PUT":
                self.files[path] = body
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
            "project": {"id": "1", "name": "p", "entity": {"name": "team"}}, "readOnly": False, "stopped": False,
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

    def on_run_output_artifacts(self, given):
        edges = [{"node": self.told(one), "cursor": one["id"]} for one in self.artifacts]
        found = {"totalCount": len(edges), "pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges}
        return {"project": {"run": {"artifacts": found}}}

    def on_fetch_artifact_manifest(self, given):
        url = f"{self.url}/manifest/{given['id']}/wandb_manifest.json"
        return {"artifact": {"currentManifest": {"file": {"directUrl": url}}}}

    def content(self, path):
        """Return a file of an artifact by the MD5 in its path, as W&B's second storage layout has it."""
        digests = {hashlib.md5(data, usedforsecurity=False).hexdigest(): data for data in self.files.values()}
        return next((digests[part] for part in path.split("/") if part in digests), None)

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
                 "notes": None, "createdAt": "2026-01-01T00:00:00Z", "description": None, "commit": None}  # fmt: skip
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

    # -- artifacts -------------------------------------------------------------------------------

    def on_artifact_type(self, given):
        return {"project": None}

    def on_create_artifact(self, given):
        told = given["input"]
        name, digest = told["artifactCollectionName"], told["digest"]
        same = [one for one in self.artifacts if (one["name"], one["digest"]) == (name, digest)]
        if not same:
            version = sum(one["name"] == name for one in self.artifacts)
            made = {
                "id": f"artifact-{len(self.artifacts)}", "name": name, "digest": digest, "state": "PENDING",
                "type": told["artifactTypeName"], "metadata": json.loads(told.get("metadata") or "{}"),
                "aliases": set(), "version": version, "files": {}, "clientID": told["clientID"],
            }  # fmt: skip
            self.artifacts.append(made)
            same = [made]
        same[0]["aliases"] |= {one["alias"] for one in told.get("aliases") or []}
        found = {"id": same[0]["id"], "state": same[0]["state"], "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": found}}

    def artifact(self, id):
        (found,) = [one for one in self.artifacts if one["id"] == id]
        return found

    def on_create_artifact_manifest(self, given):
        given = given.get("input", given)
        name = f"{given['artifactID']}/{given['name']}"
        file = {"id": name, "name": given["name"], "displayName": given["name"], "uploadHeaders": [],
                "uploadUrl": f"{self.url}/manifest/{name}"}  # fmt: skip
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    on_update_artifact_manifest = on_create_artifact_manifest

    def on_create_artifact_files(self, given):
        edges = []
        for one in given.get("input", given).get("artifactFiles", []):
            path = f"/files/{one['artifactID']}/{one['name']}"
            node = {"id": path, "name": one["name"], "displayName": one["name"], "uploadHeaders": [],
                    "uploadUrl": self.url + path, "uploadMultipartUrls": None, "storagePath": path,
                    "artifact": {"id": one["artifactID"]}}  # fmt: skip
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_commit_artifact(self, given):
        found = self.artifact(given["artifactID"])
        found["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": found["id"], "digest": found["digest"]}}}

    def told(self, one):
        """Return an artifact as the client wants to see it."""
        project = {"id": "1", "internalId": "1", "name": "p", "entity": {"name": "team"}}
        collection = {"__typename": "ArtifactSequence", "name": one["name"], "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": collection}
            for alias in sorted(one["aliases"])
        ]
        return {
            "__typename": "Artifact", "id": one["id"], "artifactSequence": collection, "versionIndex": one["version"],
            "artifactType": {"name": one["type"]}, "description": None, "metadata": json.dumps(one["metadata"]),
            "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [], "historyStep": None, "state": one["state"],
            "size": 0, "digest": one["digest"], "commitHash": "abc", "fileCount": 1, "aliases": aliases,
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None,
        }  # fmt: skip

    def on_artifact_by_id(self, given):
        return {"artifact": self.told(self.artifact(given["id"]))}

    def on_artifact_by_name(self, given):
        name, _, alias = given["name"].partition(":")
        found = [one for one in self.artifacts if one["name"] == name and (alias in one["aliases"] or not alias)]
        return {"project": {"artifact": self.told(found[-1]) if found else None}}

    def on_artifact_membership_by_name(self, given):
        place = f"{given['entity']}/{given['project']}/{given['name'].partition(':')[0]}"
        linked = [self.told(self.artifact(key)) for collection, key, _ in self.linked if collection == place]
        found = linked[-1] if linked else self.on_artifact_by_name(given)["project"]["artifact"]
        if found is None:
            return {"project": {"artifactCollectionMembership": None}}
        collection = {**found["artifactSequence"], "__typename": "ArtifactSequence"}
        made = {
            "__typename": "ArtifactCollectionMembership", "id": found["id"], "versionIndex": found["versionIndex"],
            "createdAt": found["createdAt"], "aliases": found["aliases"], "artifactCollection": collection,
            "artifact": found,
        }  # fmt: skip
        return {"project": {"artifactCollectionMembership": made}}

    def on_fetch_org_info_from_entity(self, given):
        """Say in which organization an entity is: registries belong to that, not to the team."""
        organization = {"name": "works", "orgEntity": {"name": "works-org"}}
        return {"entity": {"name": given["entity"], "organization": organization, "user": None}}

    def on_link_artifact(self, given):
        given = given.get("input", given)
        found = self.artifact(given.get("artifactId") or given.get("artifactID"))
        place = f"{given['entityName']}/{given['projectName']}/{given['artifactPortfolioName']}"
        aliases = sorted(one["alias"] for one in given.get("aliases") or [])
        if (place, found["id"]) not in [one[:2] for one in self.linked]:
            self.linked.append((place, found["id"], aliases))
        answer = {"versionIndex": 0, "artifactMembership": None}
        return {"linkArtifact": answer, "result": answer}

    def on_use_artifact(self, given):
        self.used.append(given.get("input", given)["artifactID"])
        return {"useArtifact": {"artifact": {"id": given.get("input", given)["artifactID"]}}}

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
