"""A correct backend over the simplest tracker there is: a folder for each run, with a line for each record.

Found by worker processes as an installed plugin. `shelf_target` reads the folder back without it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import broken

from unitrack.backend import Capabilities, ExportResult, Lowering, Rejection
from unitrack.errors import ConfigError, UnitrackError
from unitrack.events import Artifact, DatasetUsed, Media, Metrics, Params, RunStarted, Tags, Unknown
from unitrack.hookspecs import hookimpl
from unitrack.model import restore
from unitrack.objects import ObjectStore


class Factory:
    name = "shelf"

    def create(self, options):
        unknown = sorted(set(options) - {"folder", "fault"})
        fault = options.get("fault")
        if unknown and fault != "takes_any_option":
            raise ConfigError(f"[backends.shelf] has no option {unknown[0]!r}", key=unknown[0])
        return (broken.FAULTS[fault](Backend) if fault else Backend)(Path(options["folder"]))


class Backend:
    capabilities = Capabilities(
        artifacts=True, media=True, datasets=True, nested_runs=True, non_finite=True, fractional_steps=True, batch=100
    )

    def __init__(self, root):
        self.root = root

    # -- the run ---------------------------------------------------------------------------------

    def open(self, run, acked):
        self.run = run
        self.objects = ObjectStore(run.objects)
        self.folder = self.place(run)
        (self.folder / "files").mkdir(parents=True, exist_ok=True)
        (self.folder / "status").unlink(missing_ok=True)
        self.log = self.folder / "log.jsonl"
        self.known = self.recover()
        return {"target": str(self.folder)}

    def place(self, run):
        return self.root / run.id

    def recover(self):
        """Cut a line that a kill left half-written; return the keys of the records that are there."""
        data = self.log.read_bytes() if self.log.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        self.log.write_bytes(whole)
        return {tuple(json.loads(line)["key"]) for line in whole.splitlines()}

    def flush(self, timeout):
        pass

    def close(self, status, ended):
        if status is not None:
            (self.folder / "status").write_text(status)

    def keep_report(self, report):
        (self.folder / "lowered.json").write_bytes(report)

    # -- records ---------------------------------------------------------------------------------

    def export(self, records):
        rejected, lowered = [], []
        for record in self.order(records):
            if self.key(record) in self.known:
                lowered += self.lost(record.event)
                continue
            try:
                lines = list(self.map(record.event))
            except UnitrackError as error:
                rejected.append(Rejection(record=record, reason=str(error)))
                continue
            lowered += self.lost(record.event)
            self.write(self.key(record), lines)
        return ExportResult(acked=len(records), rejected=tuple(rejected), lowered=tuple(lowered))

    def order(self, records):
        return records

    def key(self, record):
        return record.key

    def lost(self, event):
        if isinstance(event, Unknown):
            yield Lowering(kind="event", name=event.type, detail="left out")

    def write(self, key, entries):
        self.known.add(key)
        line = json.dumps({"key": key, "entries": entries}) + "\n"
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(handle, line.encode())
        os.close(handle)

    # -- what becomes of what --------------------------------------------------------------------

    def map(self, event):
        if isinstance(event, Metrics):
            for name, value in event.values.items():
                yield from self.metric(name, event.step, restore(value))
        elif isinstance(event, Params):
            for name, value in flat(event.values):
                yield from self.param(name, value)
        elif isinstance(event, Tags):
            yield from self.tags({**dict.fromkeys(event.add, ""), **event.values}, event.remove)
        elif isinstance(event, RunStarted):
            yield from self.tags(dict.fromkeys(event.tags, ""), [])
            yield from self.parent(event.parent)
        elif isinstance(event, Artifact):
            yield from self.artifact(event)
        elif isinstance(event, Media):
            yield from self.media(event)
        elif isinstance(event, DatasetUsed):
            yield ["dataset", event.name]

    def metric(self, name, step, value):
        yield ["metric", name, step, value]

    def param(self, name, value):
        yield ["param", name, value]

    def tags(self, add, remove):
        yield from (["tag", name, text] for name, text in add.items())
        yield from (["untag", name] for name in remove)

    def parent(self, parent):
        yield ["parent", parent]

    def artifact(self, event):
        if event.tree:
            for entry in self.objects.manifest(event.digest).files:
                yield self.file(f"{event.name}/{entry.path}", self.objects.get(entry.digest).read_bytes())
        else:
            yield self.file(event.name, self.objects.get(event.digest).read_bytes())

    def media(self, event):
        data = event.inline.encode() if event.digest is None else self.objects.get(event.digest).read_bytes()
        yield self.file(f"media/{event.name}/{self.run.id}-{hash_of(data)}", data)

    def file(self, path, data):
        kept = self.folder / "files" / hash_of(data)
        kept.write_bytes(data)
        return ["file", path, kept.name]


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", restore(value)


def hash_of(data):
    return hashlib.sha256(data).hexdigest()[:16]


@hookimpl
def unitrack_register_backends():
    return [Factory()]
