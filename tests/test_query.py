"""SQL over a store: what the tables hold, what stays out, what is refused."""

from __future__ import annotations

import math
import sys

import pytest

from unitrack import query as module
from unitrack.errors import UsageError
from unitrack.events import Artifact, Metrics, Params, RunStarted, Summary, Tags
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.query import TABLES, query


def log_run(store, run="r", *, seal=True):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run))
    writer.append(RunStarted, project="p", name="it's", group="g", tags=["x"])
    writer.append(Params, {"lr": 0.1, "model": {"layers": [1, 2], "kind": "cnn"}, "limit": "Infinity"})
    writer.append(Metrics, {"loss": 1, "acc": "NaN", "odd \"name'": True}, 0)
    writer.append(Metrics, {"loss": 0.5})
    writer.append(Tags, add=["y"], values={"team": "a"})
    writer.append(Summary, {"score": "NaN"})
    writer.append(Artifact, name="m", kind="model", digest="sha256:00", size=3)
    if seal:
        writer.seal("finished")
    return writer


@pytest.fixture(params=["store", "st[o]re *?'s"])
def store(request, tmp_path):
    root = tmp_path / request.param
    log_run(root)
    return root


def test_runs_tell_what_a_listing_tells(store):
    result = query(
        """SELECT id, project, name, "group", status, tags, params->>'$.model.kind', summary->>'$.loss',
        summary->>'$.score', ended - started = duration, problems FROM runs""",
        dir=store,
    )
    assert result.rows == [("r", "p", "it's", "g", "finished", ["x", "y"], "cnn", "0.5", "NaN", True, [])]
    assert result.columns[:3] == ("id", "project", "name")


def test_metrics_hold_a_row_for_each_value(store):
    rows = query("SELECT run, seq, step, name, value FROM metrics ORDER BY seq, name", dir=store).rows
    assert [row[:4] for row in rows] == [
        ("r", 4, 0, "acc"), ("r", 4, 0, "loss"), ("r", 4, 0, 'odd "name\''), ("r", 5, None, "loss"),
    ]  # fmt: skip
    assert math.isnan(rows[0][4])
    assert [row[4] for row in rows[1:]] == [1, 1, 0.5]


def test_params_tags_and_artifacts_have_tables(store):
    params = query("SELECT name, value FROM params ORDER BY name", dir=store).rows
    assert params == [("limit", "Infinity"), ("lr", "0.1"), ("model.kind", "cnn"), ("model.layers", "[1,2]")]
    assert query("FROM tags ORDER BY tag", dir=store).rows == [("r", "team", "a"), ("r", "x", None), ("r", "y", None)]
    assert query("SELECT run, name, kind, digest, size, use FROM artifacts", dir=store).rows == [
        ("r", "m", "model", "sha256:00", 3, "output")
    ]


def test_events_are_the_lines_themselves(store):
    (writer,) = [path.stem for path in layout.journals(store / "runs" / "r")]
    rows = query("SELECT run, writer, seq, type, json->>'$.project' FROM events ORDER BY seq LIMIT 2", dir=store).rows
    assert rows == [("r", writer, 1, "writer", None), ("r", writer, 2, "run", "p")]


def test_tables_can_be_joined_and_turned(store):
    sql = "SELECT r.name, max(m.value) FROM Runs r JOIN metrics m ON m.run = r.id WHERE m.name = 'loss' GROUP BY 1"
    assert query(sql, dir=store).rows == [("it's", 1.0)]
    assert query("PIVOT params ON name IN ('lr') USING first(value) GROUP BY run", dir=store).columns == ("run", "lr")
    assert len(query("SHOW TABLES", dir=store).rows) == len(TABLES)
    assert query("DESCRIBE metrics", dir=store).rows[-1][:2] == ("value", "DOUBLE")


def test_a_live_run_is_seen(tmp_path):
    writer = log_run(tmp_path, seal=False)
    assert query("SELECT status FROM runs", dir=tmp_path).rows == [("running",)]
    writer.append(Metrics, {"loss": 9.0})
    assert query("SELECT max(value) FROM metrics WHERE name = 'loss'", dir=tmp_path).rows == [(9.0,)]
    writer.seal("finished")


def test_a_torn_tail_is_left_out_without_a_word(tmp_path):
    log_run(tmp_path)
    (path,) = layout.journals(tmp_path / "runs" / "r")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'"seq":5') + 20])
    result = query("SELECT count(*) FROM metrics WHERE name = 'loss'", dir=tmp_path)
    assert (result.rows, result.problems) == ([(1,)], ())


def test_a_corrupt_line_is_left_out_and_told(tmp_path):
    log_run(tmp_path)
    (path,) = layout.journals(tmp_path / "runs" / "r")
    path.write_bytes(path.read_bytes().replace(b'{"type":"params"', b'{"type":"params'))
    for table in ("metrics", "events"):
        result = query(f"SELECT max(seq) FROM {table}", dir=tmp_path)
        assert result.rows[0][0] >= 5
        assert "line 3" in result.problems[0]
    ((problems,),) = query("SELECT problems FROM runs", dir=tmp_path).rows
    assert "line 3" in problems[0]


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_store_has_empty_tables_of_the_same_shape(tmp_path, table):
    empty = query(f"SELECT * FROM {table}", dir=tmp_path / "none")
    log_run(tmp_path / "full")
    full = query(f"SELECT * FROM {table}", dir=tmp_path / "full")
    assert (empty.columns, empty.rows) == (full.columns, [])
    types = [row[:2] for row in query(f"DESCRIBE {table}", dir=tmp_path / "none").rows]
    assert types == [row[:2] for row in query(f"DESCRIBE {table}", dir=tmp_path / "full").rows]


def test_a_query_over_runs_makes_no_table_of_journals(tmp_path, monkeypatch):
    log_run(tmp_path)
    monkeypatch.setattr(module, "_create_view", lambda *_: pytest.fail("a journal would be scanned"))
    assert query("SELECT id FROM runs JOIN tags ON run = id", dir=tmp_path).rows == [("r",)] * 3


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("DROP TABLE runs", "a query reads, this is DROP"),
        ("COPY (SELECT 1) TO 'out.csv'", "a query reads, this is COPY"),
        ("INSERT INTO runs (id) VALUES ('x')", "a query reads"),
        ("ATTACH 'x.db'", "a query reads"),
        ("INSTALL httpfs", "a query reads"),
        ("SET enable_external_access = true", "a query reads"),
        ("SELECT 1; SELECT 2", "one SQL statement"),
        ("", "one SQL statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM runs", "nothing"),
        ("SELECT * FROM unknown", "The tables are runs, params"),
        ("SELECT * FROM 'https://example.invalid/x.csv'", "disabled"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("SELECT * FROM glob('/*')", "disabled"),
    ],
)
def test_what_is_wrong_or_does_more_than_read_the_store_is_refused(store, sql, complaint):
    with pytest.raises(UsageError, match=complaint):
        query(sql, dir=store)


def test_without_duckdb_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"pip install .unitrack\[query\]"):
        query("SELECT 1", dir=tmp_path)
