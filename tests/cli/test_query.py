"""`unitrack query`: SQL in, table, JSON or CSV out."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.events import Metrics, Params, RunStarted
from unitrack.journal.writer import JournalWriter, WriterInfo


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    writer = JournalWriter(tmp_path / "runs" / "r", WriterInfo(run="r"))
    writer.append(RunStarted, project="p", tags=["a", "b"])
    writer.append(Params, {"lr": 0.1})
    writer.append(Metrics, {"loss": 0.5, "bad": "NaN"}, 0)
    writer.seal("finished")
    return writer.path


def ask(*args, **options):
    return CliRunner().invoke(main, ["query", *args], **options)


def test_a_pipe_gets_a_table(store):
    result = ask("SELECT id, tags, params, 1.5 AS x FROM runs")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["id", "tags", "params", "x"],
        ["r", '["a","b"]', '{"lr":0.1}', "1.5"],
    ]
    assert "1 row" in result.stderr


def test_json_is_a_list_of_objects(store):
    rows = json.loads(ask("SELECT name, value, 1 AS n, 2 AS n FROM metrics ORDER BY name", "--json").stdout)
    assert rows == [
        {"name": "bad", "value": "NaN", "n": 1, "n_2": 2},
        {"name": "loss", "value": 0.5, "n": 1, "n_2": 2},
    ]


def test_csv_has_a_header_and_no_decoration(store):
    result = ask("SELECT id, name, tags FROM runs", "--csv")
    assert result.stdout == 'id,name,tags\nr,,"[""a"",""b""]"\n'


def test_a_dash_reads_the_statement_from_stdin(store):
    assert json.loads(ask("-", "--json", input="SELECT count(*) AS n FROM runs").stdout) == [{"n": 1}]


def test_wrong_sql_is_wrong_use(store):
    result = ask("SELECT * FROM nothing")
    assert result.exit_code == 2
    assert "The tables are" in result.stderr
    assert ask("SELECT 1", "--csv", "--json").exit_code == 2


def test_what_was_left_out_is_told_on_stderr(store):
    store.write_bytes(store.read_bytes().replace(b'{"type":"params"', b'{"type":'))
    result = ask("SELECT count(*) AS n FROM metrics", "--json")
    assert json.loads(result.stdout) == [{"n": 2}]
    assert "left out: run r: " in result.stderr
