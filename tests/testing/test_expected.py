"""What the kit takes for a difference, and what accounts for one."""

from __future__ import annotations

import math

import pytest

from unitrack.backend import Capabilities, Lowering
from unitrack.testing import HeldRun, RunBuilder, Told, differences, read_info, read_records
from unitrack.testing.expected import same_value

ALL = Capabilities(
    artifacts=True, media=True, datasets=True, nested_runs=True, non_finite=True, fractional_steps=True
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    with RunBuilder(tmp_path / "store", "one", parent="mother") as run:
        yield run


def found(run, *told, able=ALL, dead=(), **held):
    """Return what differs between the run and what a tracker of nothing but `held` holds."""
    fields = {"status": None, "params": {}, "metrics": {}, "parent": "mother", **held}
    lowered = [Lowering(kind=kind, name=name, detail="so") for kind, name in told]
    return differences(read_records(run.folder), HeldRun(**fields), Told(lowered, dead), able, run.objects)


def test_a_builder_writes_what_a_worker_reads(run):
    run.log({"loss": math.nan}, 0.5).params({"lr": math.inf})
    assert read_info(run.folder).parent == "mother"
    assert found(run, metrics={"loss": [(0.5, math.nan)]}, params={"lr": "inf"}) == []


def test_times_are_far_enough_apart_for_milliseconds(run):
    for step in range(50):
        run.log({"loss": 1.0}, step)
    times = [int(record.event.time * 1000) for record in read_records(run.folder)[1:]]
    assert len(set(times)) == len(times)


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ([], "lacks 0.5 at step 0.0"),
        ([(0, 0.5)], "lacks 0.25 at step 1.0"),
        ([(0, 0.5), (1, 0.25), (1, 0.25)], "1 values too many"),
        ([(1, 0.25), (0, 0.5)], "not held in the order"),
        ([(None, 0.5), (1, 0.25)], "lacks 0.5 at step 0.0"),
    ],
)
def test_points_are_all_there_once_in_order(run, points, problem):
    run.log({"loss": 0.5}, 0).log({"loss": 0.25}, 1)
    assert any(problem in one for one in found(run, metrics={"loss": points}))
    assert found(run, metrics={"loss": [(0, 0.5), (1, 0.25)]}) == []


def test_a_lowering_accounts_for_the_odd_value_and_never_for_the_plain_one_beside_it(run):
    run.log({"loss": 0.5}, 0).log({"loss": math.nan}, 1)
    able = Capabilities(nested_runs=True)
    assert found(run, metrics={"loss": [(0, 0.5)]}, able=able)
    assert found(run, ("non-finite", "loss"), metrics={"loss": [(0, 0.5)]}, able=able) == []
    assert found(run, ("non-finite", "loss"), metrics={"loss": [(1, math.nan)]}, able=able)
    assert found(run, ("non-finite", "accuracy"), metrics={"loss": [(0, 0.5)]}, able=able)


def test_what_is_declared_must_be_held_whatever_is_told(run):
    run.log({"loss": math.inf}, 0).log({"loss": 0.5}, 1.5)
    told = ("non-finite", "loss"), ("step", "loss")
    assert len(found(run, *told)) == 2
    assert found(run, *told, able=Capabilities(nested_runs=True)) == []


def test_a_name_in_parentheses_speaks_of_values_without_a_step_only(run):
    run.log({"loss": 0.5}).log({"accuracy": 0.25}, -1)
    assert found(run, ("step", "(none)"), metrics={"loss": [(0, 0.5)], "accuracy": [(-1, 0.25)]}) == []
    assert found(run, ("step", "(none)"), metrics={"loss": [(0, 0.5)], "accuracy": [(0, 0.25)]})


def test_params_and_tags_are_there_or_named(run):
    run.params({"model": {"depth": 3}, "lr": 0.1}).tags(add=["red", "blue"]).tags(remove=["red"])
    assert found(run, params={"model/depth": "3", "lr": 0.1}, tags=["blue"]) == []
    assert len(found(run, params={"model/depth": 4}, tags=["red"])) == 4
    assert found(run, ("param-length", "lr"), ("event", "tags"), params={"model/depth": 3}) == []


def test_files_are_known_by_their_bytes_and_their_place(run):
    run.artifact("model.bin", b"abc").artifact("folder", {"x/y.txt": b"xy"})
    assert found(run, files={"model.bin": b"abc", "artifacts/folder/x/y.txt": b"xy"}) == []
    problems = found(run, files={"model.bin": b"abd", "y.txt": b"xy"})
    assert ["bytes" in one for one in problems] == [False, True]
    assert found(run, files={"model.bin": b"abc", "copy of model.bin": b"abc", "folder/x/y.txt": b"xy"})
    assert found(run, ("event", "artifact"), able=Capabilities(nested_runs=True)) == []
    assert len(found(run, ("event", "artifact"))) == 2


def test_datasets_parents_and_later_events_are_held_or_told(run):
    run.dataset("train").later_event("hologram")
    assert len(found(run, parent=None)) == 3
    assert found(run, ("event", "hologram"), datasets=["train"]) == []
    told = ("event", "hologram"), ("event", "dataset"), ("parent", "mother")
    assert found(run, *told, able=Capabilities(), parent=None) == []


def test_what_was_refused_is_not_missed(run):
    run.log({"loss": 0.5}, 0)
    (refused,) = [record for record in read_records(run.folder) if getattr(record.event, "values", None)]
    assert found(run, dead=[refused]) == []


@pytest.mark.parametrize(
    ("logged", "held", "same"),
    [
        (0.1, "0.1", True), (3, 3.0, True), (True, "true", True), (True, "True", True), (None, "null", True),
        ([1, 2], "[1, 2]", True), ([1, 2], [1, 2], True), ("a", "a", True), (math.nan, "nan", True), ("", "", True),
        (True, 1, False), ("1", 1, False), ("a ", "a", False), (0.1, "0.10000001", False), ([1], [1, 2], False),
    ],
)  # fmt: skip
def test_values_may_be_spelled_but_not_changed(logged, held, same):
    assert same_value(logged, held) is same
