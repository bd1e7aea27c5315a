"""Damaged runs read as far as they can be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import START, journal, metrics

from unitrack.errors import JournalError
from unitrack.events import (
    Console,
    Metrics,
    Params,
    RunStarted,
    Summary,
)
from unitrack.journal.codec import decode_line
from unitrack.reader import get_run, runs


def whole_journal(tmp_path):
    events = [
        (START, RunStarted, {"project": "p"}),
        (START + 1, Params, {"values": {"name": "ünï", "x": 1}}),
        metrics(START + 2, step=1, loss=1.0, acc=0.5),
        metrics(START + 3, loss=2.0),
        (START + 4, Console, {"stream": "stdout", "text": "hello"}),
        (START + 5, Summary, {"values": {"a": 1}}),
    ]
    return journal(tmp_path, "w", events)


def test_any_prefix_of_a_journal_reads_as_a_prefix_of_its_events(tmp_path):
    path = whole_journal(tmp_path)
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        view = get_run("r", dir=tmp_path)
        events = [decode_line(line) for line in data[:cut].splitlines(keepends=True) if line.endswith(b"\n")]
        assert [event for _, event in view.events()] == events
        losses = [event.values["loss"] for event in events if isinstance(event, Metrics)]
        assert [row["loss"] for row in view.history()] == losses
        assert view.status == ("finished" if cut == len(data) else "killed")
        assert view.params == ({"name": "ünï", "x": 1} if len(events) > 2 else {})
        assert bool(view.problems) == (cut == 0 or not data[:cut].endswith(b"\n"))
        assert not view.damaged


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=60), place=st.integers(1, 6))
def test_damage_raises_on_access_is_told_in_listings_and_is_read_past_with_salvage(tmp_path_factory, noise, place):
    store = tmp_path_factory.mktemp("store")
    path = whole_journal(store)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = b"\xff" + noise.replace(b"\n", b"") + b"\n"
    path.write_bytes(b"".join(lines))
    (listed,) = runs(dir=store)
    view = get_run("r", dir=store)
    for each in (listed, view):
        assert (each.damaged, each.status) == (True, "finished")
        assert f"w.jsonl: line {place + 1}" in each.problems[0]
        for access in (lambda: each.params, lambda: each.summary, lambda: each.artifacts, lambda: each.series("loss")):  # noqa: B023
            with pytest.raises(JournalError, match=f"w.jsonl: .*line {place + 1}.*salvage"):
                access()
    with pytest.raises(JournalError):
        list(view.events())
    salvaged = get_run("r", dir=store, salvage=True)
    left = [decode_line(line).values["loss"] for line in lines[3:5] if not line.startswith(b"\xff")]
    assert [row["loss"] for row in salvaged.history()] == left
    assert len(list(salvaged.events())) == 7


def test_events_that_are_gone_from_the_middle_are_damage(tmp_path):
    path = whole_journal(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[3:5]
    path.write_bytes(b"".join(lines))
    view = get_run("r", dir=tmp_path)
    assert view.problems == ("w.jsonl: events 4 to 5 are missing",)
    with pytest.raises(JournalError, match="events 4 to 5 are missing"):
        view.params  # noqa: B018


def test_a_journal_of_noise_is_told_in_a_few_lines(tmp_path):
    path = tmp_path / "runs" / "r" / "journal" / "w.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"noise\n" * 50_000)
    view = get_run("r", dir=tmp_path)
    assert (view.status, view.project, len(view.problems)) == ("killed", "", 21)
    assert "49980 more lines" in view.problems[-1]


def test_a_seq_that_jumps_far_ahead_costs_nothing_that_follows(tmp_path):
    path = journal(tmp_path, "w", [metrics(START, loss=1), metrics(START, loss=2), metrics(START, loss=3)], status=None)
    path.write_bytes(path.read_bytes().replace(b'"seq":3,', b'"seq":9000000,'))
    assert list(get_run("r", dir=tmp_path, salvage=True).series("loss").values) == [1, 2, 3]


def test_unknown_events_are_passed_over(tmp_path):
    path = journal(tmp_path, "w", [metrics(START, loss=1)], status=None)
    with path.open("ab") as file:
        file.write(json.dumps({"type": "hologram", "seq": 3, "time": START}).encode() + b"\n")
    view = get_run("r", dir=tmp_path)
    assert (view.problems, view.writers[0].events, len(view.series("loss"))) == ((), 3, 1)
