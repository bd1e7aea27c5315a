"""The mapping, event by event: what MLflow is told, and what is told to the user. No client is imported."""

from __future__ import annotations

import hashlib
import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import events
from unitrack.backend import Record
from unitrack_mlflow._mapping import to_plan
from unitrack_mlflow._names import LONGEST, to_key, to_path
from unitrack_mlflow._plan import Held, Point


def plan(*made, held=None, rank=None, started=100.0):
    records = [Record(writer="w", event=event, rank=rank) for event in made]
    return to_plan(records, held or Held(), started=started)


def lowered(found):
    return [(one.kind, one.name) for one in found.lowered]


def metrics(values, step=1, time=100.5, seq=1):
    return events.Metrics(seq, time, values, step)


# -- metrics ---------------------------------------------------------------------------------------


def test_numbers_keep_their_name_step_and_time_in_milliseconds():
    found = plan(metrics({"train/loss": 0.5, "n": 3, "ok": True}, 7, 1700000000.1234))
    stamp = 1700000000123
    assert found.points == [Point("train/loss", 0.5, stamp, 7), Point("n", 3.0, stamp, 7), Point("ok", 1.0, stamp, 7)]
    assert found.lowered == ()


def test_nan_stays_and_infinity_becomes_the_largest_float():
    found = plan(metrics({"a": "NaN", "b": "Infinity", "c": "-Infinity"}))
    a, b, c = (point.value for point in found.points)
    assert math.isnan(a)
    assert (b, c) == (sys.float_info.max, -sys.float_info.max)
    assert lowered(found) == [("non-finite", "b"), ("non-finite", "c")]


@pytest.mark.parametrize(
    ("step", "whole", "told"),
    [
        (None, 0, "(none)"), (2.5, 2, "m"), (-2.5, -3, "m"), (3.0, 3, None), (-4, -4, None), (0, 0, None),
        (2**63 - 1, 2**63 - 1, None), (2**63, 2**63 - 1, "m"), (-(2**63), -(2**63), None), (-1e300, -(2**63), "m"),
    ],
)  # fmt: skip
def test_steps_become_64_bit_integers(step, whole, told):
    found = plan(metrics({"m": 1.0}, step))
    assert found.points[0].step == whole
    assert lowered(found) == ([] if told is None else [("step", told)])


def test_an_integer_that_a_float_cannot_hold_is_told():
    found = plan(metrics({"fine": 2**53, "not": 2**53 + 1}))
    assert lowered(found) == [("precision", "not")]


def test_the_same_point_twice_within_a_millisecond_is_told():
    assert lowered(plan(metrics({"m": 1.0}), metrics({"m": 1.0}, seq=2))) == [("repeat", "m")]
    assert lowered(plan(metrics({"m": 1.0}), metrics({"m": 2.0}, seq=2))) == []


def test_ranks_share_their_metrics_and_have_system_metrics_of_their_own():
    assert plan(metrics({"loss": 1.0}), rank=3).points[0].key == "loss"
    event = events.System(1, 107.9, {"cpu": 50})
    assert plan(event, rank=0).points == [Point("system/cpu", 50.0, 107900, 7)]
    assert plan(event, rank=3).points[0].key == "system/rank3/cpu"


# -- names -----------------------------------------------------------------------------------------


def test_a_name_mlflow_refuses_is_cleaned_and_can_be_had_back():
    found = plan(metrics({"mAP@50": 1.0, "loss[delta=1]": 2.0}))
    for point, name in zip(found.points, ["mAP@50", "loss[delta=1]"], strict=True):
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        assert point.key.endswith(mark)
        assert found.tags[f"unitrack.name.{mark}"] == name
    assert found.points[0].key.startswith("mAP_50-")
    assert lowered(found) == [("name", "mAP@50"), ("name", "loss[delta=1]")]


def test_names_mlflow_takes_stay():
    for name in ("a", "train/loss", "a b", "a.b-c_d:e", "übung/größe", "x" * LONGEST, "...a", "1"):
        assert to_key(name).text == name


@given(st.lists(st.text(min_size=1, max_size=300) | st.sampled_from(["a@b", "a_b", "a b", "a/../b", "/a", "a/", "."])))
def test_no_two_names_share_a_key_and_every_key_is_valid(names):
    from unitrack_mlflow._names import _BAD, _is_plain

    keys = {name: to_key(name).text for name in names}
    assert len(set(keys.values())) == len(keys)
    for key in keys.values():
        assert 0 < len(key) <= LONGEST
        assert not _BAD.search(key)
        assert _is_plain(key)


@pytest.mark.parametrize("name", ["a//b", "../x", "/a", "a/", ".", "..", "a/./b", "x" * 251, "a\n", "a\x00b", "a%b"])
def test_a_prefix_counts_and_bad_paths_are_mended(name):
    key = to_key(name, "unitrack.param.")
    assert key.mark is not None
    assert key.text.startswith("unitrack.param.")
    assert len(key.text) <= LONGEST


def test_artifact_paths_keep_their_extension():
    assert to_path("models/best model.pt").text == "models/best model.pt"
    lowered_path = to_path("data#1.csv").text
    assert lowered_path.startswith("data_1-")
    assert lowered_path.endswith(".csv")
    assert to_path("a%20b.txt").text != to_path("a_20b.txt").text


# -- params ----------------------------------------------------------------------------------------


def test_params_are_flattened_and_spelled_as_python_spells_them():
    values = {
        "lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99], "more": {}}, "flag": True, "none": None,
        "nan": "NaN", "text": "\\NaN", "empty": "",
    }  # fmt: skip
    assert plan(events.Params(1, 1.0, values)).params == {
        "lr": "0.1", "opt/name": "adam", "opt/betas": "[0.9, 0.99]", "opt/more": "{}", "flag": "True", "none": "None",
        "nan": "nan", "text": "NaN", "empty": "",
    }  # fmt: skip


def test_a_long_param_is_whole_as_an_artifact_and_short_with_its_digest():
    text = "x" * 6001
    found = plan(events.Params(1, 1.0, {"fits": "x" * 6000, "long": text}))
    assert found.params["fits"] == "x" * 6000
    assert hashlib.sha256(text.encode()).hexdigest() in found.params["long"]
    assert len(found.params["long"]) <= 6000
    (upload,) = found.uploads
    assert (upload.path, upload.data) == ("unitrack/params/long.txt", text.encode())
    assert lowered(found) == [("param-length", "long")]


def test_a_changed_param_keeps_its_first_value_and_has_the_last_one_as_a_tag():
    first, second = events.Params(1, 1.0, {"lr": 0.1}), events.Params(2, 2.0, {"lr": 0.2})
    found = plan(first, second)
    assert found.params == {"lr": "0.1"}
    assert found.tags == {"unitrack.param.lr": "0.2"}
    assert lowered(found) == [("param-changed", "lr")]
    replay = plan(first, second, held=Held(params={"lr": "0.1"}, tags={"unitrack.param.lr": "0.2"}))
    assert replay.tags == {"unitrack.param.lr": "0.2"}
    back = plan(first, held=Held(params={"lr": "0.1"}, tags={"unitrack.param.lr": "0.2"}))
    assert back.tags == {"unitrack.param.lr": "0.1"}, "the tag tells the last value, also when it is the first again"


def test_the_same_param_again_is_no_change():
    found = plan(events.Params(1, 1.0, {"lr": 0.1}), held=Held(params={"lr": "0.1"}))
    assert (found.params, found.tags, found.lowered) == ({}, {}, ())


# -- summary, tags, captures -------------------------------------------------------------------------


def test_summary_numbers_are_metrics_of_their_own_and_texts_are_tags():
    found = plan(events.Summary(1, 2.0, {"best": {"acc": 0.9}, "note": "good", "bad": "NaN"}))
    assert found.points[0] == Point("summary/best/acc", 0.9, 2000, 0)
    assert math.isnan(found.points[1].value)
    assert found.tags == {"unitrack.summary.note": "good"}


def test_tags_are_set_and_removed_in_order_and_keep_out_of_reserved_names():
    found = plan(
        events.Tags(1, 1.0, add=["old", "new"], values={"mlflow.user": "me", "k": "v"}),
        events.Tags(2, 2.0, remove=["old"]),
    )
    assert found.tags == {"old": None, "new": "true", "unitrack.tag.mlflow.user": "me", "k": "v"}


def test_a_long_tag_is_whole_as_an_artifact():
    found = plan(events.Tags(1, 1.0, values={"k": "x" * 8001}))
    assert len(found.tags["k"]) < 8000
    assert found.uploads[0].data == b"x" * 8001
    assert lowered(found) == [("tag-length", "k")]


def test_the_commit_is_where_mlflow_looks_for_it():
    found = plan(events.Capture(1, 1.0, name="git", values={"commit": "abc", "dirty": True, "patch": {"size": 3}}))
    assert found.tags["mlflow.source.git.commit"] == "abc"
    assert found.tags["unitrack.git.dirty"] == "True"
    assert "unitrack.git.patch/size" not in found.tags
    assert json.loads(found.uploads[0].data) == {"commit": "abc", "dirty": True, "patch": {"size": 3}}


def test_captures_of_other_ranks_do_not_replace_the_first_ones():
    found = plan(events.Capture(1, 1.0, name="git", values={"commit": "abc"}), rank=2)
    assert found.tags == {}
    assert found.uploads[0].path == "unitrack/captures/rank2/git.json"


# -- files, data, the rest ---------------------------------------------------------------------------


def artifact(digest="sha256:" + "a" * 64, **fields):
    return events.Artifact(1, 1.0, **{"name": "model.pt", "kind": "model", "digest": digest, "size": 3, **fields})


def test_an_artifact_is_uploaded_under_its_name_and_told_in_a_tag():
    found = plan(artifact(aliases=["best"]))
    assert [(up.path, up.digest, up.tree) for up in found.uploads] == [("model.pt", "sha256:" + "a" * 64, False)]
    assert json.loads(found.tags["unitrack.artifact.model.pt"])["aliases"] == ["best"]


def test_an_artifact_that_is_there_is_not_uploaded_again_and_a_new_version_is_told():
    tags = {key: value for key, value in plan(artifact()).tags.items() if value is not None}
    assert plan(artifact(), held=Held(tags=tags)).uploads == []
    again = plan(artifact("sha256:" + "b" * 64), held=Held(tags=tags))
    assert len(again.uploads) == 1
    assert lowered(again) == [("artifact-version", "model.pt")]


def test_inputs_and_references_are_tags_only():
    found = plan(artifact(use="input"), artifact(None, name="far", uri="s3://b/k"))
    assert found.uploads == []
    assert set(found.tags) == {"unitrack.input.model.pt", "unitrack.artifact.far"}


def test_media_have_their_step_and_content_in_their_path():
    digest = "sha256:" + "0123456789abcdef" * 4
    image = events.Media(1, 1.0, name="samples/a", kind="image", format="png", step=3, digest=digest, caption="cat")
    text = events.Media(2, 1.0, name="note", kind="text", format="txt", inline="hello")
    half = events.Media(3, 1.0, name="h", kind="histogram", format="json", step=0.5, inline={"counts": [1]})
    found = plan(image, text, half)
    mark = hashlib.sha256(b"hello").hexdigest()[:8]
    paths = [upload.path for upload in found.uploads]
    assert paths[:3] == [
        "media/samples/a/step-3-01234567.png", "media/samples/a/step-3-01234567.about.json", f"media/note/{mark}.txt",
    ]  # fmt: skip
    assert paths[3].startswith("media/h/step-0.5-")
    assert lowered(found) == [("histogram", "h")]


def test_a_dataset_has_a_short_digest_and_all_of_it_in_a_tag():
    digest = "sha256:" + "c" * 64
    found = plan(
        events.DatasetUsed(
            1, 1.0, name="train", uri="s3://b/t", digest=digest, split="train", rows=3, columns=[["x", "double"]]
        )
    )
    (use,) = found.datasets
    assert (use.digest, use.source_type, use.context) == ("c" * 36, "s3", "train")
    assert json.loads(use.schema) == {"mlflow_colspec": [{"name": "x", "type": "double"}]}
    assert found.tags == {"unitrack.dataset.train": digest}
    assert lowered(found) == [("dataset-digest", "train")]


def test_nothing_is_left_out_in_silence():
    found = plan(
        events.Console(1, 1.0, stream="stdout", text="x"),
        events.Alert(2, 1.0, title="t"),
        events.Unknown("later", 3, 1.0, {}),
        events.MetricDefinition(4, 1.0, name="acc", goal="maximize"),
    )
    assert lowered(found) == [("event", "console"), ("event", "alert"), ("event", "later")]
    assert json.loads(found.tags["unitrack.metric.acc"]) == {"goal": "maximize"}


def test_every_type_of_event_has_a_place():
    from typing import get_args

    from unitrack_mlflow._mapping import _HANDLERS

    assert {*get_args(events.Known)} == {*_HANDLERS, events.Metrics, events.System}
