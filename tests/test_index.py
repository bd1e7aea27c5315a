"""The index: fresh however runs change, and never missed when it can't be used."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from unitrack import index
from unitrack.errors import UnitrackWarning
from unitrack.events import Metrics, Params, RunStarted
from unitrack.index import Index
from unitrack.journal import layout
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.reader import Store, runs


def open_writer(store, run="r", **info):
    writer = JournalWriter(store / "runs" / run, WriterInfo(run=run, **info))
    writer.append(RunStarted, project="p")
    return writer


def finished(store, run="r", *, loss=1.0, settled=True):
    writer = open_writer(store, run)
    writer.append(Metrics, {"loss": loss}, 0)
    writer.seal("finished")
    if settled:
        settle(store, run)


def settle(store, run="r", at=None):
    """Make a run folder look as if nothing had happened to it for a while."""
    at = time.time() - 60 if at is None else at
    os.utime(store / "runs" / run / "journal", (at, at))


@pytest.fixture
def read(monkeypatch):
    """Collect the ids of the runs whose journals are read."""
    seen = []
    original = index.read_run

    def spy(run, known=None):
        seen.append(run.name)
        return original(run, known)

    monkeypatch.setattr(index, "read_run", spy)
    return seen


def ids(store):
    return [row.id for row in Store(store).rows()]


def test_a_run_that_ended_is_read_once(tmp_path, read):
    finished(tmp_path, "a")
    finished(tmp_path, "b")
    assert (sorted(ids(tmp_path)), sorted(read)) == (["a", "b"], ["a", "b"])
    read.clear()
    (first, second) = runs(dir=tmp_path)
    assert (first.summary, second.params, read) == ({"loss": 1.0}, {}, [])


def test_a_run_that_just_ended_is_read_again(tmp_path, read):
    """A folder's time of change is too coarse to tell two changes in the same moment apart."""
    finished(tmp_path, settled=False)
    assert (ids(tmp_path), ids(tmp_path), read) == (["r"], ["r"], ["r", "r"])


def test_a_resumed_run_is_read_again(tmp_path):
    finished(tmp_path)
    assert runs(dir=tmp_path)[0].status == "finished"
    writer = open_writer(tmp_path)
    assert runs(dir=tmp_path)[0].status == "running"
    writer.seal("failed")
    assert runs(dir=tmp_path)[0].status == "failed"


def test_a_live_run_is_followed_from_where_reading_stopped(tmp_path, monkeypatch):
    writer = open_writer(tmp_path)
    writer.append(Metrics, {"loss": 3.0}, 0)
    settle(tmp_path)
    assert runs(dir=tmp_path)[0].summary == {"loss": 3.0}
    starts = []
    original = index.read_run

    def spy(run, known=None):
        starts.extend(state.offset for state in (known or {}).values())
        return original(run, known)

    monkeypatch.setattr(index, "read_run", spy)
    size = writer.path.stat().st_size
    writer.append(Params, {"late": True})
    writer.append(Metrics, {"loss": 2.0}, 1)
    (view,) = runs(dir=tmp_path)
    assert (view.summary, view.params, view.metrics["loss"].max, starts) == ({"loss": 2.0}, {"late": True}, 3.0, [size])
    writer.seal("finished")
    assert runs(dir=tmp_path)[0].status == "finished"


def test_a_live_run_that_says_nothing_new_is_not_read(tmp_path, read):
    writer = open_writer(tmp_path)
    settle(tmp_path)
    assert (ids(tmp_path), ids(tmp_path), read) == (["r"], ["r"], ["r"])
    writer.seal("finished")


def test_a_writer_that_dies_without_a_word_shows_at_the_next_listing(tmp_path):
    writer = open_writer(tmp_path)
    settle(tmp_path)
    assert runs(dir=tmp_path)[0].status == "running"
    os.close(writer.fd)  # what the system does for a killed process
    writer.fd = -1
    assert runs(dir=tmp_path)[0].status == "killed"


def test_a_removed_run_disappears(tmp_path):
    finished(tmp_path, "a")
    finished(tmp_path, "b")
    assert len(ids(tmp_path)) == 2
    for file in sorted((tmp_path / "runs" / "a").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert ids(tmp_path) == ["b"]
    (tmp_path / "runs" / "a").rmdir()
    assert ids(tmp_path) == ["b"]
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database, database:
        assert database.execute("SELECT id FROM runs").fetchall() == [("b",)]


def test_what_is_no_run_is_passed_over(tmp_path):
    finished(tmp_path)
    (tmp_path / "runs" / ".tmp").mkdir()
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("hello")
    assert (ids(tmp_path), ids(tmp_path)) == (["r"], ["r"])
    assert Store(tmp_path).ids() == ["r"]


def test_a_deleted_index_is_built_again(tmp_path):
    finished(tmp_path)
    assert ids(tmp_path) == ["r"]
    (tmp_path / "index.sqlite").unlink()
    assert ids(tmp_path) == ["r"]


@pytest.mark.parametrize("damage", [b"this is no database at all, not even close to one" * 50, None])
def test_a_broken_index_is_built_again(tmp_path, damage):
    for run in ("a", "b", "c"):
        finished(tmp_path, run)
    ids(tmp_path)
    path = tmp_path / "index.sqlite"
    data = path.read_bytes()
    path.write_bytes(damage or data[:4096] + b"\xa5" * (len(data) - 4096))
    assert sorted(ids(tmp_path)) == ["a", "b", "c"]
    assert sorted(ids(tmp_path)) == ["a", "b", "c"]


def test_a_broken_row_costs_reading_its_run(tmp_path, read):
    finished(tmp_path)
    ids(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database, database:
        database.execute("UPDATE runs SET entry = x'00ff'")
    read.clear()
    assert (ids(tmp_path), read, runs(dir=tmp_path)[0].summary) == (["r"], ["r"], {"loss": 1.0})


def test_an_index_of_another_version_is_built_again(tmp_path):
    finished(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database, database:
        database.executescript("CREATE TABLE runs (old TEXT); PRAGMA user_version = 99")
    assert (ids(tmp_path), ids(tmp_path)) == (["r"], ["r"])


def test_a_locked_index_is_passed_by_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_PATIENCE", 0.05)
    finished(tmp_path, "a")
    ids(tmp_path)
    finished(tmp_path, "b")
    holder = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.warns(UnitrackWarning, match="index of .* can't be used .*locked"):
        assert ids(tmp_path) == ["b", "a"]
    holder.execute("ROLLBACK")
    holder.close()
    assert ids(tmp_path) == ["b", "a"]


def test_an_index_that_others_write_is_still_read(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_PATIENCE", 0.05)
    finished(tmp_path, "a")
    ids(tmp_path)
    finished(tmp_path, "b")
    holder = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.warns(UnitrackWarning, match="locked"):
        assert ids(tmp_path) == ["b", "a"]
    holder.close()


def test_an_index_that_can_not_be_made_is_passed_by_with_a_warning(tmp_path):
    finished(tmp_path)
    (tmp_path / "index.sqlite").mkdir()
    with pytest.warns(UnitrackWarning, match="unable to open"):
        assert ids(tmp_path) == ["r"]


def test_a_damaged_run_is_listed_with_its_problem(tmp_path):
    finished(tmp_path, "a")
    finished(tmp_path, "b")
    (path,) = layout.journals(tmp_path / "runs" / "a")
    path.write_bytes(path.read_bytes().replace(b'{"type":"metrics"', b'{"type":'))
    for _ in range(2):
        listed = {view.id: view for view in runs(dir=tmp_path)}
        assert (listed["a"].damaged, listed["b"].damaged) == (True, False)
        assert "line 3" in listed["a"].problems[0]


@pytest.mark.parametrize(
    "tail",
    [
        b'{"type":"x","seq":9,"time":1,"v":' + b"[" * 10**5,
        b'{"type":"params","seq":4,"time":1,"values":' + b'{"a":' * 10**5,
        b'{"type":"metrics","seq":-9,"time":1,"values":{"a":1}}',
        b'{"type":"metrics","seq":1' + b"0" * 400 + b',"time":1,"values":{"a":1}}',
        b'{"type":"x","seq":4,"time":1' + b"0" * 400 + b"}",
    ],
)
def test_a_hostile_line_harms_its_own_run_only(tmp_path, tail):
    finished(tmp_path, "a")
    open_writer(tmp_path, "b").seal("finished")
    (path,) = layout.journals(tmp_path / "runs" / "b")
    with path.open("ab") as file:
        file.write(tail + b"\n")
    listed = {view.id: view.damaged for view in runs(dir=tmp_path)}
    assert listed == {"a": False, "b": True}


def test_numbers_wider_than_the_index_holds_are_read_from_the_journal(tmp_path):
    writer = open_writer(tmp_path)
    writer.append(Params, {"seed": 2**100})
    writer.append(Metrics, {"loss": 1.0}, 10**400)
    assert runs(dir=tmp_path)[0].params == {"seed": 2**100}
    writer.seal("finished")
    settle(tmp_path)
    (view,) = runs(dir=tmp_path)
    assert (view.params, view.series("loss").steps[0]) == ({"seed": 2**100}, float("inf"))


def test_a_folder_that_can_not_be_listed_is_shown_as_such(tmp_path, monkeypatch):
    finished(tmp_path, "a")
    finished(tmp_path, "b")
    original = layout.journals

    def refuse(run):
        if run.name == "a":
            raise PermissionError(13, "Permission denied")
        return original(run)

    monkeypatch.setattr(layout, "journals", refuse)
    listed = {view.id: view.problems for view in runs(dir=tmp_path)}
    assert listed == {"a": ("can't be read: Permission denied",), "b": ()}


def test_params_too_large_for_the_index_are_read_from_the_journal(tmp_path):
    writer = open_writer(tmp_path)
    writer.append(Params, {"text": "x" * 100_000})
    writer.seal("finished")
    settle(tmp_path)
    assert ids(tmp_path) == ["r"]
    assert Index(tmp_path).rows().rows[0].header is None
    assert len(runs(dir=tmp_path)[0].params["text"]) == 100_000


def test_the_progress_of_reading_is_told(tmp_path):
    for run in ("a", "b", "c"):
        finished(tmp_path, run)
    told = []
    runs(dir=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    runs(dir=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == []


def test_many_may_build_the_index_at_once(tmp_path):
    for place in range(20):
        finished(tmp_path, f"run-{place}", loss=float(place))
    results = []
    threads = [threading.Thread(target=lambda: results.append(sorted(ids(tmp_path)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sorted(f"run-{place}" for place in range(20))] * 4
    assert len(ids(tmp_path)) == 20


@pytest.mark.timing
def test_ten_thousand_finished_runs_are_listed_in_less_than_a_second(tmp_path):
    finished(tmp_path, "run")
    (path,) = layout.journals(tmp_path / "runs" / "run")
    data = path.read_bytes()
    for place in range(10_000):
        folder = tmp_path / "runs" / f"run-{place:05}" / "journal"
        folder.mkdir(parents=True)
        (folder / path.name).write_bytes(data)
        os.utime(folder, (1, 1))
    assert len(ids(tmp_path)) == 10_001
    begun = time.perf_counter()
    assert len(runs(dir=tmp_path)) == 10_001
    assert time.perf_counter() - begun < 1
