"""A store to write runs into, a worker to send them with, and W&B's own reader of what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack_wandb import WandbFactory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # W&B's own
    from wandb.util import get_core_path

sys.path.insert(0, str(Path(__file__).parent))  # for wandb_whole_run and wandb_double, beside this file

# What `wandb leet inspect --json` runs, without two seconds of Python before it.
INSPECT = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]


class Runs:
    """A store to write runs into, and a worker to send them with."""

    def __init__(self, root):
        self.root = root
        self.writers = []
        self.lowered = []
        layout.create_store(root)

    def writer(self, run_id="one", *, rank=None, **fields):
        info = WriterInfo(run=run_id, rank=rank)
        writer = JournalWriter(self.folder(run_id), info, durability="finish")
        self.writers.append(writer)
        writer.append(RunStarted, **{"project": "p", **fields})
        return writer

    def folder(self, run_id="one"):
        return layout.run_dir(self.root, run_id)

    def put(self, data):
        """Keep bytes as an object of the store."""
        digest = hashlib.sha256(data).hexdigest()
        path = layout.objects_dir(self.root) / digest[:2] / digest
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return f"sha256:{digest}"

    def send(self, tracker, **job):
        """Run a worker in this process; returns its results and lowerings."""
        told = []
        options = {**tracker.options, **job.pop("options", {})}
        fields = {"store": str(self.root), "backend": "wandb", "type": "wandb", "options": options, "patience": 2.0}
        Worker(Job(**{**fields, **job}), WandbFactory(), told.append).run()
        self.lowered = [(one.kind, one.name) for one in told if type(one).__name__ == "Lowering"]
        return [one for one in told if type(one).__name__ == "Result"]

    def forget(self):
        """Lose every cursor, as a crash of the disk would."""
        for path in self.root.glob("runs/*/sync/*"):
            path.unlink()


class Offline:
    """The folder of offline runs, read with W&B's own reader."""

    def __init__(self, dir):
        self.dir = dir
        self.options = {"mode": "offline", "dir": str(dir)}
        self._seen = {}

    def folders(self, key="one"):
        return sorted(path for path in (self.dir / "wandb").glob(f"offline-run-*-{key}") if path.is_dir())

    def folder(self, key="one"):
        (folder,) = self.folders(key)
        return folder

    def records(self, key="one"):
        """Return the records as `wandb leet inspect --json` prints them, keys with dots nested as they are printed."""
        found = []
        for folder in self.folders(key):
            found += self._inspect(folder)
        return found

    def _inspect(self, folder):
        (log,) = folder.glob("*.wandb")
        if (log, log.read_bytes()) not in self._seen:
            command = [*INSPECT, "--run-file", str(log), str(folder.parent)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            self._seen[log, log.read_bytes()] = [json.loads(line) for line in done.stdout.splitlines()]
        return self._seen[log, log.read_bytes()]

    def rows(self, key="one"):
        return [record["history"]["item"] for record in self.records(key) if record["type"] == "history"]

    def metric(self, name, key="one"):
        """Return (step, value) of a metric, in order."""
        rows = self.rows(key)
        return [(row.get("unitrack/step"), row[name]) for row in rows if name in row]

    def config(self, key="one"):
        config = {}
        for record in self.records(key):
            if record["type"] in ("run", "config"):
                update = record[record["type"]]
                config |= update.get("config", update).get("update", {})
        return config

    def last(self, kind, key="one"):
        return [record[kind] for record in self.records(key) if record["type"] == kind][-1]

    def exits(self, key="one"):
        return [record["exit"] for record in self.records(key) if record["type"] == "exit"]


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path / ".unitrack")
    yield made
    for writer in made.writers:
        if not writer.closed:
            writer.seal("finished")


@pytest.fixture
def offline(tmp_path):
    return Offline(tmp_path / "place")


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Keep W&B's caches, settings and credentials of this machine out of the tests."""
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    os.environ.pop("WANDB_API_KEY", None)
