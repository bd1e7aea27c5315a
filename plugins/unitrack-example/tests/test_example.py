"""The example plugin does what its README says."""

from __future__ import annotations

import csv
import json
import math

import pytest

import unitrack_example
from unitrack.backend import Record, RunInfo
from unitrack.errors import ConfigError
from unitrack.events import Alert, Console, Metrics, Params
from unitrack.plugins import Plugins
from unitrack_example._backend import CsvFactory
from unitrack_example._extras import FolderIsWritable, HideEmails
from unitrack_example._mapping import to_rows


def record(event):
    return Record(writer="w", event=event)


@pytest.fixture
def info(tmp_path):
    return RunInfo(
        id="one", project="p", name=None, group=None, parent=None, tags=(), started=1.0,
        folder=tmp_path / "run", objects=tmp_path / "objects",
    )  # fmt: skip


def values(tmp_path):
    with (tmp_path / "csv" / "one" / "values.csv").open(newline="") as file:
        return [(row["seq"], row["name"], row["step"], row["value"]) for row in csv.DictReader(file)]


def test_values_become_rows_and_all_else_is_told():
    mapped = to_rows(
        [
            record(Params(1, 1.5, {"lr": 0.1, "layers": [1, 2], "text": "a,b"})),
            record(Metrics(2, 2.5, {"loss": "NaN", "acc": True}, 0.5)),
            record(Alert(3, 3.5, title="look")),
        ]
    )
    assert mapped.rows == (
        ("w", 1, "1.500000", "params", "lr", "", "0.1"),
        ("w", 1, "1.500000", "params", "layers", "", "[1, 2]"),
        ("w", 1, "1.500000", "params", "text", "", "a,b"),
        ("w", 2, "2.500000", "metrics", "loss", 0.5, "NaN"),
        ("w", 2, "2.500000", "metrics", "acc", 0.5, "true"),
    )
    assert [(one.kind, one.name) for one in mapped.lowered] == [("event", "alert")]


def test_a_replay_after_a_kill_leaves_one_of_every_row(tmp_path, info):
    records = [record(Metrics(seq, seq, {"loss": seq / 2}, seq)) for seq in range(1, 6)]
    backend = CsvFactory().create({"folder": str(tmp_path / "csv")})
    backend.open(info, {})
    backend.export(records[:3])
    with (tmp_path / "csv" / "one" / "values.csv").open("a") as file:
        file.write("w,4,4.0,metr")  # killed in the middle of a row
    again = CsvFactory().create({"folder": str(tmp_path / "csv")})
    again.open(info, {})
    again.export(records)
    again.close("finished", 9.0)
    assert values(tmp_path) == [(str(n), "loss", str(n), str(n / 2)) for n in range(1, 6)]
    about = json.loads((tmp_path / "csv" / "one" / "run.json").read_text())
    assert (about["status"], about["ended"], about["project"]) == ("finished", 9.0, "p")


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_kill_between_any_two_bytes_leaves_one_of_every_row(tmp_path, info, cut):
    records = [record(Metrics(1, 1.0, {"a": 1.0, "two\nlines": 2.0, 'a "quote"\u2028': 3.0}, 0))]
    for length in (None, -cut, None):
        backend = CsvFactory().create({"folder": str(tmp_path / "csv")})
        backend.open(info, {})
        backend.export(records)
        path = tmp_path / "csv" / "one" / "values.csv"
        path.write_bytes(path.read_bytes()[:length])
    with path.open(newline="", encoding="utf-8") as file:
        assert sorted(row["name"] for row in csv.DictReader(file)) == ["a", 'a "quote"\u2028', "two\nlines"]


@pytest.mark.parametrize("options", [{"fodler": "x"}, {"folder": 3}, {"folder": ""}])
def test_wrong_options_name_the_option(options):
    with pytest.raises(ConfigError, match="folder|fodler"):
        CsvFactory().create(options)


def test_addresses_are_hidden_in_what_was_printed_and_nothing_else_changes():
    hide = HideEmails()
    assert hide(Console(1, 1.0, stream="stdout", text="by a.b@c.org!")).text == "by <email>!"
    metrics = Metrics(1, 1.0, {"loss": math.pi})
    assert hide(metrics) is metrics


def test_the_health_check_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FolderIsWritable().check().ok


def test_unitrack_accepts_the_plugin_whole():
    plugins = Plugins()
    plugins.register(unitrack_example, "example")
    assert plugins.problems == []
    assert set(plugins.backends()) == {"csv"}
    assert [one.name for one in plugins.processors()] == ["hide-emails"]
    assert [one.name for one in plugins.health_checks()] == ["csv-folder"]
    assert set(plugins.commands()) == {"csv-path"}
