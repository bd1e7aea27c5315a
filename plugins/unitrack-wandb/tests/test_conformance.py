"""The backend passes unitrack's conformance kit offline, read back with W&B's own protobufs."""

from __future__ import annotations

import html
import json
import re
import struct
import warnings
from pathlib import Path

import pytest

from unitrack.testing import BackendTests, HeldRun
from unitrack_wandb import WandbFactory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # W&B's own
    from wandb.proto.wandb_internal_pb2 import Record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")  # W&B's own models

_FRAGMENT = struct.Struct("<IHB")


def log_records(path):
    """Yield the records of a transaction log: 7 bytes, then blocks of 32 KiB with fragments in them."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + _FRAGMENT.size <= len(data):
        if (room := 32768 - place % 32768) < _FRAGMENT.size:
            place += room
            continue
        _, length, kind = _FRAGMENT.unpack_from(data, place)
        whole += data[place + _FRAGMENT.size : place + _FRAGMENT.size + length]
        place += _FRAGMENT.size + length
        if kind in (1, 4):
            yield Record.FromString(whole)
            whole = b""


class Held:
    """What the folders of a run hold, as a server would have it after `wandb sync`."""

    def __init__(self, folders):
        self.folders = folders
        self.rows, self.config, self.tags, self.exit, self.artifacts = [], {}, [], None, []
        for folder in folders:
            (log,) = folder.glob("*.wandb")
            for record in log_records(log):
                self.take(record)

    def take(self, record):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            self.rows.append({name(item): json.loads(item.value_json) for item in record.history.item})
        elif kind in ("run", "config"):
            update = record.run.config if kind == "run" else record.config
            self.config |= {name(item): json.loads(item.value_json) for item in update.update}
        elif kind == "exit":
            self.exit = record.exit.exit_code
        elif kind == "artifact":
            self.artifacts.append(record.artifact)
        if kind == "run":
            self.tags = list(record.run.tags)

    @property
    def about(self):
        return self.config.get("unitrack", {})

    def names(self, kind):
        return self.about.get("names", {}).get(kind, {})

    def run(self):
        words = self.names("tag")
        tags = {words.get(tag, tag): "" for tag in self.tags}
        return HeldRun(
            status=self.status(),
            params=dict(
                leaves({k: v for k, v in self.config.items() if k not in ("unitrack", "_wandb")}, self.names("param"))
            ),
            metrics=self.metrics(),
            tags={**tags, **self.about.get("tags", {})},
            files={**dict(self.shown()), **dict(self.logged()), **dict(self.reports())},
            parent=self.about.get("parent"),
        )

    def status(self):
        if self.exit is None:
            return None
        return {0: "finished", 137: "killed"}.get(self.exit, "failed")

    def metrics(self):
        found, names = {}, self.names("metric")
        for row in self.rows:
            step = row.get("unitrack/step")
            for key, value in row.items():
                if not isinstance(value, dict) and not key.startswith(("_step", "_timestamp", "_runtime", "unitrack/")):
                    point = (step, row["_timestamp"], float(value))
                    found.setdefault(names.get(key, key), []).append(point)
        for points in found.values():
            points.sort(key=lambda one: (one[0] is not None, one[0] or 0, one[1]))
        return {key: [(step, value) for step, _, value in points] for key, points in found.items()}

    def shown(self):
        """Yield media: W&B shows text as a page, which is undone here."""
        names = self.names("metric")
        for row in self.rows:
            for key, value in row.items():
                if isinstance(value, dict) and "path" in value:
                    (data,) = {(folder / "files" / value["path"]).read_bytes() for folder in self.folders}
                    if value["_type"] == "html-file":
                        data = html.unescape(re.sub("<[^>]*>", "", data.decode())).encode()
                    yield f"media/{names.get(key, key)}/{row['_step']}", data

    def reports(self):
        for folder in self.folders:
            for path in (folder / "files").glob("unitrack/*.json"):
                yield f"unitrack/{path.name}", path.read_bytes()

    def logged(self):
        """Yield the files of artifacts; a file alone has its artifact's name."""
        for artifact in self.artifacts:
            told = json.loads(artifact.metadata)["unitrack"]
            for entry in artifact.manifest.contents:
                path = f"{told['name']}/{entry.path}" if told.get("tree") else told["name"]
                yield path, Path(entry.local_path).read_bytes()


def name(item):
    """Return the key of an item of a row or the config."""
    return item.key or ".".join(item.nested_key)


def leaves(values, names, prefix=""):
    for key, value in values.items():
        word = key if prefix else names.get(key, key)
        if isinstance(value, dict) and value:
            yield from leaves(value, names, f"{prefix}{word}/")
        else:
            yield f"{prefix}{word}", unescaped(value)


def unescaped(value):
    """Undo the backslash before text that spells a number which isn't finite, as in the journal."""
    return value[1:] if isinstance(value, str) and value.startswith("\\") else value


class OfflineTarget:
    factory = WandbFactory()
    client_modules = ("wandb", "pydantic", "google")

    def __init__(self, offline):
        self.options, self._offline = offline.options, offline

    def held(self, run_id):
        folders = self._offline.folders(run_id)
        return [Held(folders).run()] if folders else []


class TestWandbOffline(BackendTests):
    @pytest.fixture
    def target(self, offline):
        return OfflineTarget(offline)
