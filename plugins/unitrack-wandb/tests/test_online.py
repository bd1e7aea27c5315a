"""W&B's own client and a double of its server: what a run becomes there, once, again, and in spite of faults.

The double proves the request side only; `test_openwandb.py` runs against a server that somebody else wrote.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from wandb_double import KEY, Double
from wandb_whole_run import png, whole_run

from unitrack import events

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.PydanticDeprecatedSince20")

WORKER = """
import sys, json
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack_wandb import WandbFactory
job = Job(store=sys.argv[1], backend="wandb", type="wandb", options=json.loads(sys.argv[2]))
Worker(job, WandbFactory(), lambda message: None).run()
"""


@pytest.fixture
def double(monkeypatch):
    made = Double()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield made
    made.stop()
    assert made.unknown == []


def check_whole_run(double):
    made = double.runs["one"]
    assert (made["state"], made["displayName"], made["group"], made["tags"]) == (
        "finished",
        "my run",
        "sweep",
        ["good"],
    )
    config = double.config("one")
    assert (config["lr"], config["model"], config["odd"]) == (0.2, {"layers": [1, 2], "act": "relu"}, "Infinity")
    assert config["unitrack"]["names"]["metric"] == {"user/_step-97d58337": "_step"}
    assert (config["unitrack"]["status"], config["unitrack"]["tags"]) == ("finished", {"owner": "me"})
    rows = double.lines("one")
    assert [row["unitrack/step"] for row in rows if "loss" in row] == list(range(30))
    odd = [(row["unitrack/step"], str(row["odd"])) for row in rows if "odd" in row]
    assert odd == [(1, "nan"), (0.5, "inf"), (-3, "-inf")]
    assert len({row["unitrack/event"] for row in rows}) == len(rows) == 39
    assert [row["_step"] for row in rows] == list(range(39))
    (plot,) = [row["plot"] for row in rows if "plot" in row]
    assert (plot["_type"], plot["caption"]) == ("image-file", "a plot")
    assert double.files[f"/run/one/{plot['path']}"] == png()
    assert json.loads(double.files["/run/one/unitrack/lowered.json"])["run"] == "one"
    artifacts = [(one["name"].partition("-7e")[0], one["state"], double.aliases_of(one)) for one in double.artifacts]
    assert artifacts == [
        ("model-w.pt", "COMMITTED", ["best", "latest"]),
        ("folder", "COMMITTED", ["latest"]),
        ("far", "COMMITTED", ["latest"]),
    ]
    assert double.files["/files/artifact-0/w.pt"] == b"weights"
    summary = double.summary("one")
    assert (summary["best"], summary["nested"], summary["mAP@50"]) == (0.9, {"a": 1}, {"max": pytest.approx(29 / 30)})


def test_a_run_is_on_the_server_as_it_was_logged(double, runs):
    whole_run(runs)
    (result,) = runs.send(double)
    assert (result.state, result.dead, result.pending) == ("sent", 0, 0)
    check_whole_run(double)
    assert double.alerts == ["look"]
    assert ("lineage", "base.pt") in runs.lowered


def test_everything_sent_twice_leaves_one_of_everything(double, runs):
    whole_run(runs)
    runs.send(double)
    runs.forget()
    assert runs.send(double)[0].state == "sent"
    check_whole_run(double)


def test_a_worker_killed_while_the_rows_arrive_leaves_one_of_each(double, runs):
    writer = runs.writer()
    writer.append(events.Params, {"lr": 0.1})
    for step in range(300):
        writer.append(events.Metrics, {"loss": float(step), f"m{step % 7}": 1.0}, step)
    writer.seal("finished")
    options = {**double.options, "batch": 60}
    for rows in (1, 130, 250):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(runs.root), json.dumps(options)])
        _until(lambda rows=rows: len(double.lines("one")) >= rows)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    (result,) = runs.send(double)
    assert result.state == "sent"
    assert [row["loss"] for row in double.lines("one")] == list(range(300))
    assert double.config("one")["lr"] == 0.1
    assert set(Counter(row["unitrack/event"] for row in double.lines("one")).values()) == {1}


def test_a_live_run_goes_on_where_it_stood(double, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 5)
    assert runs.send(double)[0].state == "live"
    writer.append(events.Metrics, {"loss": 0.5}, 2)
    writer.seal("failed")
    runs.send(double)
    assert [(row["unitrack/step"], row["loss"]) for row in double.lines("one")] == [(5, 1.0), (2, 0.5)]
    assert double.runs["one"]["state"] == "failed"


def test_a_model_is_linked_into_its_collection_with_its_aliases_and_no_other_is(double, runs):
    weights = runs.put(b"weights")
    writer = runs.writer("one")
    for name in ("net", "other"):
        writer.append(events.Artifact, name=name, kind="model", digest=weights, size=7, aliases=["best"])
    writer.seal("finished")
    for _ in range(2):
        (result,) = runs.send(double, options={"link": {"net": "wandb-registry-model/net"}})
        assert result.state == "sent", result
        runs.forget()
    assert double.linked == [("works-org/wandb-registry-model/net", "artifact-0", ["best"])]


def test_an_artifact_that_another_run_logged_is_an_input(double, runs):
    weights = runs.put(b"weights")
    first = runs.writer("first")
    first.append(events.Artifact, name="base.pt", kind="model", digest=weights, size=7, aliases=["best"])
    first.seal("finished")
    second = runs.writer("second")
    second.append(events.Artifact, name="base.pt", kind="model", digest=weights, use="input", aliases=["best"])
    second.seal("finished")
    for run in ("first", "second"):
        assert runs.send(double, runs=(run,))[0].state == "sent"
    assert double.used == ["artifact-0"]
    assert runs.lowered == []


def test_a_server_that_is_over_its_rate_or_faulty_for_a_while_is_asked_again(double, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 1.0}, 1)
    writer.seal("finished")
    double.fail(429, 1, headers={"Retry-After": "0"})
    double.fail(503, 1)
    double.fail(500, 1, where="file_stream")
    double.fail(429, 1, where="file_stream", headers={"Retry-After": "0"})
    double.fail(500, 1, where="UpsertBucket")
    (result,) = runs.send(double, patience=60.0)
    assert (result.state, result.dead) == ("sent", 0)
    assert [row["loss"] for row in double.lines("one")] == [1.0]
    assert all(fault[1] == 0 for fault in double.faults), "each was met"


def test_a_key_that_is_refused_stops_at_once_and_says_what_to_do(double, runs):
    runs.writer().seal("finished")
    double.fail(403, 1000)
    began = time.monotonic()
    (result,) = runs.send(double, patience=60.0)
    assert result.state == "failed"
    assert "403" in result.reason
    assert "WANDB_API_KEY" in result.reason
    assert KEY not in result.reason
    assert time.monotonic() - began < 10


def test_without_a_key_the_message_says_where_one_comes_from(double, runs, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    runs.writer().seal("finished")
    (result,) = runs.send(double)
    assert result.state == "failed"
    assert "wandb login" in result.reason


def test_a_server_that_is_not_there_costs_little_time(double, runs):
    runs.writer().seal("finished")
    began = time.monotonic()
    (result,) = runs.send(double, options={"base_url": "http://127.0.0.1:9"})
    assert result.state == "failed"
    assert "127.0.0.1:9" in result.reason
    assert time.monotonic() - began < 15


def test_a_server_that_never_answers_is_given_up_in_bounded_time(double, runs):
    runs.writer().seal("finished")
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        began = time.monotonic()
        (result,) = runs.send(double, options={"base_url": url, "timeout": 1}, patience=1.0)
    assert result.state == "failed"
    assert time.monotonic() - began < 15


def _until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)
