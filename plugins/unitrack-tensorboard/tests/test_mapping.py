"""What each event becomes, without a file or a client."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import events
from unitrack.backend import Record
from unitrack.errors import ConfigError
from unitrack.lowering import Lowerings, choose_policies
from unitrack_tensorboard import TensorboardFactory
from unitrack_tensorboard._mapping import KINDS, Mapper
from unitrack_tensorboard._names import RESERVED, Tags
from unitrack_tensorboard._plan import Bins, Number, Shown, Text

DIGEST = "sha256:" + "ab" * 32


def plan(*some, rank=None, **policies):
    lowerings = Lowerings(choose_policies(KINDS, policies, section="lowering"))
    records = [Record(writer="w", event=event, rank=rank) for event in some]
    made = Mapper(Tags(lowerings), lowerings, started=100.0).plan(records)
    return made, [(one.kind, one.name) for one in lowerings.all if one.name != "(shown)"]


def media(**fields):
    return events.Media(seq=7, time=101.0, **{"name": "m", "step": 3, **fields})


NUMBERS = {
    "whole": (events.Metrics(2, 101.0, {"a": 0.5, "b": 3}, 4), 4, [Number("a", 0.5), Number("b", 3.0)], True),
    "true": (events.Metrics(2, 101.0, {"a": True}, 4), 4, [Number("a", 1.0)], True),
    "infinite": (events.Metrics(2, 101.0, {"a": "-Infinity"}, 4), 4, [Number("a", float("-inf"))], True),
    "negative step": (events.Metrics(2, 101.0, {"a": 1.0}, -4), -4, [Number("a", 1.0)], True),
    "integral float step": (events.Metrics(2, 101.0, {"a": 1.0}, 4.0), 4, [Number("a", 1.0)], True),
    "fractional step": (events.Metrics(2, 101.0, {"a": 1.0}, -0.5), -1, [Number("a", 1.0)], False),
    "no step": (events.Metrics(2, 101.0, {"a": 1.0}, None), 2, [Number("a", 1.0)], False),
    "huge step": (events.Metrics(2, 101.0, {"a": 1.0}, -1e300), -(2**63), [Number("a", 1.0)], False),
    "odd integer": (events.Metrics(2, 101.0, {"a": 2**53 + 1}, 1), 1, [Number("a", 2.0**53)], False),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case):
    event, step, values, exact = NUMBERS[case]
    (line,) = plan(event)[0].lines
    assert (line.step, line.values) == (step, values)
    assert (line.whole is None) == exact
    if not exact:
        assert msgspec.json.decode(line.whole, type=events.Metrics) == event


TEXTS = {
    "params": (
        events.Params(2, 101.0, {"a": {"b": "x|y\nz"}, "l": [1]}),
        Text("unitrack/params", "| name | value |\n| --- | --- |\n| a/b | x\\|y<br>z |\n| l | [1] |"),
    ),
    "tags": (
        events.Tags(seq=2, time=101.0, add=["t"], remove=["u"], values={"k": "v"}),
        Text("unitrack/tags", "- t\n- k = v\n- ~~u~~"),
    ),
    "alert": (events.Alert(seq=2, time=101.0, title="T", text="x"), Text("unitrack/alerts", "**info: T**\n\nx")),
    "capture": (
        events.Capture(seq=2, time=101.0, name="git", values={"c": 1}),
        Text("unitrack/captures/git", '    {\n      "c": 1\n    }'),
    ),
    "unknown": (
        events.Unknown("hologram", 2, 101.0, {"type": "hologram", "seq": 2, "time": 101.0}),
        Text("unitrack/hologram", '    {\n      "type": "hologram",\n      "seq": 2,\n      "time": 101.0\n    }'),
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(case):
    event, value = TEXTS[case]
    (line,) = plan(event)[0].lines
    assert (line.step, line.values) == (2, [value])
    assert line.whole is not None


MEDIA = {
    "png": (media(kind="image", format="png", digest=DIGEST), "image", 0),
    "figure": (media(kind="figure", format="jpg", digest=DIGEST), "figure", 0),
    "wav": (media(kind="audio", format="wav", digest=DIGEST), "audio", 0),
    "text": (media(kind="text", format="txt", digest=DIGEST), "text", 0),
    "webp": (media(kind="image", format="webp", digest=DIGEST), "image", 1),
    "table": (media(kind="table", format="json", digest=DIGEST), "table", 1),
    "svg": (media(kind="image", format="svg", digest=DIGEST), None, 1),
    "plotly": (media(kind="figure", format="plotly.json", digest=DIGEST), None, 1),
    "mp3": (media(kind="audio", format="mp3", digest=DIGEST), None, 1),
    "large": (media(kind="text", format="txt", digest=DIGEST, size=17 << 20), None, 1),
    "html": (media(kind="html", format="html", digest=DIGEST), None, 1),
}


@pytest.mark.parametrize("case", MEDIA)
def test_media(case):
    event, kind, files = MEDIA[case]
    made, told = plan(event)
    (line,) = made.lines
    path = f"media/m/abababababababab.{event.format}"
    if kind is None:
        assert line.values == [Text("m", f"{event.kind} ({event.format}): `unitrack/{path}`")]
    else:
        assert line.values == [Shown("m", kind, event.format, DIGEST, path)]
    assert [place.path for place in made.places] == [path] * files
    assert told == [("media", "m")] * files


def test_histograms_keep_their_bins():
    inline = {"edges": [0.0, 1.0], "counts": [2], "nan": 1, "inf": 0}
    made, told = plan(media(kind="histogram", format="json", inline=inline))
    assert made.lines[0].values == [Bins("m", [0.0, 1.0], [2])]
    assert told == [("histogram", "m")]


def test_system_numbers_stand_over_the_runs_age():
    (line,) = plan(events.System(9, 112.7, {"cpu": 4}), rank=2)[0].lines
    assert (line.step, line.values) == (12, [Number("system/rank2/cpu", 4.0)])


def test_repeated_and_falling_steps_are_told_once():
    some = [events.Metrics(seq, 101.0, {"a": 1.0}, step) for seq, step in enumerate((1, 2, 2, 1), 1)]
    made, told = plan(*some)
    assert [line.step for line in made.lines] == [1, 2, 2, 1]
    assert told == [("order", "a")]


@pytest.mark.parametrize("kind", ["name", "step", "precision", "media"])
@pytest.mark.parametrize("policy", ["skip", "fail"])
def test_every_kind_can_be_left_out_or_refused(kind, policy):
    odd = {
        "name": events.Metrics(2, 101.0, {"": 1.0}, 1),
        "step": events.Metrics(2, 101.0, {"a": 1.0}, 1.5),
        "precision": events.Metrics(2, 101.0, {"a": 2**63 - 1}, 1),
        "media": media(kind="video", format="mp4", digest=DIGEST),
    }[kind]
    made, told = plan(odd, **{kind: policy})
    assert made.lines == made.places == []
    assert len(made.rejected) == (policy == "fail")
    assert len(told) == (policy == "skip")


def test_what_is_left_out_is_left_out_of_the_record_too():
    event = events.Metrics(2, 101.0, {"": 1.0, "a": 2.0, "big": 2**53 + 1}, 1)
    (line,) = plan(event, name="skip")[0].lines
    assert msgspec.json.decode(line.whole, type=events.Metrics).values == {"a": 2.0, "big": 2**53 + 1}


_names = st.one_of(st.text(max_size=20), st.builds("".join, st.tuples(st.sampled_from(RESERVED), st.text(max_size=3))))


@given(st.lists(st.tuples(st.sampled_from(["scalar", "image", "text"]), _names), max_size=20))
def test_tags_are_reversible_and_no_two_kinds_or_names_share_one(some):
    """In every process: one that goes on from the document gives the same tags."""
    tags = Tags(Lowerings())
    made = {(kind, name): tags.tag(kind, name) for kind, name in some}
    assert len(set(made.values())) == len(made)
    assert all(tags.name(tag) == name for (_, name), tag in made.items())
    document = tags.document()
    later = Tags(Lowerings(), document)
    assert {(kind, name): later.tag(kind, name) for kind, name in reversed(some)} == made
    assert all(tag and not tag.startswith(RESERVED) for tag in made.values())


@pytest.mark.parametrize(
    ("options", "word"),
    [({"logdr": "x"}, "logdir"), ({"logdir": ""}, "folder"), ({"logdir": "s3://b/x"}, "folder"), ({"batch": 0}, "batch"),
     ({"lowering": {"steps": "skip"}}, "did you mean"), ({"lowering": {"step": "artifact"}}, "one of")],
)  # fmt: skip
def test_wrong_options_are_told(options, word):
    with pytest.raises(ConfigError, match=word):
        TensorboardFactory().create(options)
