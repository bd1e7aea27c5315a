"""The online path of neptune 1.x, with the client's own in-memory backend in the place of its HTTP one.

`NeptuneBackendMock` is what the client itself uses for `mode="debug"`: it executes the client's operations, refuses
types that change, and needs no server. What it can't prove is the HTTP part, which stays untested: the client reads
the server's API description from the server, and there is none any more. Two things are added to it: a custom run id
finds its run again, as Neptune's server did, and steps that don't rise are refused in the server's words.
"""

from __future__ import annotations

import base64
import json
import warnings

import pytest

from unitrack import events
from unitrack.dispatch.dead_letter import read_dead
from unitrack_neptune._legacy_online import LegacyOnline, custom_id

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the client's own, at import
    from neptune.common import exceptions
    from neptune.internal.backends.neptune_backend_mock import NeptuneBackendMock
    from neptune.internal.operation import LogFloats, LogStrings

OPTIONS = {"client": "neptune", "mode": "online", "project": "w/p"}


class Memory(NeptuneBackendMock):
    """The client's in-memory backend, with ids that find a run again. `faults` are raised by the next calls."""

    def __init__(self):
        super().__init__()
        self.runs, self.faults, self.points = {}, [], []

    def create_run(self, project_id, git_info=None, custom_run_id=None, **fields):
        if custom_run_id not in self.runs:
            self.runs[custom_run_id] = super().create_run(project_id, custom_run_id=custom_run_id)
        return self.runs[custom_run_id]

    def execute_operations(self, container_id, container_type, operations, operation_storage):
        if self.faults:
            raise self.faults.pop()
        done, errors = super().execute_operations(container_id, container_type, operations, operation_storage)
        for op in operations:
            if isinstance(op, (LogFloats, LogStrings)) and not any("/".join(op.path) in str(one) for one in errors):
                errors += self._log(op)
        return done, errors

    def _log(self, op):
        """Refuse steps that don't rise, in the server's words as its users quote them."""
        last = max((step for step, _ in self.series("/".join(op.path))), default=-1e300)
        fresh = [one for one in op.values if one.step > last]
        self.points.append(type(op)(op.path, fresh))
        words = "X-coordinates (step) must be strictly increasing for series attribute: {}. Invalid point: {}"
        stale = [one for one in op.values if one.step <= last]
        return [exceptions.NeptuneException(words.format("/".join(op.path), one.step)) for one in stale]

    def close(self):
        pass

    def value(self, path, run_id="one"):
        from neptune.internal.container_type import ContainerType

        return self._get_container(self.runs[run_id].id, ContainerType.RUN).get(path.split("/"))

    def series(self, name):
        return [(one.step, one.value) for op in self.points if "/".join(op.path) == name for one in op.values]


@pytest.fixture
def memory(monkeypatch):
    made = Memory()
    monkeypatch.setattr(LegacyOnline, "_connect", lambda self: made)
    return made


def write(runs, *names):
    writer = runs.writer(name="first", tags=["t"])
    for step, name in enumerate(names):
        writer.append(events.Metrics, {name: float(step)}, step)
    writer.seal("finished")


def test_a_run_arrives_in_the_clients_own_types(memory, runs):
    writer = runs.writer(name="first", tags=["t"], group="g")
    writer.append(events.Params, {"lr": 0.5, "n": 3, "big": 2**40, "amp": True})
    writer.append(events.Metrics, {"loss": 1.0}, 1.5)
    writer.append(events.Artifact, name="w.pt", kind="model", digest=runs.put(b"weights"))
    writer.append(events.Console, stream="stdout", text="hello\n")
    writer.seal("killed")
    (result,) = runs.send(OPTIONS)
    assert (result.state, result.dead) == ("sent", 0)
    assert memory.value("params/n").value == 3
    assert memory.value("params/big").value == float(2**40)
    assert memory.series("metrics/loss") == [(1.5, 1.0)]
    assert memory.series("console/stdout") == [(0.0, "hello\n")]
    assert memory.value("sys/failed").value is True
    assert memory.value("sys/name").value == "first"
    assert memory.value("sys/tags").values == {"t"}
    assert memory.value("unitrack/status").value == "killed"
    assert memory.value("artifacts/w.pt") is not None


def test_sending_again_leaves_one_of_every_point(memory, runs):
    write(runs, *["loss"] * 5)
    runs.send(OPTIONS)
    for path in runs.folder().glob("sync/neptune.json"):
        path.unlink()
    assert runs.send(OPTIONS)[0].state == "sent"
    assert memory.series("metrics/loss") == [(step, float(step)) for step in range(5)]
    assert list(memory.runs) == ["one"]


def test_a_lost_connection_is_tried_again(memory, runs):
    write(runs, "loss")
    memory.faults = [exceptions.NeptuneConnectionLostException(OSError("gone"))] * 2
    assert runs.send(OPTIONS, patience=20.0)[0].state == "sent"
    assert memory.series("metrics/loss") == [(0.0, 0.0)]


@pytest.mark.parametrize("error", [exceptions.Unauthorized, exceptions.Forbidden])
def test_wrong_credentials_are_told_at_once(memory, runs, error):
    write(runs, "loss")
    memory.faults = [error()]
    (result,) = runs.send(OPTIONS, patience=20.0)
    assert result.state == "failed"
    assert "NEPTUNE_API_TOKEN" in result.reason


def test_what_is_refused_is_found_and_the_rest_is_sent(memory, runs):
    """Somebody made the field before, of another type: Neptune refuses to change it."""
    write(runs, *["fine"] * 3, "poison", "fine")
    run = memory.create_run(memory._project_id, custom_run_id="one")
    from neptune.internal.container_type import ContainerType
    from neptune.types import String

    memory._get_container(run.id, ContainerType.RUN).set(["metrics", "poison"], String("taken"))
    (result,) = runs.send(OPTIONS, patience=20.0)
    assert (result.state, result.dead) == ("sent", 1)
    assert [letter.record.event.values for letter in read_dead(runs.folder(), "neptune")] == [{"poison": 3.0}]
    assert [step for step, _ in memory.series("metrics/fine")] == [0.0, 1.0, 2.0, 4.0]


def test_without_a_token_nothing_is_asked(runs):
    write(runs, "loss")
    (result,) = runs.send(OPTIONS)
    assert result.state == "failed"
    assert "not set" in result.reason


def test_a_server_that_is_down_is_told_within_patience(runs, monkeypatch):
    """The client's real HTTP backend, as far as it gets."""
    words = {"api_address": "http://127.0.0.1:9", "api_url": "http://127.0.0.1:9"}
    monkeypatch.setenv("NEPTUNE_API_TOKEN", base64.b64encode(json.dumps(words).encode()).decode())
    write(runs, "loss")
    (result,) = runs.send(OPTIONS, patience=1.0)
    assert result.state == "failed"
    assert result.pending > 0


def test_offline_files_are_found_and_sent_by_neptunes_own_sync(runs, legacy):
    """`neptune sync` is the client's own command; here its own code, with the in-memory backend for a server."""
    from neptune.cli.sync import SyncRunner

    write(runs, *["loss"] * 5)
    runs.send(legacy.options)
    server = Memory()
    SyncRunner.sync_all_offline(backend=server, base_path=legacy.folder, project_name="w/p")
    (made,) = server.runs  # without a custom id: 1.x's offline files carry none
    assert server.series("metrics/loss") == [(step, float(step)) for step in range(5)]
    assert server.value("unitrack/run_id", made).value == "one"
    assert server.value("sys/name", made).value == "first"


def test_ids_longer_than_neptune_takes_become_a_digest():
    assert custom_id("short") == "short"
    assert len(custom_id("x" * 128)) == 36
    assert custom_id("x" * 128) != custom_id("x" * 127)
