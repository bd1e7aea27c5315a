"""What the readers find: a run that unitrack sent comes back as it was, one of W&B's own client as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from wandb_double import KEY, Double
from wandb_whole_run import png, whole_run

from unitrack import events
from unitrack.errors import ConfigError, FatalBackendError
from unitrack.foreign import Counts
from unitrack.journal.reader import read_journal
from unitrack.objects import ObjectStore
from unitrack_wandb import ApiReader, FolderReader

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.PydanticDeprecatedSince20")

FOREIGN = """
import os, sys, wandb
run = wandb.init(mode="offline", project="p", id="abc", name="nn", group="g", tags=["a"], dir=sys.argv[1],
                 settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True))
run.define_metric("loss", summary="min")
run.config.update({"lr": 1.5, "word": "NaN", "m": {"a": [1, None]}})
run.log({"loss": 1.0, "x": float("nan"), "deep": {"er": 2}, "word": "hi"}, step=3)
run.log({"loss": 0.5, "h": wandb.Histogram(np_histogram=([1, 2], [0, 1, 2])),
         "t": wandb.Table(columns=["a"], data=[[1]]), "html": wandb.Html("<p>", inject=False)}, step=7)
open("f.bin", "wb").write(b"weights")
made = wandb.Artifact("model-x", type="model", metadata={"a": 1})
made.add_file("f.bin")
run.log_artifact(made, aliases=["best"])
run.summary["best"] = 3
run.finish(exit_code=1)
"""


def read(reader, source, options, objects):
    (run,) = reader.runs(str(source), options)
    return run, list(run.events(objects))


def one(found, kind):
    return [event for event in found if isinstance(event, kind)]


def check_whole_run(run, found, writer, objects):
    info = run.info
    assert (info.id, info.project, info.name, info.group, info.status) == ("one", "p", "my run", "sweep", "finished")
    assert (info.tags, info.argv) == (("good",), ("train.py", "--lr", "1"))
    logged = list(read_journal(writer.path))
    assert (info.started, info.ended) == (logged[0].started, logged[-1].time)
    points = [(event.time, event.step, event.values) for event in one(logged, events.Metrics)]
    assert [(event.time, event.step, event.values) for event in one(found, events.Metrics)] == points
    assert [event.values for event in one(found, events.System)] == [{"cpu": 40.0}]
    (params,) = one(found, events.Params)
    assert params.values == {"lr": 0.2, "model": {"layers": [1, 2], "act": "relu"}, "odd": "Infinity"}
    assert [event.values for event in one(found, events.Summary)] == [{"best": 0.9, "note": "fine", "nested": {"a": 1}}]
    assert [event.values for event in one(found, events.Tags)] == [{"owner": "me"}]
    assert [(e.name, e.goal, e.summary) for e in one(found, events.MetricDefinition)] == [("mAP@50", "maximize", "max")]
    media = {event.name: event for event in one(found, events.Media)}
    assert objects.get(media["plot"].digest).read_bytes() == png()
    assert (media["plot"].caption, media["plot"].step, media["plot"].metadata) == (
        "a plot",
        3,
        {"width": 2, "height": 1},
    )
    assert (media["note"].inline, media["note"].kind) == ("hello <b>", "text")
    assert media["hist"].inline == {"edges": [0, 1, 2], "counts": [3, 4], "nan": 1, "inf": 0}
    artifacts = {event.name: event for event in one(found, events.Artifact)}
    assert objects.get(artifacts["model/w.pt"].digest).read_bytes() == b"weights"
    assert (artifacts["model/w.pt"].aliases, artifacts["base.pt"].use) == (["best"], "input")
    assert [entry.path for entry in objects.manifest(artifacts["folder"].digest).files] == ["a.txt", "deep/b#1.txt"]
    assert (artifacts["far"].uri, artifacts["far"].digest) == ("s3://bucket/key", None)
    (dataset,) = one(found, events.DatasetUsed)
    assert (dataset.uri, dataset.split) == ("s3://b/t", "train")
    assert [(event.name, event.values["commit"]) for event in one(found, events.Capture)] == [("git", "abc123")]
    assert run.expected() == Counts(params=4, points=66, tags=2, artifacts=4, media=4)
    assert run.lowered == ()


def test_a_folder_that_unitrack_wrote_comes_back_as_it_was(offline, runs, tmp_path):
    writer = whole_run(runs)
    runs.send(offline)
    objects = ObjectStore(tmp_path / "objects")
    for source in (offline.dir, offline.dir / "wandb", offline.folder()):
        run, found = read(FolderReader(), source, {}, objects)
        check_whole_run(run, found, writer, objects)
        assert [event.title for event in one(found, events.Alert)] == ["look"]


def test_a_server_that_unitrack_sent_to_gives_it_back(runs, tmp_path, monkeypatch):
    double = Double()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    try:
        writer = whole_run(runs)
        assert runs.send(double)[0].state == "sent"
        source, options = ApiReader().source_of({**double.options, "entity": "team"}, project="p", run="one")
        assert (source, options) == ("team/p/one", {"base_url": double.url})
        objects = ObjectStore(tmp_path / "objects")
        run, found = read(ApiReader(), source, options, objects)
        check_whole_run(run, found, writer, objects)
        assert run.info.origin == f"{double.url}/team/p/one"
        assert double.unknown == []
    finally:
        double.stop()


def test_a_run_of_w_and_bs_own_client_comes_as_it_is(tmp_path):
    done = subprocess.run([sys.executable, "-c", FOREIGN, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = ObjectStore(tmp_path / "objects")
    run, found = read(FolderReader(), tmp_path, {}, objects)
    assert (run.info.id, run.info.name, run.info.group, run.info.tags) == ("abc", "nn", "g", ("a",))
    assert (run.info.status, run.info.parent) == ("failed", None)
    (params,) = one(found, events.Params)
    assert params.values == {"lr": 1.5, "word": "\\NaN", "m": {"a": [1, None]}}
    points = [(event.step, event.values) for event in one(found, events.Metrics)]
    assert points == [(3, {"loss": 1.0, "x": "NaN", "deep.er": 2}), (7, {"loss": 0.5})]
    kinds = {event.name: event.kind for event in one(found, events.Media)}
    assert kinds == {"word": "text", "h": "histogram", "t": "table", "html": "html"}
    (artifact,) = one(found, events.Artifact)
    assert (artifact.name, artifact.kind, artifact.aliases, artifact.metadata) == (
        "model-x",
        "model",
        ["best"],
        {"a": 1},
    )
    assert objects.get(artifact.digest).read_bytes() == b"weights"
    assert [event.values for event in one(found, events.Summary)] == [{"best": 3}]
    assert run.expected() == Counts(params=3, points=4, tags=1, artifacts=1, media=4)


def test_parents_come_before_their_children(offline, runs):
    runs.writer("a-child", parent="parent").seal("finished")
    runs.writer("parent").seal("killed")
    runs.send(offline)
    found = list(FolderReader().runs(str(offline.dir), {}))
    assert [(run.info.id, run.info.parent, run.info.status) for run in found] == [
        ("parent", None, "killed"), ("a-child", "parent", "finished"),
    ]  # fmt: skip


def test_a_torn_tail_is_left_and_damage_is_an_error(offline, runs, tmp_path):
    writer = runs.writer()
    for step in range(20):
        writer.append(events.Metrics, {"loss": 1.0}, step)
    runs.send(offline)
    (log,) = offline.folder().glob("*.wandb")
    whole = log.read_bytes()
    log.write_bytes(whole[:-3])
    assert one(read(FolderReader(), offline.dir, {}, ObjectStore(tmp_path / "o"))[1], events.Metrics)
    log.write_bytes(whole[:400] + b"\xff" + whole[401:])
    with pytest.raises(FatalBackendError, match="damaged at byte"):
        list(FolderReader().runs(str(offline.dir), {}))


def test_what_is_no_folder_of_w_and_b_says_what_would_be(tmp_path):
    with pytest.raises(FatalBackendError, match="offline-run-"):
        list(FolderReader().runs(str(tmp_path), {}))
    with pytest.raises(ConfigError, match="colour"):
        list(FolderReader().runs(str(tmp_path), {"colour": 1}))
