from __future__ import annotations

import pytest

from unitrack.gate.causes import differ_in_constants
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
        "Most likely data (train aaa → bbb): the model learned from, or was measured on, other examples. Also changed: "
        "params (lr 0.1 → 0.2, new none → 2, old 1 → none); code (a.py); packages (numpy 2.0 → 2.1); "
        "hardware (cpu EPYC → Xeon)."
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


PARAMS = (Facts(params={"lr": "0.1"}), Facts(params={"lr": "0.9"}))
DATA = (Facts(data={"train": "aaa (10 rows)"}), Facts(data={"train": "bbb (9 rows)"}))
PACKAGES = (Facts(packages={"numpy": "1"}), Facts(packages={"numpy": "2"}))
IMAGE = (Facts(image={"image": "sha256:a"}), Facts(image={"image": "sha256:b"}))
HARDWARE = (Facts(hardware={"cpu": "EPYC"}), Facts(hardware={"cpu": "Xeon"}))
SEEDS = (Facts(seeds={"seed": "1"}), Facts(seeds={"seed": "2"}))
NOTHING = (Facts(), Facts())


@pytest.mark.parametrize(
    ("facts", "files", "constants", "words"),
    [
        (PARAMS, ["conf/model.yaml"], [], "Only one thing differs: params (lr 0.1 → 0.9, in conf/model.yaml);"),
        (PARAMS, ["train.py"], ["train.py"], "Only one thing differs: params (lr 0.1 → 0.9, in train.py);"),
        (PARAMS, ["README.md"], [], "Only one thing differs: params (lr 0.1 → 0.9);"),
        (DATA, ["data/train.csv"], [], "Only one thing differs: data (train aaa (10 rows) → bbb (9 rows), in data/tr"),
        (PACKAGES, ["requirements.txt"], [], "Only one thing differs: packages (numpy 1 → 2, in requirements.txt);"),
        (PACKAGES, ["uv.lock"], [], "Only one thing differs: packages (numpy 1 → 2, in uv.lock);"),
        (IMAGE, ["unitrack.lock"], [], "Only one thing differs: image (image sha256:a → sha256:b, in unitrack.lock);"),
        (HARDWARE, [], [], "Only one thing differs: hardware (cpu EPYC → Xeon);"),
        (SEEDS, [], [], "Only one thing differs: seeds (seed 1 → 2);"),
        (NOTHING, ["train.py"], [], "Only one thing differs: code (train.py);"),
        (NOTHING, ["train.py"], ["train.py"], "Only one thing differs: code (train.py);"),
        (NOTHING, ["conf/model.yaml"], [], "Only one thing differs: code (conf/model.yaml);"),
        (NOTHING, ["README.md", "LICENSE"], [], "Nothing that takes part in training differs (README.md, LICENSE"),
        (
            PARAMS,
            ["train.py"],
            [],
            "Most likely params (lr 0.1 → 0.9): these are what a run says it was trained with. ",
        ),
    ],
)
def test_one_source_of_difference_is_named_alone(
    facts: tuple[Facts, Facts], files: list[str], constants: list[str], words: str
) -> None:
    old, new = facts
    made = compare(side("c", new), side("b", old), commits=[], files=files, constants=constants)
    assert made.likely_cause.startswith(words)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("LR = 0.1\n", "LR = 0.2  # more\n", True),
        ("f(x, 'adam')", "f(x, 'sgd')", True),
        ("f(x)", "f(y)", False),
        ("f(x)", "f(x, 1)", False),
        ("f(x", "f(x)", False),
        ("x = 1", "x = " + "(" * 500 + "1" + ")" * 500, False),
    ],
)
def test_sources_that_differ_in_constants_only_are_told(old: str, new: str, same: bool) -> None:
    assert differ_in_constants(old, new) is same


def test_the_class_an_executor_told_counts_whatever_a_run_captured() -> None:
    """A candidate that captures no hardware, or lies about it, can't hide its machine."""
    old = Facts(hardware={"cpu": "EPYC"}, machine="x86_64, EPYC")
    for captured in ({}, {"cpu": "EPYC"}):
        new = Facts(hardware=captured, machine="x86_64, Xeon")
        assert hardware_difference(side("c", new), side("b", old)) == "x86_64, Xeon against x86_64, EPYC"
        changes = compare(side("c", new), side("b", old), commits=[], files=[]).changes
        assert Change(kind="hardware", name="class", baseline="x86_64, EPYC", candidate="x86_64, Xeon") in changes


def test_a_machine_that_differs_in_named_parts_is_not_named_again_by_its_class() -> None:
    old = Facts(hardware={"cpu": "EPYC"}, machine="x86_64, EPYC")
    new = Facts(hardware={"cpu": "Xeon"}, machine="x86_64, Xeon")
    changes = compare(side("c", new), side("b", old), commits=[], files=[]).changes
    assert [change.name for change in changes] == ["cpu"]


def test_another_image_is_unlike_only_where_the_baseline_was_not_trained_again() -> None:
    old, new = side("b", IMAGE[0]), side("c", IMAGE[1])
    assert hardware_difference(new, old) is None
    assert hardware_difference(new, old, images=True) == "image sha256:b against sha256:a"
