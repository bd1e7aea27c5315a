"""A cursor survives what a disk can do to it; at worst sending starts over, which does no harm."""

from __future__ import annotations

import json

import pytest

from unitrack.errors import UnitrackWarning, UsageError
from unitrack.journal.cursor import Cursor, Lowered, Position, cursor_path, cursors, load_cursor, save_cursor, start_of

CURSOR = Cursor(
    writers={"w": Position(offset=100, seq=7)},
    state={"run_id": "abc"},
    sent=7,
    lowered=(Lowered(kind="step", name="loss", detail="1.5 became 1"),),
    told="finished",
    updated=12.5,
)


def test_it_comes_back_as_it_was_saved(tmp_path):
    save_cursor(tmp_path, "mlflow", CURSOR)
    assert load_cursor(tmp_path, "mlflow") == CURSOR
    assert CURSOR.acked == {"w": 7}
    assert CURSOR.position("other") == Position()


def test_there_is_one_for_each_backend(tmp_path):
    assert cursors(tmp_path) == {}
    save_cursor(tmp_path, "mlflow", CURSOR)
    save_cursor(tmp_path, "my.tracker", Cursor())
    (tmp_path / "sync" / "mlflow.dead.jsonl").touch()
    (tmp_path / "sync" / "mlflow.lock").touch()
    assert list(cursors(tmp_path)) == ["mlflow", "my.tracker"]


def test_none_is_a_new_one_without_a_word(tmp_path):
    assert load_cursor(tmp_path, "mlflow") == Cursor()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b'{"writers": 3}', b'{"writers": {"w": {"offset": "x"}}}', b"\xff\xfe", b'{"told": "later"}'],
)  # fmt: skip
def test_one_that_cannot_be_read_is_a_warning_and_a_new_one(tmp_path, data):
    save_cursor(tmp_path, "mlflow", CURSOR)
    cursor_path(tmp_path, "mlflow").write_bytes(data)
    with pytest.warns(UnitrackWarning, match="sent the whole run again"):
        assert load_cursor(tmp_path, "mlflow") == Cursor()


def test_every_truncation_is_noticed(tmp_path):
    save_cursor(tmp_path, "mlflow", CURSOR)
    path = cursor_path(tmp_path, "mlflow")
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.warns(UnitrackWarning):
            assert load_cursor(tmp_path, "mlflow") == Cursor()


def test_impossible_positions_are_dropped(tmp_path):
    save_cursor(tmp_path, "mlflow", CURSOR)
    path = cursor_path(tmp_path, "mlflow")
    data = json.loads(path.read_bytes())
    data["writers"]["bad"] = {"offset": -5, "seq": 1}
    path.write_text(json.dumps(data))
    assert load_cursor(tmp_path, "mlflow").acked == {"w": 7}


def test_fields_of_a_later_version_are_no_fault(tmp_path):
    save_cursor(tmp_path, "mlflow", CURSOR)
    path = cursor_path(tmp_path, "mlflow")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "later": 1}))
    assert load_cursor(tmp_path, "mlflow") == CURSOR


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_that_cannot_be_a_files_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="can't name a backend"):
        cursor_path(tmp_path, name)


@pytest.mark.parametrize(
    ("offset", "start"),
    [(0, 0), (5, 5), (10, 10), (3, 0), (9, 0), (11, 0), (10**12, 0)],
)
def test_reading_starts_where_a_line_begins_else_at_the_beginning(tmp_path, offset, start):
    journal = tmp_path / "w.jsonl"
    journal.write_bytes(b"1234\n6789\n")
    assert start_of(journal, Position(offset=offset, seq=3)).offset == start
