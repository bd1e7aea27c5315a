"""`unitrack compare`: what differs, and which run is best."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.events import Capture, MetricDefinition, Metrics, Params, RunStarted
from unitrack.journal.writer import JournalWriter, WriterInfo


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    for run, lr, acc, loss in (("a", 0.1, 0.5, 3.0), ("b", 0.2, 0.75, 2.0), ("c", 0.2, 0.75, "NaN")):
        writer = JournalWriter(tmp_path / "runs" / run, WriterInfo(run=run))
        writer.append(RunStarted, project="p")
        writer.append(Params, {"lr": lr, "model": {"layers": 3}} | ({"only": 1} if run == "a" else {}))
        writer.append(MetricDefinition, name="acc", goal="maximize")
        writer.append(MetricDefinition, name="loss", goal="minimize")
        writer.append(Metrics, {"acc": acc, "loss": loss, "same": 1.0, "free": lr})
        writer.append(Capture, name="git", values={"commit": f"commit-{run}"})
        writer.seal("finished")
    return tmp_path


def ask(*args):
    return CliRunner().invoke(main, ["compare", *args])


def compared(*args):
    return json.loads(ask(*args, "--json").stdout)


def test_params_that_differ_are_shown_and_equal_ones_counted(store):
    found = compared("a", "b")
    assert found["runs"] == ["a", "b"]
    assert [(line["name"], line["values"]) for line in found["params"]] == [("lr", [0.1, 0.2]), ("only", [1, None])]
    assert found["hidden"] == 1
    everything = compared("a", "b", "--all")
    assert [line["name"] for line in everything["params"]] == ["lr", "only", "model.layers"]
    assert everything["hidden"] == 0


def test_the_best_value_is_marked_by_the_goal(store):
    metrics = {line["name"]: line for line in compared("a", "b", "c")["metrics"]}
    assert (metrics["acc"]["best"], metrics["loss"]["best"]) == ([1, 2], [1])
    assert (metrics["same"]["best"], metrics["free"]["best"], metrics["free"]["goal"]) == ([], [], None)
    assert metrics["loss"]["values"] == [3.0, 2.0, "NaN"]


def test_a_pipe_gets_aligned_columns(store):
    result = ask("a", "b")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["lr", "0.1", "0.2"] in lines
    assert ["commit", "commit-a", "commit-b"] in lines
    assert ["acc", "maximize", "0.5", "0.75", "*"] in lines
    assert ["loss", "minimize", "3", "2", "*"] in lines
    assert "1 params are equal" in result.stderr


def test_one_run_is_no_comparison(store):
    result = ask("a")
    assert result.exit_code == 2
    assert "two runs or more" in result.stderr


def test_a_run_may_be_compared_with_itself(store):
    found = compared("a", "a")
    assert (found["runs"], found["params"], [line["best"] for line in found["metrics"]]) == (["a", "a"], [], [[]] * 4)
    assert ask("a", "a").exit_code == 0


def test_a_damaged_run_is_refused_with_the_way_out(store):
    (path,) = (store / "runs" / "b" / "journal").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'{"type":"params"', b'{"type":'))
    result = ask("a", "b")
    assert result.exit_code == 4
    assert "unitrack verify --salvage" in result.stderr
