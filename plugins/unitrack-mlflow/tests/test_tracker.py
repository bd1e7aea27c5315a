"""What a bare MLflow client finds after a run was sent, once, again, in parts or in spite of kills."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unitrack import events

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


class Nowhere:
    options = {"tracking_uri": "http://127.0.0.1:9"}


def whole_run(runs, run_id="one", **fields):
    """Write a run that has everything."""
    weights, table = runs.put(b"weights"), runs.put(b"a,b\n1,2\n")
    files = [{"path": "a.txt", "digest": weights, "size": 7}, {"path": "deep/b#1.txt", "digest": table, "size": 8}]
    manifest = runs.put(json.dumps({"version": 1, "files": files}).encode())
    writer = runs.writer(run_id, name="my run", group="sweep", tags=["new"], argv=["train.py", "--lr", "1"], **fields)
    writer.append(events.Params, {"lr": 0.1, "model": {"layers": [1, 2]}, "long": "x" * 7000})
    for step in range(30):
        writer.append(events.Metrics, {"loss": 1 / (step + 1), "mAP@50": step / 30}, step)
    writer.append(events.Metrics, {"odd": "NaN"}, 1)
    writer.append(events.Metrics, {"odd": "Infinity"}, 2)
    writer.append(events.Params, {"lr": 0.2})
    writer.append(events.Summary, {"best": 0.9, "note": "fine"})
    writer.append(events.Tags, add=["good"], remove=["new"], values={"owner": "me"})
    writer.append(events.Artifact, name="model/w.pt", kind="model", digest=weights, size=7)
    writer.append(events.Artifact, name="folder", kind="dataset", digest=manifest, size=15, tree=True)
    writer.append(events.Media, name="plot", kind="image", format="png", step=3, digest=table, caption="a plot")
    writer.append(events.Media, name="note", kind="text", format="txt", inline="hello")
    writer.append(events.DatasetUsed, name="train", uri="s3://b/t", digest="sha256:" + "c" * 64, split="train")
    writer.append(events.Capture, name="git", values={"commit": "abc123", "branch": "main", "dirty": False})
    writer.append(events.System, {"cpu": 40.0})
    writer.append(events.Alert, title="look")
    writer.seal("finished")
    return writer


def check_whole_run(tracker, runs, tmp_path):
    run = tracker.run("one")
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    assert run.data.params["lr"] == "0.1"
    assert run.data.params["model/layers"] == "[1, 2]"
    assert run.data.tags["unitrack.param.lr"] == "0.2"
    assert run.data.tags["unitrack.group"] == "sweep"
    assert run.data.tags["mlflow.source.git.commit"] == "abc123"
    assert (run.data.tags["good"], run.data.tags["owner"], run.data.tags.get("new")) == ("true", "me", None)
    loss = tracker.history("loss", "one")
    assert [(step, value) for step, _, value in loss] == [(step, 1 / (step + 1)) for step in range(30)]
    (name,) = [key for key in run.data.metrics if key.startswith("mAP_50-")]
    assert len(tracker.history(name, "one")) == 30
    assert run.data.tags[f"unitrack.name.{name[-8:]}"] == "mAP@50"
    odd = tracker.history("odd", "one")
    assert math.isnan(odd[0][2])
    assert odd[1][2] == sys.float_info.max
    assert tracker.history("summary/best", "one")[0][2] == 0.9
    assert len(tracker.history("system/cpu", "one")) == 1
    files = tracker.files("one")
    assert [path for path in files if not path.startswith(("media/plot", "media/note", "folder/deep"))] == [
        "folder/a.txt", "model/w.pt", "unitrack/captures/git.json",
        *(path for path in files if path.startswith("unitrack/folders/")), "unitrack/params/long.txt",
    ]  # fmt: skip
    assert len(files) == 9, "a folder with a name that had to be changed has its manifest beside it"
    assert tracker.read("model/w.pt", tmp_path, "one") == b"weights"
    assert tracker.read("unitrack/params/long.txt", tmp_path, "one") == b"x" * 7000
    (model,) = tracker.models()
    assert (model.name, str(model.status)) == ("model-w-pt", "READY")
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("train", "c" * 36)
    assert dataset.tags[0].value == "train"


def test_a_run_is_in_mlflow_as_it_was_logged(tracker, runs, tmp_path):
    writer = whole_run(runs)
    (result,) = runs.send(tracker)
    assert (result.state, result.dead, result.pending) == ("sent", 0, 0)
    check_whole_run(tracker, runs, tmp_path)
    from unitrack.journal.reader import read_journal

    journal = list(read_journal(writer.path))
    run = tracker.run("one")
    assert run.info.start_time == int(journal[0].time * 1000), "the journal's start, not the time of sending"
    assert run.info.end_time == int(journal[-1].time * 1000)
    stamps = [
        int(event.time * 1000) for event in journal if isinstance(event, events.Metrics) and "loss" in event.values
    ]
    assert [stamp for _, stamp, _ in tracker.history("loss", "one")] == stamps
    assert {"name", "non-finite", "param-length", "param-changed", "dataset-digest"} <= {
        kind for kind, _ in runs.lowered
    }


def test_everything_sent_twice_leaves_one_of_everything(tracker, runs, tmp_path):
    whole_run(runs)
    runs.send(tracker)
    runs.forget()
    assert runs.send(tracker)[0].state == "sent"
    assert len(tracker.runs()) == 1
    check_whole_run(tracker, runs, tmp_path)


def test_rows_in_the_database_are_one_for_each_point(sqlite_tracker, runs):
    whole_run(runs)
    for _ in range(2):
        runs.send(sqlite_tracker, options={"batch": 7, "metrics_per_request": 3})
        runs.forget()
    run = sqlite_tracker.run("one").info.run_id
    base = sqlite3.connect(sqlite_tracker.uri.removeprefix("sqlite:///"))
    (rows,) = base.execute("select count(*) from metrics where run_uuid = ? and key = 'loss'", [run]).fetchone()
    (inputs,) = base.execute("select count(*) from inputs where destination_id = ?", [run]).fetchone()
    base.close()
    assert (rows, inputs) == (30, 1)


def test_a_live_run_is_running_and_goes_on_where_it_stood(tracker, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    assert runs.send(tracker)[0].state == "live"
    assert tracker.run().info.status == "RUNNING"
    writer.append(events.Metrics, {"loss": 0.5}, 2)
    writer.seal("failed")
    runs.send(tracker)
    assert tracker.run().info.status == "FAILED"
    assert [value for _, _, value in tracker.history("loss")] == [1.0, 0.5]


def test_a_resumed_run_with_another_param_runs_again_and_ends_anew(tracker, runs):
    first = runs.writer()
    first.append(events.Params, {"lr": 0.1})
    first.seal("failed")
    runs.send(tracker)
    second = runs.writer(resumed=[first.id])
    second.append(events.Params, {"lr": 0.3})
    runs.send(tracker)
    assert tracker.run().info.status == "RUNNING"
    second.seal("finished")
    runs.send(tracker)
    run = tracker.run()
    assert run.info.status == "FINISHED"
    assert (run.data.params["lr"], run.data.tags["unitrack.param.lr"]) == ("0.1", "0.3")
    assert runs.lowered == []


@pytest.mark.parametrize("order", [["child", "parent"], ["parent", "child"]])
def test_nested_runs_find_their_parent_whoever_is_sent_first(sqlite_tracker, runs, order):
    runs.writer("parent", name="the parent").seal("finished")
    runs.writer("child", parent="parent").seal("finished")
    for run in order:
        assert runs.send(sqlite_tracker, runs=(run,))[0].state == "sent"
    parent, child = sqlite_tracker.run("parent"), sqlite_tracker.run("child")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.run_name, parent.info.status) == ("the parent", "FINISHED")


def test_many_ranks_are_one_run(sqlite_tracker, runs):
    for rank in (0, 1):
        writer = runs.writer(rank=rank)
        writer.append(events.Metrics, {"loss": float(rank)}, 1)
        writer.append(events.System, {"cpu": 1.0})
        writer.seal("finished")
    runs.send(sqlite_tracker)
    assert [value for _, _, value in sqlite_tracker.history("loss")] == [0.0, 1.0]
    assert {"system/cpu", "system/rank1/cpu"} <= set(sqlite_tracker.run().data.metrics)


def test_strange_names_reach_mlflow(tracker, runs):
    names = ["a b", "übung/größe", "a//b", "../x", "x" * 400, "/lead", "trail/", "a\nb", "%", "a,b=[c](d)", "日本"]
    writer = runs.writer()
    writer.append(events.Metrics, dict.fromkeys(names, 1.0), 1)
    writer.append(events.Params, dict.fromkeys(names, 1))
    writer.append(events.Tags, values=dict.fromkeys(names, "v"))
    data = runs.put(b"data")
    files = ["a b.txt", "ü/größe.txt", "a#1.txt", "a%20b.txt", "a?b.txt", "a:b.txt", "a+b=c,(d).txt", "日本.txt"]
    for name in files:
        writer.append(events.Artifact, name=name, kind="file", digest=data, size=4)
    writer.seal("finished")
    (result,) = runs.send(tracker)
    assert (result.state, result.dead) == ("sent", 0)
    run = tracker.run()
    assert len(run.data.metrics) == len(run.data.params) == len(names)
    assert len(tracker.files()) == len(files)


def test_a_missing_object_costs_its_artifact_alone(sqlite_tracker, runs):
    writer = runs.writer()
    writer.append(events.Artifact, name="gone.pt", kind="model", digest="sha256:" + "d" * 64, size=1)
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    (result,) = runs.send(sqlite_tracker)
    assert (result.state, result.dead) == ("sent", 1)
    assert sqlite_tracker.run().data.metrics == {"loss": 1.0}
    assert runs.send(sqlite_tracker, runs=("one",), retry_dead=True)[0].dead == 1


def test_another_experiment_gets_the_whole_run(sqlite_tracker, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send(sqlite_tracker)
    sqlite_tracker.experiment += "-b"
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    writer.seal("finished")
    runs.send(sqlite_tracker)
    assert [value for _, _, value in sqlite_tracker.history("loss")] == [1.0, 2.0]


def test_a_deleted_experiment_says_how_to_restore_it(sqlite_tracker, runs):
    found = sqlite_tracker.client.create_experiment(sqlite_tracker.experiment)
    sqlite_tracker.client.delete_experiment(found)
    runs.writer().seal("finished")
    (result,) = runs.send(sqlite_tracker)
    assert result.state == "failed"
    assert "mlflow experiments restore" in result.reason


def test_a_server_that_is_not_there_is_no_surprise_and_costs_little_time(runs):
    runs.writer().seal("finished")
    began = time.monotonic()
    (result,) = runs.send(Nowhere)
    assert result.state == "failed"
    assert "127.0.0.1:9" in result.reason
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("every", [1, 5])
def test_a_worker_killed_at_every_step_leaves_one_of_everything(sqlite_tracker, runs, tmp_path, every):
    """Each worker is killed a step, or five, later than the one before it."""
    whole_run(runs)
    driver = str(Path(__file__).with_name("kill_driver.py"))
    command = [sys.executable, driver, str(runs.root), sqlite_tracker.uri, sqlite_tracker.experiment, str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= (30 if every == 1 else 6)
    assert len(sqlite_tracker.runs()) == 1
    check_whole_run(sqlite_tracker, runs, tmp_path)
