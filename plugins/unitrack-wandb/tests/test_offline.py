"""What W&B's own reader finds in the folder of a run that was sent, once, again, in parts or in spite of kills."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb_whole_run import png, whole_run

from unitrack import events
from unitrack.journal.reader import read_journal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")  # W&B's own models


def check_whole_run(offline, runs):
    head = offline.last("run")
    assert (head["run_id"], head["display_name"], head["project"], head["run_group"]) == ("one", "my run", "p", "sweep")
    assert head["tags"] == ["good"]
    config = offline.config()
    assert (config["lr"], config["model"], config["odd"]) == (0.2, {"layers": [1, 2], "act": "relu"}, "Infinity")
    about = config["unitrack"]
    assert (about["id"], about["project"], about["status"], about["tags"]) == ("one", "p", "finished", {"owner": "me"})
    assert about["names"]["metric"] == {"user/_step-97d58337": "_step"}
    assert about["metrics"] == {"mAP@50": {"goal": "maximize", "summary": "max"}}
    assert list(about["inputs"]) == ["base.pt"]
    assert [data["uri"] for data in about["datasets"].values()] == ["s3://b/t"]
    assert offline.metric("loss") == [(step, pytest.approx(1 / (step + 1))) for step in range(30)]
    assert offline.metric("mAP@50") == [(step, pytest.approx(step / 30)) for step in range(30)]
    assert offline.metric("odd") == [(1, "NaN"), (0.5, "Infinity"), (-3, "-Infinity")]
    assert (offline.metric("user/_step-97d58337"), offline.metric("free")) == ([(None, 7)], [(None, 1)])
    assert offline.metric("system/cpu") == [(None, 40)]
    rows = offline.rows()
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert len({row["unitrack/event"] for row in rows}) == len(rows) == 39
    check_files(offline, rows)
    assert [one["title"] for one in kinds(offline, "alert")] == ["look"]
    assert offline.exits() == [{"exit_code": 0}]
    summary = {}
    for record in kinds(offline, "summary"):
        summary |= record["update"]
    assert summary["mAP@50"] == {"max": pytest.approx(29 / 30)}
    assert (summary["best"], summary["note"], summary["nested"]) == (0.9, "fine", {"a": 1})
    assert (summary["loss"], summary["free"]) == (pytest.approx(1 / 30), 1)


def check_files(offline, rows):
    folder = offline.folder() / "files"
    (plot,), (table,), (note,), (hist,) = (
        [row[name] for row in rows if name in row] for name in ("plot", "rows", "note", "hist")
    )
    assert (plot["_type"], plot["width"], plot["caption"]) == ("image-file", 2, "a plot")
    assert (folder / plot["path"]).read_bytes() == png()
    assert table["_type"] == "table-file"
    assert json.loads((folder / table["path"]).read_bytes())["columns"] == ["a", "b"]
    assert "hello &lt;b&gt;" in (folder / note["path"]).read_text()
    assert hist == {"_type": "histogram", "bins": [0, 1, 2], "values": [3, 4]}
    assert json.loads((folder / "unitrack/captures/git.json").read_bytes())["commit"] == "abc123"
    assert json.loads((folder / "unitrack/lowered.json").read_bytes())["run"] == "one"
    artifacts = kinds(offline, "artifact")
    names = [(one["name"], one["type"], one["aliases"]) for one in artifacts]
    assert names[1:] == [("folder", "dataset", ["latest"]), ("far", "dataset", ["latest"])]
    assert names[0][0].startswith("model-w.pt-")
    assert names[0][1:] == ("model", ["latest", "best"])
    assert [entry["path"] for entry in artifacts[1]["manifest"]["contents"]] == ["a.txt", "deep/b#1.txt"]
    assert artifacts[2]["manifest"]["contents"][0]["ref"] == "s3://bucket/key"
    (entry,) = artifacts[0]["manifest"]["contents"]
    assert Path(entry["local_path"]).read_bytes() == b"weights"


def kinds(offline, kind, key="one"):
    return [record[kind] for record in offline.records(key) if record["type"] == kind]


def test_a_run_is_in_the_folder_as_it_was_logged(offline, runs):
    writer = whole_run(runs)
    (result,) = runs.send(offline)
    assert (result.state, result.dead, result.pending) == ("sent", 0, 0)
    check_whole_run(offline, runs)
    logged = [event.time for event in read_journal(writer.path) if isinstance(event, events.Metrics)]
    stamps = [row["_timestamp"] for row in offline.rows() if "loss" in row or "odd" in row or "free" in row]
    assert stamps == logged, "the journal's times, not that of sending"
    assert {kind for kind, _ in runs.lowered} == {"name", "non-finite", "tag", "dataset", "event", "lineage"}


def test_everything_sent_twice_leaves_one_of_everything(offline, runs):
    whole_run(runs)
    runs.send(offline)
    runs.forget()
    assert runs.send(offline, options={"batch": 7})[0].state == "sent"
    check_whole_run(offline, runs)


@pytest.mark.parametrize("every", [1, 5])
def test_a_worker_killed_at_every_step_leaves_one_of_everything(offline, runs, every):
    """Each worker is killed a step, or five, later than the one before it."""
    whole_run(runs)
    offline.dir.mkdir()
    driver = str(Path(__file__).with_name("kill_driver.py"))
    command = [sys.executable, driver, str(runs.root), str(offline.dir), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= (40 if every == 1 else 8)
    check_whole_run(offline, runs)


def test_a_live_run_has_no_end_and_goes_on_where_it_stood(offline, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    assert runs.send(offline)[0].state == "live"
    assert offline.exits() == []
    assert offline.metric("loss") == [(1, 1)]
    writer.append(events.Metrics, {"loss": 0.5}, 2)
    writer.seal("failed")
    runs.send(offline)
    assert [one["exit_code"] for one in offline.exits()] == [1]
    assert offline.metric("loss") == [(1, 1), (2, 0.5)]


def test_a_resumed_run_with_another_param_ends_anew_with_one_exit(offline, runs):
    first = runs.writer()
    first.append(events.Params, {"opt": {"lr": 0.1, "name": "adam"}})
    first.seal("failed")
    runs.send(offline)
    second = runs.writer(resumed=[first.id])
    second.append(events.Params, {"opt": {"lr": 0.3}})
    runs.send(offline)
    assert offline.exits() == []
    second.seal("finished")
    runs.send(offline)
    assert [one["exit_code"] for one in offline.exits()] == [0]
    assert offline.config()["opt"] == {"lr": 0.3, "name": "adam"}
    assert offline.config()["unitrack"]["status"] == "finished"


def test_what_comes_after_a_sync_is_a_part_of_its_own_that_continues_the_rows(offline, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send(offline)
    first = offline.folder()
    (first / "run-one.wandb.synced").touch()  # as `wandb sync` leaves it
    before = (first / "run-one.wandb").read_bytes()
    writer.append(events.Metrics, {"loss": 0.5}, 2)
    writer.seal("finished")
    runs.send(offline)
    assert (first / "run-one.wandb").read_bytes() == before
    assert len(offline.folders()) == 2
    assert offline.metric("loss") == [(1, 1), (2, 0.5)]
    assert [row["_step"] for row in offline.rows()] == [0, 1]
    assert offline.last("run")["resume"] is True


def test_a_folder_that_was_deleted_gets_the_whole_run(offline, runs):
    import shutil

    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    runs.send(offline)
    shutil.rmtree(offline.dir)
    writer.append(events.Metrics, {"loss": 2.0}, 2)
    writer.seal("finished")
    runs.send(offline)
    assert offline.metric("loss") == [(1, 1), (2, 2)]


def test_a_killed_run_fails_with_137_and_is_killed_in_the_config(offline, runs):
    runs.writer().seal("killed")
    runs.send(offline)
    assert offline.exits() == [{"exit_code": 137}]
    assert offline.config()["unitrack"]["status"] == "killed"
    assert ("status", "killed") in runs.lowered


def test_many_ranks_are_one_run(offline, runs):
    for rank in (0, 1):
        writer = runs.writer(rank=rank)
        writer.append(events.Metrics, {"loss": float(rank)}, 1)
        writer.append(events.System, {"cpu": 1.0})
        writer.seal("finished")
    runs.send(offline)
    assert offline.metric("loss") == [(1, 0), (1, 1)]
    assert {"system/cpu", "system/rank1/cpu"} <= {key for row in offline.rows() for key in row}


def test_runs_one_after_another_in_one_worker_stay_apart(offline, runs):
    for name in ("a", "b", "c"):
        writer = runs.writer(name, parent="a" if name != "a" else None)
        writer.append(events.Metrics, {"loss": float(ord(name))}, 1)
        writer.append(events.Params, {name: 1})
        writer.seal("finished")
    assert [one.state for one in runs.send(offline)] == ["sent"] * 3
    for name in ("a", "b", "c"):
        assert offline.metric("loss", name) == [(1, ord(name))]
        assert set(offline.config(name)) == {name, "unitrack"}
    assert offline.config("b")["unitrack"]["parent"] == "a"


def test_a_long_run_crosses_the_blocks_of_the_log(offline, runs):
    writer = runs.writer()
    writer.append(events.Params, {"long": "x" * 100_000})
    for step in range(2000):
        writer.append(events.Metrics, {"loss": float(step)}, step)
    writer.seal("finished")
    runs.send(offline, options={"batch": 333})
    assert offline.config()["long"] == "x" * 100_000
    assert offline.metric("loss") == [(step, step) for step in range(2000)]


def test_a_missing_object_costs_its_artifact_alone_and_may_come_later(offline, runs):
    writer = runs.writer()
    import hashlib

    digest = "sha256:" + hashlib.sha256(b"late").hexdigest()
    writer.append(events.Artifact, name="gone.pt", kind="model", digest=digest, size=4)
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    (result,) = runs.send(offline)
    assert (result.state, result.dead) == ("sent", 1)
    assert offline.metric("loss") == [(1, 1)]
    assert kinds(offline, "artifact") == []
    runs.put(b"late")
    assert runs.send(offline, runs=("one",), retry_dead=True)[0].dead == 0
    assert [one["name"] for one in kinds(offline, "artifact")] == ["gone.pt"]
    assert offline.metric("loss") == [(1, 1)]


def test_strange_names_reach_wandb_and_find_the_way_back(offline, runs):
    names = [
        "a b",
        "übung/größe",
        "a//b",
        "../x",
        "x" * 1400,
        "/lead",
        "a\nb",
        "%",
        "a.b",
        "_timestamp",
        "unitrack/step",
        "",
        "日本",
        "system/cpu",
        "unitrack",
    ]
    writer = runs.writer()
    writer.append(events.Metrics, dict.fromkeys(names, 1.0), 1)
    writer.append(events.Params, dict.fromkeys(names, 1))
    writer.append(events.Tags, add=[*names, "t" * 65])
    data = runs.put(b"data")
    for name in ["a b.txt", "ü/größe.txt", "a#1.txt", "a%20b.txt", "a?b.txt", "a:b.txt", "run-x", "日本.txt"]:
        writer.append(events.Artifact, name=name, kind="file", digest=data, size=4, aliases=["v1", "a/b"])
    writer.seal("finished")
    (result,) = runs.send(offline)
    assert (result.state, result.dead) == ("sent", 0)
    about = offline.config()["unitrack"]["names"]
    (row,) = offline.rows()
    found = {
        about["metric"].get(key, key) for key in row if key not in ("unitrack/step", "unitrack/event") and key[0] != "_"
    }
    assert set(names) - {"a.b"} <= found
    assert {about["param"].get(key, key) for key in offline.config()} >= set(names)
    assert len(kinds(offline, "artifact")) == 8
    assert len({one["name"] for one in kinds(offline, "artifact")}) == 8


def test_what_cannot_be_lowered_as_asked_is_a_dead_letter(offline, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"_step": 1.0}, 1)
    writer.append(events.Metrics, {"loss": 1.0}, 2)
    writer.append(events.Params, {"bad": "NaN"})
    writer.append(events.Metrics, {"_runtime": 1.0, "loss": 2.0}, 3)
    writer.seal("finished")
    (result,) = runs.send(offline, options={"lowering": {"name": "fail", "non-finite": "skip"}})
    assert result.dead == 2
    assert offline.metric("loss") == [(2, 1)]
    assert offline.config()["bad"] is None


def test_sending_does_not_need_a_network_and_costs_little_time(offline, runs, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    runs.writer().seal("finished")
    began = time.monotonic()
    assert runs.send(offline)[0].state == "sent"
    assert time.monotonic() - began < 10


def test_a_link_that_an_offline_run_cannot_make_is_told(offline, runs):
    weights = runs.put(b"weights")
    writer = runs.writer("one")
    writer.append(events.Artifact, name="net", kind="model", digest=weights, size=7)
    writer.seal("finished")
    assert runs.send(offline, options={"link": {"net": "wandb-registry-model/net"}})[0].state == "sent"
    assert ("lineage", "net") in runs.lowered
