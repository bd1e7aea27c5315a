"""The backend passes unitrack's conformance kit on a SQLite store, read back with MLflow's own client."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from unitrack.testing import BackendTests, HeldRun
from unitrack_mlflow import MlflowFactory

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account

_STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}


class MlflowTarget:
    """An experiment of its own in a tracking store."""

    factory = MlflowFactory()
    client_modules = ("mlflow", "sqlalchemy", "alembic", "pandas", "numpy")

    def __init__(self, tracker):
        self._client, self._tracker = tracker.client, tracker
        self.options = tracker.options

    def held(self, run_id):
        runs = [run for run in self._tracker.runs() if run.data.tags.get("unitrack.run_id") == run_id]
        return [self._held(run) for run in runs]

    def _held(self, run):
        tags = run.data.tags
        files = dict(self._files(run.info.run_id))
        names = {
            key.removeprefix("unitrack.name."): name for key, name in tags.items() if key.startswith("unitrack.name.")
        }
        return HeldRun(
            status=_STATUS.get(run.info.status),
            params={original(key, names): value for key, value in run.data.params.items()},
            metrics={original(key, names): self._points(run, key) for key in run.data.metrics},
            tags={original(key, names): value for key, value in tags.items()},
            files=files,
            datasets=[one.dataset.name for one in run.inputs.dataset_inputs],
            parent=self._parent(tags.get("mlflow.parentRunId")),
        )

    def _points(self, run, key):
        rows = self._client.get_metric_history(run.info.run_id, key)
        return [(row.step, row.value) for row in sorted(rows, key=lambda row: (row.step, row.timestamp))]

    def _parent(self, parent):
        return parent and self._client.get_run(parent).data.tags["unitrack.run_id"]

    def _files(self, run, path=None):
        for entry in self._client.list_artifacts(run, path):
            if entry.is_dir:
                yield from self._files(run, entry.path)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    yield entry.path, Path(self._client.download_artifacts(run, entry.path, scratch)).read_bytes()


def original(key, names):
    """Undo the name map: a cleaned key ends in the digits under which a tag keeps the name."""
    return names.get(key[-8:], key) if key[-9:-8] == "-" else key


class TestMlflow(BackendTests):
    @pytest.fixture
    def target(self, sqlite_tracker):
        return MlflowTarget(sqlite_tracker)
