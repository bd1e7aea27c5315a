from __future__ import annotations

import math
from pathlib import Path

import pytest

import unitrack
from unitrack.gate.evidence import gather, reduce_series, value_of
from unitrack.gate.policy import MetricPolicy, Policy

NAN = math.nan


@pytest.mark.parametrize(
    ("summary", "goal", "value"),
    [
        ("last", "maximize", 2.0),
        ("first", "maximize", 1.0),
        ("max", "minimize", 3.0),
        ("min", "maximize", 1.0),
        ("mean", "maximize", 2.0),
        ("best", "maximize", 3.0),
        ("best", "minimize", 1.0),
    ],
)
def test_the_policy_says_which_value_of_a_series_counts(summary: str, goal: str, value: float) -> None:
    rule = MetricPolicy(name="m", goal=goal, summary=summary, margin=0.1)  # type: ignore[arg-type]
    assert reduce_series([1.0, 3.0, 2.0], rule) == value


@pytest.mark.parametrize("summary", ["max", "min", "mean", "best", "last"])
def test_a_series_that_diverged_has_no_value_to_be_proud_of(summary: str) -> None:
    rule = MetricPolicy(name="m", goal="maximize", summary=summary, margin=0.1)  # type: ignore[arg-type]
    value = reduce_series([1.0, 3.0, NAN], rule)
    assert value is not None
    assert math.isnan(value)


def test_values_come_from_the_series_then_from_the_summary_else_they_are_missing(tmp_path: Path) -> None:
    with unitrack.init("p", dir=tmp_path, mode="offline") as run:
        run.define_metric("acc", summary="max")
        for value in (0.5, 0.9, 0.7):
            run.log({"acc": value})
        run.summary["acc"] = 0.99
        run.summary["size"] = 12
        run.summary["note"] = "good"
        run.log({"bad": NAN})
    view = unitrack.get_run(run.id, dir=tmp_path)

    def value(name: str) -> float | None:
        return value_of(view, MetricPolicy(name=name, goal="maximize", margin=0.1))

    assert value("acc") == 0.7
    assert value("size") == 12.0
    assert value("absent") is None
    for name in ("note", "bad"):
        found = value(name)
        assert found is not None
        assert math.isnan(found)


def test_evidence_has_a_value_for_each_seed_and_side(tmp_path: Path) -> None:
    views = {}
    for seed in (4, 2):
        with unitrack.init("p", dir=tmp_path, mode="offline") as run:
            run.log({"acc": seed / 10})
        views[seed] = unitrack.get_run(run.id, dir=tmp_path)
    rule = MetricPolicy(name="acc", goal="maximize", margin=0.1)
    (evidence,) = gather(Policy(model=None, metrics=(rule,)), (4, 2), views, views)
    assert (evidence.seeds, evidence.candidate, evidence.baseline) == ((4, 2), (0.4, 0.2), (0.4, 0.2))
