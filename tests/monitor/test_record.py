"""What drift and metrics come to together."""

from __future__ import annotations

import pytest

from unitrack.monitor import FeatureDrift, MetricCheck, SchemaChange, outcome_of, summary_of


def feature(state, *, gates=True):
    return FeatureDrift(feature=f"f-{state}", kind="number", state=state, reason="", gates=gates)


def metric(decision):
    return MetricCheck(name=f"m-{decision}", goal="maximize", role="target", decision=decision, reason="")


GONE, NEW = (SchemaChange(what="removed", column="x", reason="", gates=gates) for gates in (True, False))


@pytest.mark.parametrize(
    ("changes", "features", "metrics", "lost", "outcome"),
    [
        ([], ["stable"], ["pass"], False, "pass"),
        ([], ["stable"], [], False, "pass"),
        ([], [], ["pass"], False, "pass"),
        ([NEW], ["stable", "untested"], ["pass", "reported"], False, "pass"),
        ([], ["stable", "drift"], ["pass"], False, "fail"),
        ([GONE], ["stable"], ["pass"], False, "fail"),
        ([], ["stable"], ["pass", "fail", "undecided"], True, "fail"),
        ([], ["stable", "unclear"], ["pass"], False, "undecided"),
        ([], ["stable"], ["pass", "undecided"], False, "undecided"),
        ([], [], ["pass"], True, "undecided"),
        ([], ["untested"], [], False, "undecided"),
        ([NEW], [], [], False, "undecided"),
        ([], [], ["reported"], False, "undecided"),
    ],
)
def test_one_failure_fails_and_what_is_not_shown_never_passes(changes, features, metrics, lost, outcome):
    found = changes, list(map(feature, features)), list(map(metric, metrics))
    assert outcome_of(*found, lost=lost) == outcome


@pytest.mark.parametrize("state", ["drift", "unclear"])
def test_a_feature_that_is_only_reported_decides_nothing(state):
    assert outcome_of([], [feature(state, gates=False), feature("stable")], []) == "pass"


def test_the_summary_names_what_is_wrong_and_not_too_much_of_it():
    many = [FeatureDrift(feature=f"f{at}", kind="number", state="drift", reason="") for at in range(9)]
    words = summary_of([GONE], many, [metric("fail"), metric("pass")])
    assert words == (
        "1 of 2 metrics are worse on fresh data: m-fail. 10 of 10 features drift: x, f0, f1, f2, f3 and 5 more."
    )
    assert summary_of([], [], [metric("pass")], lost=True).endswith("Drift could not be tested: the data are gone.")
