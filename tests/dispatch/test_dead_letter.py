"""A dead letter is the whole record, once, with its reason."""

from __future__ import annotations

import json

from unitrack.backend import Record, Rejection
from unitrack.dispatch.dead_letter import append_dead, dead_path, read_dead, replace_dead
from unitrack.events import Metrics, Unknown


def letter(seq=1, reason="no"):
    return Rejection(record=Record(writer="w", rank=2, event=Metrics(seq, 1.5, {"loss": 0.5}, seq)), reason=reason)


def test_it_comes_back_whole(tmp_path):
    append_dead(tmp_path, "mlflow", [letter(1), letter(2, "too long")])
    first, second = read_dead(tmp_path, "mlflow")
    assert first == letter(1)
    assert (second.reason, second.record.rank) == ("too long", 2)


def test_it_is_readable_by_people(tmp_path):
    append_dead(tmp_path, "mlflow", [letter(1)])
    line = json.loads(dead_path(tmp_path, "mlflow").read_text())
    assert line["event"]["values"] == {"loss": 0.5}
    assert line["reason"] == "no"


def test_events_of_a_later_version_are_kept(tmp_path):
    raw = {"type": "later", "seq": 4, "time": 1.0, "x": [1]}
    append_dead(tmp_path, "m", [Rejection(record=Record(writer="w", event=Unknown("later", 4, 1.0, raw)), reason="?")])
    assert read_dead(tmp_path, "m")[0].record.event.raw == raw


def test_one_that_died_twice_is_there_once_with_its_last_reason(tmp_path):
    append_dead(tmp_path, "m", [letter(1), letter(1, "again")])
    assert [one.reason for one in read_dead(tmp_path, "m")] == ["again"]


def test_a_line_cut_by_a_crash_is_skipped(tmp_path):
    append_dead(tmp_path, "m", [letter(1)])
    with dead_path(tmp_path, "m").open("ab") as file:
        file.write(b'{"time":1')
    assert len(read_dead(tmp_path, "m")) == 1


def test_replacing_keeps_what_is_left_and_nothing_left_is_no_file(tmp_path):
    append_dead(tmp_path, "m", [letter(1), letter(2)])
    replace_dead(tmp_path, "m", [letter(2)])
    assert [one.record.event.seq for one in read_dead(tmp_path, "m")] == [2]
    replace_dead(tmp_path, "m", [])
    assert not dead_path(tmp_path, "m").exists()
    assert read_dead(tmp_path, "m") == []


def test_nothing_rejected_makes_no_file(tmp_path):
    append_dead(tmp_path, "m", [])
    assert not dead_path(tmp_path, "m").exists()
