"""Real MLflow: a SQLite store and a server on this machine, and bare clients to read them back."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest

from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack_mlflow import MlflowFactory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own
    from mlflow import MlflowClient


@pytest.fixture(scope="session")
def sqlite_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory):
    """Start a server once; a cold start takes half a minute."""
    folder = tmp_path_factory.mktemp("server")
    with _server(folder, f"sqlite:///{folder}/mlflow.db") as uri:
        yield uri


@pytest.fixture(scope="session")
def start_server():
    """Return what runs a server on a store: `with start_server(folder, store_uri) as uri`."""
    return _server


@contextlib.contextmanager
def _server(folder, store_uri):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store_uri, "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait_for(uri, server, folder / "log")
        yield uri
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def _wait_for(uri, server, log):
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start: {log.read_text()[-2000:]}")


class Tracker:
    """One MLflow, read with a client of its own."""

    def __init__(self, uri, experiment):
        self.uri, self.experiment = uri, experiment
        self.client = MlflowClient(tracking_uri=uri)

    @property
    def options(self):
        return {"tracking_uri": self.uri, "experiment": self.experiment}

    def runs(self):
        found = self.client.get_experiment_by_name(self.experiment)
        return [] if found is None else list(self.client.search_runs([found.experiment_id]))

    def run(self, run_id=None):
        """Return the only run, or the only one that carries `run_id`."""
        (run,) = [run for run in self.runs() if run_id in (None, run.data.tags.get("unitrack.run_id"))]
        return run

    def history(self, key, run_id=None):
        rows = self.client.get_metric_history(self.run(run_id).info.run_id, key)
        return sorted((row.step, row.timestamp, row.value) for row in rows)

    def files(self, run_id=None):
        """Return the paths of the run's artifacts but for the report of what was lowered."""
        run = self.run(run_id).info.run_id
        return sorted(path for path in self._walk(run, None) if path != "unitrack/lowered.json")

    def models(self):
        found = self.client.get_experiment_by_name(self.experiment)
        return list(self.client.search_logged_models([found.experiment_id]))

    def _walk(self, run, path):
        for entry in self.client.list_artifacts(run, path):
            if entry.is_dir:
                yield from self._walk(run, entry.path)
            else:
                yield entry.path

    def read(self, path, tmp_path, run_id=None):
        local = self.client.download_artifacts(self.run(run_id).info.run_id, path, str(tmp_path))
        return Path(local).read_bytes()


@pytest.fixture
def sqlite_tracker(sqlite_uri, request):
    return Tracker(sqlite_uri, request.node.name)


@pytest.fixture
def tracker_on_server(server_uri, request):
    return Tracker(server_uri, request.node.name)


@pytest.fixture(params=["sqlite", "server"])
def tracker(request):
    return Tracker(request.getfixturevalue(f"{request.param}_uri"), request.node.name)


class Runs:
    """A store to write runs into, and a worker to send them with."""

    def __init__(self, root):
        self.root = root
        self.writers = []
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
        import hashlib

        digest = hashlib.sha256(data).hexdigest()
        path = layout.objects_dir(self.root) / digest[:2] / digest
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return f"sha256:{digest}"

    def send(self, tracker, **job):
        """Run a worker in this process; returns its results and lowerings."""
        told = []
        options = {**tracker.options, **job.pop("options", {})}
        fields = {"store": str(self.root), "backend": "mlflow", "type": "mlflow", "options": options, "patience": 2.0}
        Worker(Job(**{**fields, **job}), MlflowFactory(), told.append).run()
        self.lowered = [(one.kind, one.name) for one in told if type(one).__name__ == "Lowering"]
        return [one for one in told if type(one).__name__ == "Result"]

    def forget(self):
        """Lose every cursor, as a crash of the disk would."""
        for path in self.root.glob("runs/*/sync/*"):
            path.unlink()


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path / ".unitrack")
    yield made
    for writer in made.writers:
        if not writer.closed:
            writer.seal("finished")
