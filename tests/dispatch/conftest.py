"""Runs made with the journal writer alone, and a backend that keeps what it was given in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import unitrack
from unitrack.backend import Capabilities, ExportResult
from unitrack.events import Metrics, Params, RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo


class MemoryBackend:
    """Keeps records by identity, as an idempotent tracker does. `trouble` is called before each export."""

    capabilities = Capabilities(batch=10)

    def __init__(self):
        self.name = "memory"
        self.runs, self.calls, self.closed, self.opened = {}, [], [], []
        self.trouble = lambda records: None
        self.answer = lambda records: ExportResult(acked=len(records))
        self.target = "here"

    def create(self, options):
        return self

    def open(self, run, acked):
        self.run = run
        self.opened.append((run, dict(acked)))
        self.runs.setdefault(run.id, {})
        return {"target": self.target}

    def export(self, records):
        self.calls.append([record.key for record in records])
        self.trouble(records)
        answer = self.answer(records)
        for record in records[: answer.acked]:
            self.runs[self.run.id].setdefault(record.key, []).append(record.event)
        return answer

    def flush(self, timeout):
        pass

    def close(self, status, ended):
        self.closed.append((self.run.id, status, ended))


@pytest.fixture
def backend():
    return MemoryBackend()


class Runs:
    """A store to write runs into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writers = []
        layout.create_store(root)

    def writer(self, run_id, **fields):
        """Open a writer of a run that has said which run it is."""
        fields = {"project": "p", **fields}
        info = WriterInfo(run=run_id, rank=fields.pop("rank", None), role=fields.pop("role", "primary"))
        writer = JournalWriter(self.folder(run_id), info, durability="finish")
        self.writers.append(writer)
        if info.role == "primary":
            writer.append(RunStarted, **fields)
        return writer

    def finished(self, run_id="one", steps=3, status="finished", **fields):
        """Write a whole run: its params, `steps` losses, its end."""
        writer = self.writer(run_id, **fields)
        writer.append(Params, {"lr": 0.1})
        for step in range(steps):
            writer.append(Metrics, {"loss": step / 2}, step)
        writer.seal(status)
        return writer

    def die(self, writer):
        """End a writer as SIGKILL would: no seal, the lock is free."""
        import os

        writer._keeper.stop()
        os.close(writer.fd)
        writer.fd, writer.closed = -1, True

    def folder(self, run_id):
        return layout.run_dir(self.root, run_id)


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path / ".unitrack")
    yield made
    for writer in made.writers:
        if not writer.closed:
            writer.seal("finished")


@pytest.fixture
def chaos(tmp_path, monkeypatch):
    """Install the plugin `chaos` for worker processes; returns the folder its tracker writes to."""
    site = tmp_path / "site"
    (site / "chaos-1.0.dist-info").mkdir(parents=True)
    (site / "chaos.py").write_text(Path(__file__).with_name("chaos.py").read_text())
    (site / "chaos-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos\nVersion: 1.0\n")
    (site / "chaos-1.0.dist-info" / "entry_points.txt").write_text("[unitrack]\nchaos = chaos\n")
    package = Path(unitrack.__file__).parents[1]
    paths = [str(site), str(package), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.syspath_prepend(str(site))  # a worker of this Python finds what this process finds
    return tmp_path / "tracker"
