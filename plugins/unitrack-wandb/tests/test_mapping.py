"""The mapping, event by event: what W&B is told, and what is told to the user. No client is imported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import events
from unitrack.backend import Record
from unitrack.errors import ConfigError
from unitrack.lowering import Lowerings, NameMap, choose_policies
from unitrack_wandb import WandbFactory
from unitrack_wandb._mapping import KINDS, Mapper
from unitrack_wandb._names import (
    LONGEST_ARTIFACT,
    LONGEST_METRIC,
    LONGEST_TAG,
    clean_alias,
    clean_artifact,
    clean_metric,
    clean_param,
    clean_tag,
    from_run_key,
    to_run_key,
)  # fmt: skip
from unitrack_wandb._plan import ConfigOp, DefineOp, FileOp, Row, SendAlertOp, State, SummaryOp, TagsOp
from unitrack_wandb._summary import Summarizer


def mapped(*made, state=None, rank=None, **policies):
    lowerings = Lowerings(choose_policies(KINDS, policies, section="s"))
    mapper = Mapper(state or State(), lowerings, started=100.0)
    ops, rejected = mapper.map([Record(writer="w", event=event, rank=rank) for event in made])
    return ops, rejected, [(one.kind, one.name) for one in lowerings.all], mapper.state


def test_a_row_is_an_event_with_its_own_step_its_identity_and_its_time():
    ops, _, told, state = mapped(events.Metrics(5, 100.5, {"train/loss": 0.5, "n": 3, "ok": True}, 7))
    assert ops == [
        DefineOp("train/loss", "unitrack/step"), DefineOp("n", "unitrack/step"), DefineOp("ok", "unitrack/step"),
        Row([("train/loss", "0.5"), ("n", "3"), ("ok", "true")], "w:5", 100.5, "7", True),
    ]  # fmt: skip
    assert told == []
    assert state.writers == {"w": 5}


@pytest.mark.parametrize("step", [0, -3, 2.5, 1e300, 2**63 - 1])
def test_no_step_is_lowered(step):
    ops, _, told, _ = mapped(events.Metrics(1, 1.0, {"m": 1.0}, step))
    assert json.loads(ops[-1].step) == step
    assert told == []


def test_a_metric_without_a_step_has_w_and_bs_own_axis_until_it_has_one():
    ops, *_ = mapped(events.Metrics(1, 1.0, {"m": 1.0}), events.Metrics(2, 1.0, {"m": 1.0}, 3))
    assert [op for op in ops if isinstance(op, DefineOp)] == [DefineOp("m", None), DefineOp("m", "unitrack/step")] or [
        op for op in ops if isinstance(op, DefineOp)
    ] == [DefineOp("m", "unitrack/step")]


def test_what_is_not_finite_stands_as_w_and_bs_words():
    ops, _, told, _ = mapped(events.Metrics(1, 1.0, {"a": "NaN", "b": "Infinity", "c": "-Infinity"}, 1))
    assert ops[-1].values == [("a", "NaN"), ("b", "Infinity"), ("c", "-Infinity")]
    assert told == []


def test_a_reserved_name_is_mapped_and_the_config_holds_the_way_back():
    ops, _, told, state = mapped(events.Metrics(1, 1.0, {"_step": 1.0}, 1))
    (key,) = state.names["metric"]
    assert key.startswith("user/_step-")
    assert ops[-1] == ConfigOp("unitrack", {"names": {"metric": {key: "_step"}}})
    assert told == [("name", "_step")]


def test_records_that_are_there_are_passed_over():
    state = State(writers={"w": 3}, refused=[("w", 2)])
    made = [events.Metrics(seq, 1.0, {"m": float(seq)}, seq) for seq in (1, 2, 3, 4)]
    ops, _, _, state = mapped(*made, state=state)
    assert [op.event for op in ops if isinstance(op, Row)] == ["w:2", "w:4"]
    assert state.refused == []


def test_a_refused_record_leaves_no_op_and_may_come_again():
    made = [events.Metrics(1, 1.0, {"_wandb": 1.0}, 1), events.Metrics(2, 1.0, {"m": 1.0}, 1)]
    ops, rejected, _, state = mapped(*made, name="fail")
    assert [op.event for op in ops if isinstance(op, Row)] == ["w:2"]
    assert "policy is `fail`" in rejected[0].reason
    assert (state.refused, state.writers) == ([("w", 1)], {"w": 2})


def test_params_are_nested_and_later_ones_change_them():
    made = [events.Params(1, 1.0, {"a": {"b": 1, "c": 2}}), events.Params(2, 1.0, {"a": {"c": "NaN"}})]
    ops, _, told, _ = mapped(*made)
    assert ops == [ConfigOp("a", {"b": 1, "c": 2}), ConfigOp("a", {"b": 1, "c": "NaN"})]
    assert told == [("non-finite", "a/c")]


def test_tags_are_words_and_tags_with_text_are_config():
    event = events.Tags(seq=1, time=1.0, add=["a", "b"], remove=["a"], values={"owner": "me"})
    ops, _, told, _ = mapped(event)
    assert ops == [TagsOp(("b",)), ConfigOp("unitrack", {"tags": {"owner": "me"}})]
    assert told == [("tag", "owner")]


def test_a_definition_says_axis_goal_and_summary():
    event = events.MetricDefinition(seq=1, time=1.0, name="acc", goal="maximize", summary="max", step="epoch")
    ops, *_ = mapped(event, events.Metrics(2, 1.0, {"acc": 1.0}, 4))
    assert ops[1] == DefineOp("acc", "epoch", "maximize", "max")
    assert [op for op in ops[2:] if isinstance(op, DefineOp)] == []


def test_a_summary_by_hand_wins_over_a_later_metric_of_the_name():
    ops, *_ = mapped(events.Summary(1, 1.0, {"best": {"x": 1}}), events.Metrics(2, 1.0, {"best": 1.0}, 1))
    assert ops[:2] == [SummaryOp("best", {"x": 1}), ConfigOp("unitrack", {"summary": {"best": {"x": 1}}})]
    assert DefineOp("best", "unitrack/step", None, "none") in ops


def test_a_histogram_of_many_bins_is_merged_and_can_be_kept_whole():
    inline = {"edges": list(range(1026)), "counts": [1] * 1025, "nan": 0, "inf": 2}
    event = events.Media(seq=1, time=1.0, name="h", kind="histogram", format="json", inline=inline)
    ops, _, told, _ = mapped(event, histogram="artifact")
    value = json.loads(dict(ops[-1].values)["h"])
    assert (len(value["values"]), sum(value["values"]), value["bins"][-1]) == (342, 1025, 1025)
    assert json.loads(next(op for op in ops if isinstance(op, FileOp)).data) == inline
    assert told == [("histogram", "h")]


@pytest.mark.parametrize(
    ("kind", "form", "type_", "folder"),
    [
        ("image", "png", "image-file", "images"), ("figure", "plotly.json", "plotly-file", "plotly"),
        ("figure", "svg", "html-file", "html"), ("html", "html", "html-file", "html"),
        ("audio", "wav", "audio-file", "audio"), ("video", "mp4", "video-file", "videos"),
        ("table", "json", "table-file", "table"), ("file", "bin", "file", "file"),
    ],
)  # fmt: skip
def test_media_are_w_and_bs_own_types(kind, form, type_, folder):
    event = events.Media(seq=1, time=1.0, name="m", kind=kind, format=form, step=2, digest="sha256:" + "a" * 64, size=3)
    ops, *_ = mapped(event)
    value = json.loads(dict(ops[-1].values)["m"])
    assert value["_type"] == type_
    assert value["path"].startswith(f"media/{folder}/m_2_aaaa")
    assert value["path"] == next(op for op in ops if isinstance(op, FileOp)).path


def test_an_alert_keeps_its_level_and_a_long_title_its_text():
    ops, *_ = mapped(events.Alert(seq=1, time=1.0, title="t" * 70, text="x", level="error"))
    assert ops == [SendAlertOp("t" * 63, "t" * 70 + "\nx", "ERROR")]


def test_an_event_of_a_later_version_is_told():
    _, _, told, _ = mapped(events.Unknown(type="new", seq=1, time=1.0, raw={}))
    assert told == [("event", "new")]


@given(st.lists(st.text(max_size=40), unique=True, max_size=30))
def test_names_come_back_and_no_two_share_a_key(names):
    for clean, longest in [
        (clean_metric, LONGEST_METRIC), (clean_param, LONGEST_METRIC), (clean_artifact, LONGEST_ARTIFACT),
        (clean_alias, LONGEST_ARTIFACT), (clean_tag, LONGEST_TAG),
    ]:  # fmt: skip
        names_map = NameMap(clean, longest=longest)
        keys = [names_map.key(name) for name in names]
        assert len(set(keys)) == len(names)
        assert [names_map.name(key) for key in keys] == names
        assert all(1 <= len(key) <= longest for key in keys)
        assert not any(
            key.startswith(("_step", "_timestamp", "_runtime", "unitrack/")) for key in keys if clean is clean_metric
        )


@given(st.text(min_size=1, max_size=60))
def test_run_ids_come_back_and_hold_nothing_that_is_refused(run_id):
    key = to_run_key(run_id)
    assert from_run_key(key) == run_id
    assert not set(key) & set(":;,#?/'")


@pytest.mark.parametrize(
    ("summary", "told"), [("min", 1.0), ("max", 3.0), ("first", 2.0), ("mean", 2.0), ("none", None), ("last", 3.0)]
)
def test_the_summary_is_what_the_definition_asks_for(summary, told):
    state = State()
    summarizer = Summarizer(state)
    summarizer.define("m", summary)
    for index, value in enumerate(["2.0", "1.0", "NaN", "3.0"]):
        if value != "NaN" or summary != "mean":
            summarizer.add([Row([("m", value)], f"w:{index}", 1.0, None, True)])
    found = {key: json.loads(text) for key, text in summarizer.news().items()}
    assert found.get("m") == (told if summary in ("last", "none") else {summary: told})


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "disabled"},
        {"batch": 0},
        {"colour": 1},
        {"lowering": {"name": "artifact"}},
        {"lowering": {"x": "skip"}},
    ],
)
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigError, match=r"mode|batch|colour|name|x"):
        WandbFactory().create(options)
