from __future__ import annotations

from unitrack.gate.lineage import Change, Facts, Side, compare, flat, hardware_difference


def side(commit: str, *facts: Facts) -> Side:
    return Side(commit=commit, facts=facts)


BASE = Facts(
    params={"lr": "0.1", "old": "1"}, data={"train": "aaa"}, packages={"numpy": "2.0"}, hardware={"cpu": "EPYC"}
)


def test_every_kind_of_change_is_named_once_with_both_values() -> None:
    other = Facts(
        params={"lr": "0.2", "new": "2"}, data={"train": "bbb"}, packages={"numpy": "2.1"}, hardware={"cpu": "Xeon"}
    )
    lineage = compare(side("c", other, other), side("b", BASE, BASE), commits=["c1 Change"], files=["a.py"])
    assert lineage.changes == (
        Change(kind="data", name="train", baseline="aaa", candidate="bbb"),
        Change(kind="hardware", name="cpu", baseline="EPYC", candidate="Xeon"),
        Change(kind="packages", name="numpy", baseline="2.0", candidate="2.1"),
        Change(kind="params", name="lr", baseline="0.1", candidate="0.2"),
        Change(kind="params", name="new", baseline=None, candidate="2"),
        Change(kind="params", name="old", baseline="1", candidate=None),
    )
    assert lineage.likely_cause == (
        "Changed between baseline and candidate: data (train); packages (numpy); hardware (cpu); "
        "params (lr, new, old); code (a.py)."
    )


def test_params_are_compared_within_a_seed() -> None:
    seeds = [Facts(params={"seed": str(seed)}) for seed in range(3)]
    assert compare(side("c", *seeds), side("b", *seeds), commits=[], files=[]).changes == ()


def test_when_nothing_differs_noise_is_the_cause() -> None:
    same = compare(side("c", BASE), side("c", BASE), commits=[], files=[])
    assert "the same commit" in same.likely_cause
    unknown = compare(side("c", BASE), side("b", BASE), commits=[], files=[])
    assert "something no run captures" in unknown.likely_cause


def test_long_lists_and_values_are_cut_and_counted() -> None:
    long = Facts(params={f"p{n:03}": "x" * 1000 for n in range(80)})
    lineage = compare(side("c", long), side("b", Facts()), commits=["c"] * 60, files=["f"] * 51)
    assert (len(lineage.changes), len(lineage.commits), len(lineage.files), lineage.omitted) == (50, 50, 50, 41)
    assert all(len(change.candidate or "") == 200 for change in lineage.changes)


def test_hardware_differs_only_where_both_recorded_it() -> None:
    xeon = Facts(hardware={"cpu": "Xeon"})
    assert hardware_difference(side("c", BASE, xeon), side("b", BASE, BASE)) == "cpu Xeon against EPYC"
    assert hardware_difference(side("c", Facts()), side("b", BASE)) is None


def test_nested_params_become_dotted_names() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": "1", "a.d": "[]", "e": "{}"}
