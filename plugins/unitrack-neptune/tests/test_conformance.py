"""unitrack's conformance kit, for the offline files of both clients, read back with the clients' own classes."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
from neptune_server import Server

from unitrack.testing import BackendTests, HeldRun
from unitrack_neptune import NeptuneFactory


class OfflineTarget:
    """A folder for offline files. What was set beside a series is put back into it, as a reader of ours would."""

    factory = NeptuneFactory()
    client_modules = ("neptune", "neptune_scale", "neptune_api", "pyarrow")

    def __init__(self, files):
        self.files = files
        self.options = files.options

    def held(self, run_id):
        if self.files.client == "neptune":  # its folders are named by an id of the client's own
            found = [self.files.read(place) for place in self.files.folder.glob("offline/run__*")]
            return [_neutral(one) for one in found if one.fields.get("unitrack/run_id") == run_id]
        return [_neutral(self.files.read(place)) for place in self.files.places(run_id)]


class OnlineTarget:
    """The stand-in server in support/ (see there what it can't prove)."""

    factory = NeptuneFactory()
    client_modules = OfflineTarget.client_modules
    options = {"mode": "online", "project": "w/p"}

    def __init__(self, server):
        self.server = server
        self.secrets = {"NEPTUNE_API_TOKEN": server.token}

    def held(self, run_id):
        run = self.server.runs.get(run_id)
        if run is None:
            return []
        return [
            _neutral(SimpleNamespace(fields=run.fields, series=run.series, files=run.files, tags=run.tags["sys/tags"]))
        ]


def _neutral(held):
    back = {}
    for path, text in held.fields.items():
        if path.startswith("unitrack/names/"):
            about = json.loads(text)
            back[about["path"]] = about["name"]

    def own(path, space):
        name = back.get(path, path)
        return name.removeprefix(space) if name.startswith(space) else None

    def gathered(space):
        whole = {}
        for path, points in held.series.items():
            late = path.removeprefix("late/value/")
            side = late.removeprefix("nonfinite/")
            name = own(side, space)
            if name is None:
                continue
            steps = [step for step, _ in points]
            if late != path:
                steps = [step for _, step in held.series[f"late/step/{late}"]]
            whole.setdefault(name, []).extend(zip(steps, (value for _, value in points), strict=True))
        return whole

    params = {own(path, "params/"): value for path, value in held.fields.items() if own(path, "params/") is not None}
    metrics = {
        name: sorted(((step, float(value)) for step, value in points), key=lambda point: point[0])
        for name, points in gathered("metrics/").items()
    }
    files = {(own(path, "artifacts/") or own(path, "media/") or path): data for path, data in held.files.items()}
    for name, points in gathered("media/").items():
        seen = set()
        for number, (step, value) in enumerate(points):
            data = value.encode() if isinstance(value, str) else value
            # The kit counts the same content of one name once, at whatever steps; at one step it must be there once.
            mark = f"again-{number}" if (step, data) in seen else hashlib.sha256(data).hexdigest()[:8]
            seen.add((step, data))
            files[f"{name}#{mark}"] = data
    texts = {own(path, "tags/"): text for path, text in held.fields.items() if own(path, "tags/") is not None}
    status = held.fields.get("unitrack/status")
    return HeldRun(
        status=None if status == "running" else status,
        params=params,
        metrics=metrics,
        tags={**dict.fromkeys(held.tags), **texts},
        files=files,
        datasets=[json.loads(text)["name"] for path, text in held.fields.items() if path.startswith("datasets/")],
        parent=held.fields.get("unitrack/parent"),
    )


class TestScaleOffline(BackendTests):
    """neptune-scale's database."""

    @pytest.fixture
    def target(self, scale):
        return OfflineTarget(scale)


class TestScaleOnline(BackendTests):
    """neptune-scale's protocol."""

    @pytest.fixture
    def target(self, monkeypatch):
        server = Server()
        server.polls = 0
        monkeypatch.setenv("NEPTUNE_API_TOKEN", server.token)
        yield OnlineTarget(server)
        server.stop()


class TestLegacyOffline(BackendTests):
    """neptune 1.x's folder."""

    @pytest.fixture
    def target(self, legacy):
        return OfflineTarget(legacy)
