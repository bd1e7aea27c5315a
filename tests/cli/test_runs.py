"""`unitrack runs`: what it lists, how it filters, what it says of trouble."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.events import Metrics, Params, RunStarted
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_DIR", str(tmp_path))
    return tmp_path


def log_run(store, run, *, project="p", status="finished", values=None, **fields):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run))
    writer.append(RunStarted, project=project, **fields)
    writer.append(Params, {"lr": 0.1})
    writer.append(Metrics, values or {"loss": 0.5})
    writer.seal(status)
    return writer.path


def ask(*args):
    return CliRunner().invoke(main, ["runs", *args])


def listed(*args):
    result = ask("--json", *args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_pipe_gets_one_line_a_run_newest_first(store):
    log_run(store, "first", name="baseline")
    log_run(store, "second", status="failed", values={"loss": 0.25, "val/acc": 1})
    head, second, first = ask().stdout.splitlines()
    assert head.split() == ["run", "name", "project", "status", "started", "took", "loss", "val/acc"]
    assert second.split()[:4] == ["second", "-", "p", "failed"]
    assert second.split()[-2:] == ["0.25", "1"]
    assert first.split()[:4] == ["first", "baseline", "p", "finished"]


def test_json_tells_params_and_summary(store):
    log_run(store, "r", name="n", group="g", tags=["a"], values={"loss": "NaN"})
    (run,) = listed()
    assert {key: run[key] for key in ("id", "name", "project", "status", "group", "tags", "params", "summary")} == {
        "id": "r", "name": "n", "project": "p", "status": "finished", "group": "g", "tags": ["a"],
        "params": {"lr": 0.1}, "summary": {"loss": "NaN"},
    }  # fmt: skip
    assert (run["problems"], run["lost"], run["ended"] >= run["started"]) == ([], 0, True)


def test_filters_narrow_the_list(store):
    log_run(store, "a", project="x", tags=["t", "u"])
    log_run(store, "b", tags=["t"], status="failed")
    log_run(store, "c", group="g")
    for args, found in [
        (("--project", "x"), "a"),
        (("--tag", "t"), "ba"),
        (("--tag", "t", "--tag", "u"), "a"),
        (("--status", "failed"), "b"),
        (("--status", "failed", "--status", "finished"), "cba"),
        (("--group", "g"), "c"),
        (("--limit", "2"), "cb"),
    ]:
        assert "".join(run["id"] for run in listed(*args)) == found


def test_a_long_list_is_cut_for_people_and_says_so(store):
    for place in range(27):
        log_run(store, f"run-{place:02}")
    result = ask()
    assert len(result.stdout.splitlines()) == 26
    assert "25 of 27 runs" in result.stderr
    assert len(listed()) == 27


def test_a_damaged_run_is_marked(store):
    path = log_run(store, "bad")
    log_run(store, "good")
    path.write_bytes(path.read_bytes().replace(b'{"type":"params"', b'{"type:"params"'))
    result = ask()
    assert result.exit_code == 0
    assert "finished !" in result.stdout
    assert "1 marked ! have problems" in result.stderr
    bad = next(run for run in listed() if run["id"] == "bad")
    assert (bad["params"], bad["summary"], "line 3" in bad["problems"][0]) == (None, None, True)


def test_control_characters_of_a_name_do_not_reach_the_terminal(store):
    log_run(store, "r", name="\x1b[31mred [bold]x")
    assert "\x1b" not in ask().stdout
    assert "\\x1b[31mred [bold]x" in ask().stdout


def test_an_empty_store_is_no_error(store):
    result = ask()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no runs" in result.stderr
    assert listed() == []
    assert not (layout.runs_dir(store)).exists()
