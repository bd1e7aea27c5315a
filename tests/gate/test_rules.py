from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from unitrack.gate.decide import MetricEvidence, decide, overall, settled
from unitrack.gate.decision import MetricDecision, SliceDecision
from unitrack.gate.policy import MetricPolicy, Policy
from unitrack.gate.rules import is_rule, judged_by
from unitrack.hookspecs import GateFinding

RULE = MetricPolicy(name="acc", goal="maximize", margin=0.02)
EVIDENCE = MetricEvidence(rule=RULE, seeds=(0,), candidate=(0.9,), baseline=(0.9,))
PASSED = decide(Policy(model=None, metrics=(RULE,)), [EVIDENCE])


class Rule:
    name = "fairness"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def judge(self, decisions: Sequence[MetricDecision]) -> Iterable[GateFinding]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: Iterable[GateFinding] = self.answer
        return answer


def finding(decision: Any, name: Any = "gap", reason: Any = "The groups differ.") -> GateFinding:
    return GateFinding(name=name, decision=decision, reason=reason)


def judged(answer: Any) -> tuple[MetricDecision, ...]:
    return judged_by({"fairness": Rule(answer)}, PASSED)


@pytest.mark.parametrize(
    ("said", "outcome"), [("pass", "pass"), ("reported", "pass"), ("undecided", "undecided"), ("fail", "fail")]
)
def test_a_finding_counts_like_a_metric(said: str, outcome: str) -> None:
    decisions = judged([finding(said)])
    assert overall(decisions) == outcome
    assert (decisions[1].name, decisions[1].cause, decisions[1].decision) == ("fairness: gap", "rule", said)
    assert [is_rule(one) for one in decisions] == [False, True]
    assert settled(decisions)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ValueError("no groups"), "ValueError: no groups"),
        (SystemExit(0), "SystemExit"),
        (None, "TypeError"),
        (["pass"], "gave str instead of GateFinding"),
        ([finding("passed")], "ValidationError"),
        ([finding("pass", name=5)], "ValidationError"),
        ([finding("pass"), finding("pass")], "the same name"),
        ((finding("pass", name=str(at)) for at in range(2000)), "more than 1000"),
    ],
)
def test_a_rule_that_cannot_judge_leaves_the_gate_undecided(answer: Any, words: str) -> None:
    decisions = judged(answer)
    assert overall(decisions) == "undecided"
    assert words in decisions[-1].reason


def test_no_finding_undoes_a_failed_metric() -> None:
    gone = MetricEvidence(rule=RULE, seeds=(0,), candidate=(None,), baseline=(0.9,))
    failed = decide(Policy(model=None, metrics=(RULE,)), [gone])
    assert overall(judged_by({"kind": Rule([finding("pass")])}, failed)) == "fail"


def test_rules_are_asked_by_name_and_see_the_metrics_alone() -> None:
    seen = []

    class Looks(Rule):
        def judge(self, decisions: Sequence[MetricDecision]) -> Iterable[GateFinding]:
            seen.append(len(decisions))
            return [finding("pass")]

    made = judged_by({"b": Looks(()), "a": Looks(())}, PASSED)
    assert [one.name for one in made] == ["acc", "a: gap", "b: gap"]
    assert seen == [1, 1]


def test_the_rule_of_the_documentation_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "GateFinding" in block)
    scope: dict[str, Any] = {}
    exec(code, scope)
    (rule,) = scope["unitrack_register_gate_rules"]()
    groups = tuple(
        SliceDecision(column="sex", value=value, size=300, decision="reported", reason="Shown.", candidate_mean=mean)
        for value, mean in (("f", 0.7), ("m", 0.9))
    )
    judged_ = judged_by({"fairness": rule}, [msgspec.structs.replace(PASSED[0], slices=groups)])
    assert (overall(judged_), judged_[1].name) == ("fail", "fairness: acc")
    assert len(judged_by({"fairness": rule}, PASSED)) == 1
