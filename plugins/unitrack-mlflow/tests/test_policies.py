"""Policies the user chose, against real MLflow; the defaults are tested everywhere else."""

from __future__ import annotations

import json
import sys

import pytest

from unitrack import events
from unitrack.dispatch.dead_letter import read_dead
from unitrack.errors import ConfigError
from unitrack_mlflow import MlflowFactory

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account

LONG = "x" * 7000
ODD = {
    "name": (events.Metrics, {"mAP@50": 1.0}, 1),
    "step": (events.Metrics, {"loss": 1.0}, 1.5),
    "non-finite": (events.Metrics, {"loss": "Infinity"}, 1),
    "precision": (events.Metrics, {"loss": 2**53 + 1}, 1),
    "param-length": (events.Params, {"long": LONG}),
    "param-changed": (events.Params, {"lr": 2}),
}


def write(runs, kind):
    writer = runs.writer()
    writer.append(events.Params, {"lr": 1})
    writer.append(events.Metrics, {"fine": 1.0}, 1)
    if kind in ODD:
        writer.append(*ODD[kind])
    elif kind == "tag-length":
        writer.append(events.Tags, values={"note": "y" * 9000})
    else:
        writer.append(events.DatasetUsed, name="d", digest="sha256:" + "a" * 64)
    writer.append(events.Metrics, {"fine": 2.0}, 2)
    writer.seal("finished")


KINDS = [*ODD, "tag-length", "dataset-digest"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_is_a_dead_letter_and_leaves_nothing(sqlite_tracker, runs, kind):
    write(runs, kind)
    (result,) = runs.send(sqlite_tracker, options={"lowering": {kind: "fail"}})
    assert (result.state, result.dead) == ("sent", 1)
    (letter,) = read_dead(runs.folder(), "mlflow")
    assert letter.reason.startswith(f"{kind}: ")
    check_only_the_rest(sqlite_tracker)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_told_and_leaves_nothing(sqlite_tracker, runs, kind):
    write(runs, kind)
    (result,) = runs.send(sqlite_tracker, options={"lowering": {kind: "skip"}})
    assert (result.state, result.dead) == ("sent", 0)
    assert kind in {told for told, _ in runs.lowered}
    check_only_the_rest(sqlite_tracker)


def check_only_the_rest(tracker):
    run = tracker.run()
    assert run.data.params == {"lr": "1"}
    assert set(run.data.metrics) == {"fine"}
    assert len(tracker.history("fine")) == 2
    assert run.inputs.dataset_inputs == []
    assert [key for key in run.data.tags if key.startswith(("note", "unitrack.dataset.", "unitrack.name."))] == []
    assert tracker.files() == []


def test_a_record_of_many_values_is_refused_as_a_whole_and_left_out_in_part(sqlite_tracker, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"fine": 1.0, "mAP@50": 1.0}, 1)
    writer.seal("finished")
    assert runs.send(sqlite_tracker, options={"lowering": {"name": "fail"}})[0].dead == 1
    assert sqlite_tracker.run().data.metrics == {}
    runs.forget()
    runs.send(sqlite_tracker, options={"lowering": {"name": "skip"}})
    assert sqlite_tracker.run().data.metrics == {"fine": 1.0}


def test_a_refused_record_arrives_under_another_policy(sqlite_tracker, runs):
    write(runs, "non-finite")
    runs.send(sqlite_tracker, options={"lowering": {"non-finite": "fail"}})
    (result,) = runs.send(sqlite_tracker, runs=["one"], retry_dead=True)
    assert result.dead == 0
    assert sqlite_tracker.history("loss")[0][2] == sys.float_info.max


@pytest.mark.parametrize("kind", ["param-length", "tag-length"])
def test_what_is_too_long_can_be_cut_without_an_artifact(sqlite_tracker, runs, kind):
    write(runs, kind)
    runs.send(sqlite_tracker, options={"lowering": {kind: "sanitize"}})
    run = sqlite_tracker.run()
    kept = run.data.params.get("long") or run.data.tags["note"]
    assert kept[:400] in ("x" * 400, "y" * 400)
    assert "whole" not in kept
    assert sqlite_tracker.files() == []


def test_the_report_is_an_artifact_of_the_run(tracker, runs, tmp_path):
    write(runs, "name")
    runs.send(tracker)
    report = json.loads(tracker.read("unitrack/lowered.json", tmp_path))
    assert (report["run"], report["backend"]) == ("one", "mlflow")
    assert [(one["kind"], one["name"]) for one in report["lowered"]] == [("name", "mAP@50")]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"lowering": {"nam": "skip"}}, "did you mean 'name'"), ({"lowering": {"step": "artifact"}}, "sanitize, skip, fail"),
     ({"register": "yes"}, "register")],
)  # fmt: skip
def test_wrong_options_are_told(options, word):
    with pytest.raises(ConfigError, match=word):
        MlflowFactory().create(options)
