"""Two runs hold the same or they don't, however they were written, and each difference is one sentence."""

from __future__ import annotations

import math

import journals
import msgspec
import pytest

from unitrack.backend import Lowering
from unitrack.content import content_of, differences, flattened
from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Media,
    MetricDefinition,
    Metrics,
    Params,
    Summary,
    System,
    Tags,
)
from unitrack.reader import Store

T = journals.START


def content(tmp_path, events, *, store="a", **fields):
    events = [*events, (T + 99, Tags, {})]  # all end at the same time
    journals.journal(tmp_path / store, "w", events, **fields)
    return content_of(Store(tmp_path / store).run("r"))


def rich():
    return [
        (T, Params, {"values": {"lr": 0.1, "model": {"layers": [1, 2], "empty": {}}, "odd": "NaN"}}),
        (T + 1, Metrics, {"values": {"loss": 1.0, "acc": "NaN"}, "step": 1}),
        (T + 2, Metrics, {"values": {"loss": 0.5, "acc": "Infinity"}, "step": 2.5}),
        (T + 2, Metrics, {"values": {"free": 3}}),
        (T + 2, System, {"values": {"cpu": 40.0}}),
        (T + 3, Summary, {"values": {"best": 0.5, "why": {"note": "fine"}}}),
        (T + 3, MetricDefinition, {"name": "loss", "goal": "minimize"}),
        (T + 3, Tags, {"add": ["good"], "values": {"owner": "mia"}}),
        (T + 4, Artifact, {"name": "w.pt", "kind": "model", "digest": "sha256:" + "a" * 64, "size": 1}),
        (T + 4, Media, {"name": "note", "kind": "text", "format": "txt", "inline": "hello"}),
        (T + 4, DatasetUsed, {"name": "train", "digest": "d1", "split": "train"}),
        (T + 4, Capture, {"name": "git", "values": {"commit": "abc"}}),
        (T + 4, Capture, {"name": "import", "values": {"origin": "there"}}),
        (T + 5, Alert, {"title": "look", "text": "closely"}),
    ]


def test_a_run_holds_what_was_logged_apart_from_how_it_was_written(tmp_path):
    held = content(tmp_path, rich())
    assert held.params == {
        "lr": 0.1,
        "model/layers": [1, 2],
        "model/empty": {},
        "odd": pytest.approx(math.nan, nan_ok=True),
    }
    assert (held.status, held.started, held.ended) == ("finished", T, T + 99)
    assert list(held.metrics["loss"]) == [(1.0, T + 1, 1.0), (2.5, T + 2, 0.5)]
    assert list(held.system["cpu"].values) == [40.0]
    assert held.summary == {"best": 0.5, "why/note": "fine"}, "what metrics imply is no part of it"
    assert held.definitions == {"loss": ("minimize", None, None)}
    assert (held.tags, held.tag_values) == (("good",), {"owner": "mia"})
    assert held.artifacts["output w.pt"].kind == "model"
    assert held.captures == {"git/commit": "abc"}, "where a run was imported from is about the copy"
    assert held.alerts == (("info", "look", "closely"),)


def test_a_run_equals_itself_written_in_another_order_by_two_writers(tmp_path):
    one = content(tmp_path, rich())
    events = rich()
    journals.journal(tmp_path / "b", "v", [*events[::2], (T + 99, Tags, {})])
    journals.journal(tmp_path / "b", "w", events[1::2], rank=1)
    assert differences(one, content_of(Store(tmp_path / "b").run("r"))) == []


@pytest.mark.parametrize("name", ["params", "metrics", "summary", "tags"])
def test_an_empty_run_lacks_everything(tmp_path, name):
    one = content(tmp_path, rich())
    other = content(tmp_path, [], store="b")
    found = differences(one, other)
    word = {
        "params": "param 'lr'",
        "metrics": "metric 'loss' (2 points)",
        "summary": "summary value 'best'",
        "tags": "tag 'good'",
    }
    assert any(each.startswith(word[name]) and each.endswith("missing in the second") for each in found), found
    assert len(differences(other, one)) == len(found)


CHANGES = {
    "param 'lr' is 0.1 and 0.2": (0, {"values": {"lr": 0.2, "model": {"layers": [1, 2], "empty": {}}, "odd": "NaN"}}),
    "metric 'loss' differs in 1 of 2 points": (1, {"values": {"loss": 2.0, "acc": "NaN"}, "step": 1}),
    "metric 'acc' differs in 1 of 2 points": (1, {"values": {"loss": 1.0, "acc": 0.0}, "step": 1}),
    "metric 'free' differs in 1 of 1 points": (3, {"values": {"free": 3}, "step": 0}),
    "machine metric 'cpu' differs": (4, {"values": {"cpu": 41.0}}),
    "summary value 'why/note' is 'fine' and 'odd'": (5, {"values": {"best": 0.5, "why": {"note": "odd"}}}),
    "metric definition 'loss'": (6, {"name": "loss", "goal": "maximize"}),
    "tag 'owner' is 'mia' and 'tom'": (7, {"add": ["good"], "values": {"owner": "tom"}}),
    "artifact 'output w.pt'": (8, {"name": "w.pt", "kind": "model", "digest": "sha256:" + "b" * 64, "size": 1}),
    "media 'note'": (9, {"name": "note", "kind": "text", "format": "txt", "inline": "bye"}),
    "dataset 'train'": (10, {"name": "train", "digest": "d2", "split": "train"}),
    "capture 'git/commit' is 'abc' and 'abd'": (11, {"name": "git", "values": {"commit": "abd"}}),
    "alert 'look'": (13, {"title": "look", "text": "away"}),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_one_change_is_told(tmp_path, sentence):
    place, fields = CHANGES[sentence]
    changed = rich()
    changed[place] = (*changed[place][:2], fields)
    found = differences(content(tmp_path, rich()), content(tmp_path, changed, store="b"))
    assert found, "it must be noticed"
    assert all(each.startswith(sentence) for each in found), found


def test_who_a_run_is_and_how_it_ended_is_compared(tmp_path):
    one = content(tmp_path, [])
    other = msgspec.structs.replace(one, parent="p", status="failed", ended=one.ended + 1)
    assert [each.split(" is ")[0] for each in differences(one, other)] == ["parent", "status", "ended"]


def test_times_are_equal_within_a_millisecond_and_not_beyond(tmp_path):
    one = content(tmp_path, [(T + 1.0004, Metrics, {"values": {"a": 1.0}})])
    near = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 1.0}})], store="b")
    far = content(tmp_path, [(T + 1.003, Metrics, {"values": {"a": 1.0}})], store="c")
    assert differences(one, near) == []
    assert "metric 'a' differs in 1 of 1 points" in differences(one, far)[0]


def lowering(kind, name):
    return [Lowering(kind=kind, name=name, detail="told")]


def test_what_lowering_told_is_no_difference_and_what_it_didnt_is(tmp_path):
    one = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 1.0, "b": 2.0}, "step": 1.5})])
    other = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 1.0, "b": 2.0}, "step": 1})], store="b")
    (found,) = differences(one, other, lowering("step", "a"))
    assert found.startswith("metric 'b'")
    assert differences(one, other, lowering("step", "(none)")) == []
    assert len(differences(one, other, lowering("non-finite", "a"))) == 2, "another kind explains nothing"


def test_a_step_that_was_lowered_doesnt_hide_a_changed_value(tmp_path):
    one = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 1.0}, "step": 1.5})])
    other = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 9.0}, "step": 1})], store="b")
    assert len(differences(one, other, lowering("step", "a"))) == 1


def test_infinities_that_became_large_numbers_or_were_left_out_are_explained(tmp_path):
    one = content(tmp_path, [(T, Metrics, {"values": {"a": "Infinity"}}), (T + 1, Metrics, {"values": {"a": 1.0}})])
    large = content(
        tmp_path,
        [(T, Metrics, {"values": {"a": 1.7976931348623157e308}}), (T + 1, Metrics, {"values": {"a": 1.0}})],
        store="b",
    )
    short = content(tmp_path, [(T + 1, Metrics, {"values": {"a": 1.0}})], store="c")
    none = content(tmp_path, [(T, Metrics, {"values": {"a": "Infinity"}})], store="d")
    told = lowering("non-finite", "a")
    assert differences(one, large, told) == differences(one, short, told) == []
    assert differences(one, none, told) == ["metric 'a' has 1 points and 0"]


def test_points_that_a_tracker_cant_tell_apart_count_once_if_it_said_so(tmp_path):
    twice = [
        (T + 0.0001, Metrics, {"values": {"a": 1.0}, "step": 1}),
        (T + 0.0002, Metrics, {"values": {"a": 1.0}, "step": 1}),
    ]
    one, other = content(tmp_path, twice), content(tmp_path, twice[:1], store="b")
    assert differences(one, other) == ["metric 'a' has 2 points and 1"]
    assert differences(one, other, lowering("repeat", "a")) == []


def test_an_event_type_that_a_tracker_has_no_place_for_explains_all_of_it(tmp_path):
    one, other = content(tmp_path, rich()), content(tmp_path, rich()[:-1], store="b", status="finished")
    told = [*lowering("event", "alert"), *lowering("time", "ended")]
    assert differences(one, other, told) == []


def test_params_are_flat_and_an_empty_dict_is_one():
    assert flattened({"a": {"b": 1, "c": {}}, "d/e": 2}) == {"a/b": 1, "a/c": {}, "d/e": 2}


def test_numbers_kept_in_32_bits_are_explained_if_that_was_told(tmp_path):
    one = content(tmp_path, [(T, Metrics, {"values": {"a": 0.1}, "step": 1})])
    other = content(tmp_path, [(T, Metrics, {"values": {"a": 0.10000000149011612}, "step": 1})], store="b")
    off = content(tmp_path, [(T, Metrics, {"values": {"a": 0.1001}, "step": 1})], store="c")
    assert len(differences(one, other)) == 1
    assert differences(one, other, lowering("precision", "a")) == []
    assert len(differences(one, off, lowering("precision", "a"))) == 1


def test_an_end_or_a_parent_that_a_tracker_cant_hold_is_explained_by_kind(tmp_path):
    one = msgspec.structs.replace(content(tmp_path, []), status="killed", parent="p")
    other = msgspec.structs.replace(one, status="failed", parent=None)
    assert len(differences(one, other)) == 2
    assert differences(one, other, [*lowering("status", "killed"), *lowering("parent", "p")]) == []
