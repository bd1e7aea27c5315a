"""`unitrack show`: all of one run."""

from __future__ import annotations

import json
import math

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.cli.show import sparkline
from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Media,
    MetricDefinition,
    Metrics,
    Params,
    RunStarted,
    Summary,
    System,
    Tags,
)
from unitrack.journal.writer import JournalWriter, WriterInfo


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    return tmp_path


def log_run(store, run="20260102-abc"):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run, rank=0))
    writer.append(RunStarted, project="digits", name="wide", group="sweep", tags=["t"], argv=["train.py", "--lr", "1"])
    writer.append(Params, {"lr": 0.1, "model": {"layers": 12}})
    writer.append(MetricDefinition, name="acc", goal="maximize")
    for step in range(50):
        writer.append(Metrics, {"acc": step / 50, "loss": "NaN"}, step)
    writer.append(System, {"cpu": 99.0})
    writer.append(Summary, {"note": "fine"})
    writer.append(Tags, values={"team": "vision"})
    writer.append(Artifact, name="weights.pt", kind="model", digest="sha256:" + "a" * 64, size=1500)
    writer.append(DatasetUsed, name="train.csv", rows=100, uri="data/train.csv")
    writer.append(Media, name="confusion", kind="image", format="png", step=3, size=10)
    writer.append(Capture, name="git", values={"commit": "abc123"})
    writer.append(Capture, name="environment", values={"packages": {f"p{i}": "1" for i in range(300)}})
    writer.append(Alert, title="Look", text="here", level="warning")
    writer.seal("failed", reason="ValueError: no")
    return writer.path


def ask(*args):
    return CliRunner().invoke(main, ["show", *args])


def test_everything_a_run_logged_is_shown(store):
    log_run(store)
    result = ask("2026")
    assert result.exit_code == 0, result.output
    shown = "\n".join(" ".join(line.split()) for line in result.stdout.splitlines())
    for line in (
        "run 20260102-abc", "name wide", "project digits", "group sweep", "tags t, team=vision",
        "command train.py --lr 1", "lr 0.1", "model.layers 12", "note fine",
        "acc 50 0.98 0 0.98 maximize " + "▁", "loss 50 nan nan nan -", "cpu 1 99 99 99",
        "weights.pt model output 1.5 kB sha256:aaaaaaaaaaaa", "train.csv - 100", "confusion image 3 10 B -",
        "git.commit abc123", "environment.packages 300 entries (--json shows them)", "warning: Look here",
    ):  # fmt: skip
        assert line in shown, line
    assert "failed after" in shown
    assert ": ValueError: no" in shown


def test_json_holds_what_the_tables_hold(store):
    log_run(store)
    found = json.loads(ask("2026", "--json").stdout)
    assert (found["id"], found["status"], found["reason"]) == ("20260102-abc", "failed", "ValueError: no")
    assert found["metrics"]["acc"]["goal"] == "maximize"
    assert found["metrics"]["loss"]["last"] == "NaN"
    assert (found["params"]["model"], found["summary"]["note"]) == ({"layers": 12}, "fine")
    assert (found["artifacts"][0]["name"], found["writers"][0]["rank"]) == ("weights.pt", 0)
    assert len(found["captures"]["environment"]["packages"]) == 300


def test_a_damaged_run_shows_what_is_left_and_what_is_wrong(store):
    path = log_run(store)
    path.write_bytes(path.read_bytes().replace(b'{"type":"summary"', b'{"type":'))
    result = ask("2026")
    assert result.exit_code == 0
    assert "problem: " in result.stdout
    assert "line 56" in result.stdout
    assert "weights.pt" in result.stdout


def test_an_unknown_or_unclear_id_is_an_error(store):
    log_run(store, "abc-1")
    log_run(store, "abc-2")
    assert (ask("nope").exit_code, ask("abc").exit_code) == (4, 2)
    assert "2 runs begin with 'abc'" in ask("abc").stderr


def test_what_a_run_calls_itself_can_not_style_the_terminal(store):
    writer = JournalWriter(store / "runs" / "r", WriterInfo(run="r"))
    writer.append(RunStarted, project="\x1b]0;pwned\x07[red]x")
    writer.append(Params, {"a\nb": "c\rd"})
    writer.seal("finished")
    shown = ask("r").stdout
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "a\\nb" in shown


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([math.nan, math.inf], ""),
        ([1.0], "▁"),
        ([2.0, 2.0], "▁▁"),
        ([0.0, 7.0], "▁█"),
        ([0.0, math.nan, 7.0], "▁ █"),
        ([-1.7e308, 1.7e308], "▁█"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_curve_is_drawn_from_low_to_high(values, drawn):
    assert sparkline(values) == drawn


def test_a_long_curve_fits_its_width():
    assert len(sparkline([float(i) for i in range(1000)], width=24)) == 24
