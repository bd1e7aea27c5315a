"""The mapping, event by event: what Neptune is told, and what is told to the user. No client is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import events
from unitrack.backend import Record, RunInfo
from unitrack.errors import ConfigError
from unitrack.lowering import Lowerings, RefusedError, choose_policies
from unitrack_neptune import NeptuneFactory
from unitrack_neptune._draft import Draft
from unitrack_neptune._limits import LEGACY, SCALE
from unitrack_neptune._mapping import KINDS, ending, head, to_ops
from unitrack_neptune._names import Paths, clean
from unitrack_neptune._plan import Assign, Bins, Moment, Point, TagChange, Upload
from unitrack_neptune._position import Position
from unitrack_neptune._steps import Series, micros


class Mapped:
    """Some records mapped, as the backend does it."""

    def __init__(self, *made, limits=SCALE, rank=None, position=None, **policies):
        self.position = position or Position(generation="g")
        self.lowerings = Lowerings(choose_policies(KINDS, policies, section="x"))
        paths = Paths(limits.path, self.position.fields, self.position.names)
        self.draft = Draft(self.position, paths, limits, self.lowerings)
        for event in made:
            to_ops(self.draft, Record(writer="w", event=event, rank=rank), started=100.0)
        self.draft.finish()
        self.ops = self.draft.ops

    @property
    def told(self):
        return [(one.kind, one.name) for one in self.lowerings.all]


def metrics(values, step=1, time=100.5, seq=1):
    return events.Metrics(seq, time, values, step)


def params(**values):
    return events.Params(seq=1, time=100.0, values=values)


# -- golden: one of everything ---------------------------------------------------------------------

GOLDEN = [
    events.RunStarted(seq=1, time=100.0, project="p", tags=["a"], argv=["t.py"]),
    events.Params(seq=2, time=100.0, values={"lr": 0.5, "opt": {"name": "adam", "n": 3}, "amp": True, "odd": "NaN"}),
    events.Metrics(3, 101.0, {"loss": 1, "acc": 0.5}, 1),
    events.Metrics(4, 102.0, {"loss": "NaN"}, 2),
    events.Metrics(5, 103.0, {"loss": 3.0}, 0.5),
    events.Metrics(6, 104.0, {"loss": 4.0}, None),
    events.System(7, 105.25, {"cpu": 50.0}),
    events.Summary(seq=8, time=106.0, values={"best": 0.1}),
    events.Tags(seq=9, time=106.0, add=["b"], remove=["a"], values={"team": "x"}),
    events.Console(seq=10, time=107.0, stream="stdout", text="hi\n"),
    events.Media(seq=11, time=108.0, name="said", kind="text", format="txt", step=4, inline="hello"),
    events.Media(seq=12, time=108.0, name="h", kind="histogram", format="json", step=4, inline={"edges": [0, 1], "counts": [2]}),
    events.Capture(seq=13, time=109.0, name="git", values={"commit": "abc"}),
    events.Alert(seq=14, time=110.0, title="hot", level="warning"),
    events.MetricDefinition(seq=15, time=111.0, name="loss", goal="minimize"),
    events.DatasetUsed(seq=16, time=112.0, name="d", uri="s3://d"),
]  # fmt: skip


def test_one_of_everything_for_scale():
    found = Mapped(*GOLDEN)
    assert found.ops == [
        TagChange(add=("a",)),
        Assign("unitrack/argv", '["t.py"]'),
        Assign("params/lr", 0.5),
        Assign("params/opt/name", "adam"),
        Assign("params/opt/n", 3),
        Assign("params/amp", True),
        Assign("params/odd", pytest.approx(float("nan"), nan_ok=True)),
        Point("metrics/loss", 1, 101.0, 1.0),
        Point("metrics/acc", 1, 101.0, 0.5),
        Point("nonfinite/metrics/loss", 2, 102.0, "NaN"),
        Point("late/value/metrics/loss", 0.0, 103.0, 3.0),
        Point("late/step/metrics/loss", 0.0, 103.0, 0.5),
        Point("metrics/loss", 2, 104.0, 4.0),
        Point("system/cpu", 5.25, 105.25, 50.0),
        Assign("summary/best", 0.1),
        TagChange(add=("b",), remove=("a",)),
        Assign("tags/team", "x"),
        Point("console/stdout", 0.0, 107.0, "hi\n"),
        Point("media/said", 4, 108.0, "hello"),
        Point("media/h", 4, 108.0, Bins((0.0, 1.0), (2,))),
        Assign("unitrack/captures/git", '{"commit": "abc"}'),
        Point("alerts/warning", 0.0, 110.0, "hot"),
        Assign("unitrack/definitions/loss", '{"goal": "minimize"}'),
        Assign("datasets/d", '{"name": "d", "uri": "s3://d"}'),
    ]
    assert found.told == [("non-finite", "loss"), ("step", "loss"), ("no-step", "loss")]


def test_what_is_different_for_the_1x_client():
    scale, legacy = Mapped(*GOLDEN), Mapped(*GOLDEN, limits=LEGACY)
    different = [op for op in legacy.ops if op not in scale.ops]
    text, histogram = different
    assert text == Assign("params/odd", "nan")
    assert isinstance(histogram, Upload)
    assert histogram.path.startswith("media/h/step-4-")
    assert set(legacy.told) - set(scale.told) == {("non-finite", "odd"), ("histogram", "h")}


def test_who_a_run_is_and_how_it_ended(tmp_path):
    found = Mapped()
    run = RunInfo(
        id="r",
        project="p",
        name="n",
        group="g",
        parent="q",
        tags=("t",),
        started=1.5,
        folder=tmp_path,
        objects=tmp_path,
    )
    head(found.draft, run)
    ending(found.draft, "killed", 9.0)
    assert found.ops == [
        Assign("unitrack/run_id", "r"), Assign("unitrack/project", "p"), Assign("unitrack/group", "g"),
        Assign("unitrack/parent", "q"), Assign("unitrack/name", "n"), Assign("unitrack/started", Moment(1.5)),
        Assign("unitrack/status", "running"), Assign("sys/failed", False), TagChange(add=("t",)),
        TagChange(add=("g",), group=True), Assign("unitrack/status", "killed"), Assign("sys/failed", True),
        Assign("unitrack/ended", Moment(9.0)),
    ]  # fmt: skip


# -- steps and times -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "held", "told"),
    [
        (3, 3, []), (0, 0, []), (2.5, 2.5, []), (1 / 3, 0.333333, ["step-digits"]), (-1, None, ["step"]), (1e12, None, ["step"]),
        (999_999_999_999, 999_999_999_999, []), (1e-9, 0.0, ["step-digits"]), (None, 0.0, ["no-step"]),
    ],
)  # fmt: skip
def test_steps_of_scale(step, held, told):
    found = Mapped(metrics({"m": 1.0}, step))
    (point,) = [op for op in found.ops if op.path == "metrics/m"] or [None]
    assert (point and point.step) == held
    assert [kind for kind, _ in found.told] == told
    if held is None:
        assert found.ops == [
            Point("late/value/metrics/m", 0.0, 100.5, 1.0),
            Point("late/step/metrics/m", 0.0, 100.5, float(step)),
        ]


def test_steps_of_1x_keep_all_their_digits_and_signs():
    found = Mapped(metrics({"m": 1.0}, -1.5), metrics({"m": 1.0}, 1 / 3), limits=LEGACY)
    assert [op.step for op in found.ops] == [-1.5, 1 / 3]
    assert found.told == []


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10), st.integers(-5, 10**12 + 5)), max_size=30))
def test_every_series_rises_and_no_point_is_lost(steps):
    found = Mapped(*(metrics({"m": float(at)}, step, 100.0 - at) for at, step in enumerate(steps)))
    last = {}
    for op in found.ops:
        before = last.get(op.path, (-1, 0.0))
        assert micros(op.step) > before[0]
        assert op.time >= before[1]
        assert 0 <= op.step < 1e12
        last[op.path] = micros(op.step), op.time
    values = [op.value for op in found.ops if op.path in ("metrics/m", "late/value/metrics/m")]
    assert sorted(values) == [float(at) for at in range(len(steps))]
    late = [op.step for op in found.ops if op.path.startswith("late/")]
    assert late == sorted(late)


def test_a_time_that_falls_is_held_at_the_last():
    found = Mapped(metrics({"m": 1.0}, 1, 200.0), metrics({"m": 1.0}, 2, 150.0))
    assert [op.time for op in found.ops] == [200.0, 200.0]
    assert found.told == [("time", "m")]


def test_a_draft_changes_nothing_before_it_was_sent_and_a_refused_record_leaves_no_trace():
    position = Position(generation="g", series={"metrics/m": Series(5.0, 0.0)})
    found = Mapped(metrics({"m": 1.0}, 6), position=position, step="fail")
    mark = found.draft.begin()
    with pytest.raises(RefusedError, match="step"):
        to_ops(found.draft, Record(writer="w", event=metrics({"n": 1.0, "m": 2.0}, 6)), started=0.0)
    found.draft.rollback(mark)
    assert [op.path for op in found.ops] == ["metrics/m"]
    assert position.series == {"metrics/m": Series(5.0, 0.0)}
    found.draft.commit()
    assert position.series == {"metrics/m": Series(6, 100.5)}


# -- names -----------------------------------------------------------------------------------------

PARTS = st.text(st.sampled_from("ab/. -é\x00\n"), max_size=12)


@given(st.lists(st.tuples(PARTS, st.sampled_from(["series", "str", "int"])), max_size=25))
def test_names_become_paths_that_never_collide_and_can_be_undone(wanted):
    fields = {}
    paths = Paths(1024, fields, {})
    wanted = [(f"metrics/{name}".replace("\0", "_"), kind) for name, kind in wanted]
    found = {(name, kind): paths.path(name, kind) for name, kind in wanted}
    for (name, kind), path in found.items():
        assert paths.path(name, kind) == path
        assert clean(path, 1024) == path
        assert fields[path] == kind
        assert paths.name(path).partition("\0")[0] == name
    assert len(set(found.values())) == len(found)
    assert not [one for one in fields for other in fields if other.startswith(f"{one}/")]
    again = Paths(1024, dict(fields), paths.changed)
    assert {key: again.path(*key) for key in found} == found


@given(st.text(min_size=1, max_size=3000))
def test_a_clean_path_fits_and_stays(name):
    path = clean(name, 900)
    assert 0 < len(path.encode()) <= 900 or not path
    assert clean(path, 900) == path


def test_a_name_that_is_a_namespace_already_and_one_inside_a_field():
    found = Mapped(metrics({"a/b": 1.0, "a": 2.0, "c": 3.0, "c/d": 4.0}))
    plain, namespace, field, inside = [op.path for op in found.ops if isinstance(op, Point)]
    assert (plain, field) == ("metrics/a/b", "metrics/c")
    assert namespace.startswith("metrics/a_-")
    assert inside.startswith("metrics/c.d-")
    kept = [json.loads(op.value) for op in found.ops if isinstance(op, Assign)]
    assert kept == [{"path": namespace, "name": "metrics/a"}, {"path": inside, "name": "metrics/c/d"}]


def test_a_name_may_be_left_out_or_refused():
    assert Mapped(metrics({"a": 1.0, "a/b": 2.0}), name="skip").ops[:1] == [Point("metrics/a", 1, 100.5, 1.0)]
    with pytest.raises(RefusedError):
        Mapped(metrics({"a": 1.0, "a/b": 2.0}), name="fail")


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "held", "told"),
    [
        (1, 1, []), (1.5, 1.5, []), (False, False, []), ("x", "x", []), ("\\NaN", "NaN", []), (None, "None", ["param-type"]),
        ([1, "a"], '[1, "a"]', ["param-type"]), ({}, "{}", ["param-type"]), (2**63, str(2**63), ["int-range"]), ("", "", []),
        ([float("nan")], '["NaN"]', ["param-type"]),
    ],
)  # fmt: skip
def test_params_keep_their_type_where_neptune_has_it(value, held, told):
    found = Mapped(params(x=value))
    assert found.ops[0] == Assign("params/x", held)
    assert type(found.ops[0].value) is type(held)
    assert [kind for kind, _ in found.told] == told


@pytest.mark.parametrize(("policy", "ops"), [("artifact", 2), ("sanitize", 1), ("skip", 0)])
def test_texts_that_are_too_long(policy, ops):
    found = Mapped(params(x="é" * 50_000), **{"text-length": policy})
    assert len(found.ops) == ops
    assert all(len(op.value.encode()) <= SCALE.text for op in found.ops if isinstance(op, Assign))
    assert found.told == [("text-length", "x")]


def test_an_integer_that_a_float_cannot_hold_is_told():
    assert Mapped(metrics({"fine": 2**53, "not": 2**53 + 1})).told == [("precision", "not")]


def test_ranks_share_their_metrics_and_have_places_of_their_own_for_the_rest():
    found = Mapped(
        metrics({"loss": 1.0}),
        events.System(1, 107.9, {"cpu": 50}),
        events.Console(seq=2, time=1.0, stream="stderr", text="x"),
        events.Capture(seq=3, time=1.0, name="git", values={}),
        rank=3,
    )
    assert [op.path for op in found.ops] == [
        "metrics/loss",
        "system/rank3/cpu",
        "console/rank3/stderr",
        "unitrack/captures/rank3/git",
    ]


def test_an_event_of_a_later_version_is_told():
    found = Mapped(events.Unknown(type="dream", seq=1, time=1.0, raw={}))
    assert (found.ops, found.told) == ([], [("event", "dream")])


# -- settings and imports --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clint": "x"}, "client"), ({"client": "neptune-x"}, "client"), ({"mode": "async"}, "mode"), ({"project": "p"}, "workspace/name"),
        ({"batch": 0}, "batch"), ({"lowering": {"stap": "skip"}}, "did you mean 'step'"), ({"lowering": {"step": "artifact"}}, "one of sanitize, skip, fail"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(ConfigError, match=words):
        NeptuneFactory().create(options)


@pytest.mark.parametrize(
    ("client", "mine", "other"),
    [("neptune-scale", "neptune_scale", "neptune"), ("neptune", "neptune", "neptune_scale")],
)
def test_a_process_imports_the_client_it_uses_and_nothing_before_it_opens_a_run(tmp_path, client, mine, other):
    code = f"""
import sys
from pathlib import Path
from unitrack.backend import RunInfo
from unitrack_neptune import NeptuneFactory
backend = NeptuneFactory().create({{"client": {client!r}, "dir": {str(tmp_path / "n")!r}}})
early = [name for name in sys.modules if name.partition(".")[0] in ("neptune", "neptune_scale", "neptune_api", "pyarrow")]
assert not early, early
run = RunInfo(id="r", project="p", name=None, group=None, parent=None, tags=(), started=1.0, folder=Path(), objects=Path())
backend.open(run, {{}})
backend.close("finished", 2.0)
names = {{name.partition(".")[0] for name in sys.modules}}
assert {mine!r} in names and {other!r} not in names
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
