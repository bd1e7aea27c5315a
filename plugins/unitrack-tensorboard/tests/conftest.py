"""Runs to write, a worker to send them with, and TensorBoard's own reader to see what came of it."""

from __future__ import annotations

import json

import numpy
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.objects import ObjectStore
from unitrack_tensorboard import TensorboardFactory


class Logdir:
    """A logdir, read past the plugin."""

    def __init__(self, path):
        self.path = path

    def own(self, name, run_id="one"):
        return self.path / run_id / "unitrack" / name

    def document(self, name, run_id="one"):
        return json.loads(self.own(name, run_id).read_text())

    def event_file(self, run_id="one"):
        (path,) = (self.path / run_id).glob("events.out.tfevents.*.unitrack")
        return path

    def open(self, run_id="one"):
        found = EventAccumulator(str(self.path / run_id), size_guidance={"tensors": 0}, purge_orphaned_data=False)
        return found.Reload()

    def series(self, tag, run_id="one"):
        """Return (step, value) of each point, in the file's order and whole: 64 bits where the file has them."""
        found = [(event.step, event.tensor_proto) for event in self.open(run_id).Tensors(tag)]
        points = [
            (
                step,
                numpy.array(tensor.double_val[0]) if tensor.dtype == 1 and tensor.double_val else make_ndarray(tensor),
            )
            for step, tensor in found
        ]
        return [(step, array.item() if array.ndim == 0 else array) for step, array in points]

    def times(self, tag, run_id="one"):
        return [event.wall_time for event in self.open(run_id).Tensors(tag)]

    def tags(self, plugin, run_id="one"):
        found = self.open(run_id)
        return {tag for tag, made in found.AllSummaryMetadata().items() if made.plugin_data.plugin_name == plugin}


class Runs:
    """A store to write runs into, and a worker to send them with."""

    def __init__(self, root, logdir):
        self.root, self.logdir = root, logdir
        self.writers = []
        layout.create_store(root)
        self.objects = ObjectStore(layout.objects_dir(root))

    def writer(self, run_id="one", *, rank=None, **fields):
        writer = JournalWriter(self.folder(run_id), WriterInfo(run=run_id, rank=rank), durability="finish")
        self.writers.append(writer)
        writer.append(RunStarted, **{"project": "p", **fields})
        return writer

    def folder(self, run_id="one"):
        return layout.run_dir(self.root, run_id)

    def send(self, *, options=None, **job):
        """Run a worker in this process; returns its results, keeps its lowerings."""
        told = []
        options = {"logdir": str(self.logdir.path), **(options or {})}
        fields = {"store": str(self.root), "backend": "tensorboard", "type": "tensorboard", "options": options}
        Worker(Job(**{**fields, "patience": 2.0, **job}), TensorboardFactory(), told.append).run()
        self.lowered = [(one.kind, one.name) for one in told if type(one).__name__ == "Lowering"]
        return [one for one in told if type(one).__name__ == "Result"]

    def forget(self):
        """Lose every cursor, as a crash of the disk would."""
        for path in self.root.glob("runs/*/sync/*"):
            path.unlink()


@pytest.fixture
def logdir(tmp_path):
    return Logdir(tmp_path / "logdir")


@pytest.fixture
def runs(tmp_path, logdir):
    made = Runs(tmp_path / ".unitrack", logdir)
    yield made
    for writer in made.writers:
        if not writer.closed:
            writer.seal("finished")
