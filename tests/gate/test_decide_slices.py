"""What a test over examples adds to a decision, and how slices are judged."""

from __future__ import annotations

import pytest
from decisions import BASE, evidence, part, shifted, together

from unitrack.gate.decide import settled
from unitrack.gate.decision import ExampleTest, SliceDecision

EXAMPLES = ExampleTest(test="mcnemar", n=500, mean=-0.2, lower=-0.25, upper=-0.15, p_fail=1e-9, lost=120, won=20)


SLICED = {"examples": "accuracy", "slices": ("country",), "slices_gate": True}


def test_a_test_over_examples_is_shown_and_never_overrides_the_seeds() -> None:
    (found,) = together(evidence(shifted(0.0), BASE, tested=EXAMPLES))
    assert (found.decision, found.examples) == ("pass", EXAMPLES)


@pytest.mark.parametrize(
    ("p", "mean", "decision", "words"),
    [
        (1e-5, -0.1, "fail", r"country = fr: The mean difference is -0.1: worse (p = 1e-05, needed"),
        (0.02, -0.1, "undecided", "looks worse; it is not shown"),
        (1e-5, -0.015, "pass", None),  # within the margin
        (0.2, -0.1, "pass", None),  # no sign of a loss
        (0.9, 0.1, "pass", None),
    ],
)
def test_a_slice_that_gates_decides_its_metric(p: float, mean: float, decision: str, words: str | None) -> None:
    slices = (part(p, mean), part(value="de"))
    (found,) = together(evidence(shifted(0.0), BASE, parts=slices, **SLICED))
    assert (found.decision, found.slices[0].decision) == (decision, decision)
    assert found.slices[1].decision == "pass"
    assert found.cause == ("within_margin" if decision == "pass" else "slice")
    if words is not None:
        assert words in found.reason


def test_a_slice_that_does_not_gate_is_shown_with_its_share_of_false_discoveries() -> None:
    slices = (part(0.01, -0.1), part(0.6, value="de"), part(0.04, value="it"))
    (found,) = together(evidence(shifted(0.0), BASE, parts=slices, **{**SLICED, "slices_gate": False}))
    assert found.decision == "pass"
    assert [one.decision for one in found.slices] == ["reported"] * 3
    assert [one.adjusted for one in found.slices] == pytest.approx([0.03, 0.6, 0.06])
    assert found.slices[0].reason.startswith("It looks worse (adjusted p = 0.03). A loss of 0.12 is not ruled out.")


def test_slices_are_judged_together_over_all_metrics_by_holms_procedure() -> None:
    def failed(count: int, p: float) -> list[str]:
        more = [part(0.9, value=f"v{at}") for at in range(count)]
        one = evidence(shifted(0.0), BASE, parts=(part(p, -0.1),), **SLICED)
        other = evidence(shifted(0.0), BASE, parts=tuple(more), name="f1", **SLICED)
        return [str(found.decision) for found in together(one, other)]

    level = 0.01 / 2 / 1.15  # half for targets; the reserve
    assert failed(3, 0.8 * level / 1.2 / 4) == ["fail", "pass"]
    assert failed(39, 0.8 * level / 1.2 / 4) == ["undecided", "pass"]


def test_slices_that_gate_take_their_error_rate_from_the_metrics() -> None:
    alone, beside = (
        together(evidence(shifted(-0.05), BASE, parts=slices, **(SLICED if slices else {})))[0]
        for slices in ((), (part(),))
    )
    assert beside.spent_fail is not None
    assert beside.looks[-1].fail_level < alone.looks[-1].fail_level
    assert beside.spent_fail <= 0.005


def test_one_pair_decides_no_slice_unless_its_answers_are_equal() -> None:
    (found,) = together(evidence([0.9], [0.9], parts=(part(1e-9, -0.2),), **SLICED), pairs_max=5)
    assert (found.decision, found.cause) == ("undecided", "slice")
    assert not settled([found])
    (found,) = together(evidence([0.9], [0.9], parts=(part(1.0, lower=0.0, upper=0.0),), **SLICED), pairs_max=5)
    assert found.decision == ("pass" if found.cause == "equal" else "undecided")
    assert found.slices[0].decision == "pass"


def test_a_slice_without_figures_decides_nothing_and_says_what_it_lacks() -> None:
    small = SliceDecision(column="country", value="lu", size=12, decision="reported", reason="")
    (found,) = together(evidence(shifted(0.0), BASE, parts=(part(), small), **SLICED))
    assert found.slices[1].reason == "Too small to tell: 200 examples are needed."
    assert found.slices[1].adjusted is None
    assert found.decision == "pass"
