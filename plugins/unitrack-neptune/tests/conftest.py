"""A store to write runs into, a worker to send them with, and readers of what Neptune's clients wrote."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import warnings
from pathlib import Path

import pytest

from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack_neptune import NeptuneFactory
from unitrack_neptune._options import QUIET

# The clients read their settings when they are imported, which here is before the plugin sets them.
with pytest.MonkeyPatch.context() as early, warnings.catch_warnings():
    for name, word in QUIET.items():
        early.setenv(name, word)
    warnings.simplefilter("ignore")  # both clients warn at import on their own account
    import neptune.core.components.queue.disk_queue as legacy_queue
    from neptune.internal.operation import Operation as LegacyOperation
    from neptune_scale.sync.operations_repository import OperationsRepository


sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    """No setting of Neptune's from outside; what the plugin sets by itself goes with the test."""
    import os

    for name in [name for name in os.environ if name.startswith("NEPTUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ)


class Runs:
    """A store to write runs into, and a worker to send them with."""

    def __init__(self, root):
        self.root = root
        self.writers = []
        layout.create_store(root)

    def writer(self, run_id="one", *, rank=None, **fields):
        writer = JournalWriter(self.folder(run_id), WriterInfo(run=run_id, rank=rank), durability="finish")
        self.writers.append(writer)
        writer.append(RunStarted, **{"project": "p", **fields})
        return writer

    def folder(self, run_id="one"):
        return layout.run_dir(self.root, run_id)

    def put(self, data):
        """Keep bytes as an object of the store."""
        digest = hashlib.sha256(data).hexdigest()
        path = layout.objects_dir(self.root) / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"sha256:{digest}"

    def send(self, options, **job):
        """Run a worker in this process; returns its results, keeps what it told of lowering."""
        told = []
        fields = {"store": str(self.root), "backend": "neptune", "type": "neptune", "options": options, "patience": 2.0}
        Worker(Job(**{**fields, **job}), NeptuneFactory(), told.append).run()
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


class Held:
    """What a Neptune run holds: fields, series of (step, value), tags, files by path. The same for every reading."""

    def __init__(self):
        self.fields, self.series, self.files, self.times = {}, {}, {}, {}
        self.tags, self.group_tags = set(), set()
        self.created = 0
        self.experiment = None

    def add(self, path, step, value, time=None):
        self.series.setdefault(path, []).append((step, value))
        self.times.setdefault(path, []).append(time)

    def modify(self, path, add, remove):
        tags = self.group_tags if path == "sys/group_tags" else self.tags
        tags |= set(add)
        tags -= set(remove)

    def metric(self, name):
        return self.series.get(f"metrics/{name}", [])


def take_snapshot(held, update, bytes_of):
    """Apply one UpdateRunSnapshot of the scale protocol."""
    step = update.step.whole + update.step.micro / 1_000_000
    time = update.timestamp.seconds + update.timestamp.nanos / 1e9
    for path, value in update.assign.items():
        kind = value.WhichOneof("value")
        if kind == "file_ref":
            held.files[path] = bytes_of(value.file_ref.path)
        elif kind == "timestamp":
            held.fields[path] = value.timestamp.seconds + value.timestamp.nanos / 1e9
        else:
            held.fields[path] = getattr(value, kind)
    for path, value in update.append.items():
        kind = value.WhichOneof("value")
        point = getattr(value, kind)
        if kind == "file_ref":
            point = bytes_of(point.path)
        if kind == "histogram":
            point = (list(point.bin_edges), list(point.counts.values))
        held.add(path, step, point, time)
    for path, change in update.modify_sets.items():
        values = change.string.values
        held.modify(
            path, [tag for tag, word in values.items() if word == 1], [t for t, word in values.items() if word == 2]
        )


def read_scale(database):
    """Return what a database of neptune-scale's holds, read with the client's own class and protobufs."""
    repository = OperationsRepository(db_path=Path(database).absolute())
    try:
        requests = {one.destination: one for one in repository.get_file_upload_requests(100_000)}
        held = Held()
        held.metadata = repository.get_metadata()
        last = -1
        while operations := repository.get_operations(up_to_bytes=16 << 20, from_exclusive=last):
            for one in operations:
                if one.operation_type == 1:
                    held.created += 1
                    held.experiment = one.operation.experiment_id
                    held.creation_time = one.operation.creation_time.ToMicroseconds() / 1e6
                else:
                    take_snapshot(held, one.operation, lambda path: Path(requests[path].source_path).read_bytes())
            last = operations[-1].sequence_id
        return held
    finally:
        repository.close(cleanup_files=False)


def read_legacy(folder):
    """Return what a folder of neptune 1.x's holds, read with the client's own queue and operations."""
    folder = Path(folder)
    queue = legacy_queue.DiskQueue(folder, lambda op: op.to_dict(), LegacyOperation.from_dict, threading.RLock())
    held = Held()
    held.metadata = json.loads((folder / "metadata.json").read_text())
    versions = []
    try:
        while batch := queue.get_batch(10_000):
            for element in batch:
                versions.append(element.ver)
                take_operation(held, element.obj, folder)
    finally:
        queue.close()
    assert versions == list(range(1, len(versions) + 1))  # as `neptune sync` counts them
    assert (folder / "last_put_version").read_text() == str(len(versions))
    return held


def take_operation(held, op, folder):
    path, kind = "/".join(op.path), type(op).__name__
    if kind == "AddStrings":
        held.modify(path, op.values, [])
    elif kind == "RemoveStrings":
        held.modify(path, [], op.values)
    elif kind == "UploadFile":
        held.files[path] = Path(op.file_path or folder / "upload_path" / op.tmp_file_name).read_bytes()
    elif kind in ("LogFloats", "LogStrings"):
        for value in op.values:
            held.add(path, value.step, value.value, value.ts)
    elif kind == "AssignDatetime":
        held.fields[path] = op.value.timestamp()
    else:
        held.fields[path] = op.value


class Offline:
    """One kind of offline files, and how to read them past the plugin."""

    def __init__(self, client, folder):
        self.client, self.folder = client, folder
        self.options = {"client": client, "mode": "offline", "dir": str(folder)}

    def places(self, run_id="one"):
        if self.client == "neptune-scale":
            return sorted(self.folder.glob(f"*_{run_id}/run_operations.sqlite3"))
        from unitrack_neptune._legacy_offline import container

        return sorted(self.folder.glob(f"offline/run__{container('p', run_id)}__*"))

    def held(self, run_id="one"):
        (place,) = self.places(run_id)
        return self.read(place)

    def read(self, place):
        return read_scale(place) if self.client == "neptune-scale" else read_legacy(place)


@pytest.fixture(params=["neptune-scale", "neptune"])
def offline(request, tmp_path):
    return Offline(request.param, tmp_path / "neptune")


@pytest.fixture
def scale(tmp_path):
    return Offline("neptune-scale", tmp_path / "neptune")


@pytest.fixture
def legacy(tmp_path):
    return Offline("neptune", tmp_path / "neptune")
