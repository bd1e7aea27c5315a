"""Let rules of plugins add decisions to those about metrics. Pure but for the rules themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unitrack.gate.decision import MetricDecision
from unitrack.hookspecs import GateFinding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unitrack.hookspecs import GateRule

__all__ = ["is_rule", "judged_by", "unusable_rule"]

_MOST = 1000  # findings of one rule
_LONGEST = 2000  # characters of a reason


def judged_by(rules: Mapping[str, GateRule], decisions: Sequence[MetricDecision]) -> tuple[MetricDecision, ...]:
    """Return the decisions, and after them those of each rule in the order of their names.

    A rule that raises or answers with something else than findings leaves the gate undecided.
    """
    found = tuple(decisions)
    for name in sorted(rules):
        found += _ask(name, rules[name], tuple(decisions))
    return found


def is_rule(decision: MetricDecision) -> bool:
    """Tell whether a decision is a rule's and not about a metric of the policy."""
    return decision.cause == "rule"


def unusable_rule(name: str, reason: str) -> MetricDecision:
    """Return the decision for a rule that could not judge: undecided, so that nothing passes without it."""
    return _decision(name, "undecided", f"The rule could not judge: {reason[:_LONGEST]}")


def _ask(name: str, rule: GateRule, decisions: tuple[MetricDecision, ...]) -> tuple[MetricDecision, ...]:
    try:
        findings = _checked(rule.judge(decisions))
    except (Exception, SystemExit) as error:  # foreign code: named and kept, never passed on
        return (unusable_rule(name, f"{type(error).__name__}: {error}"),)
    return tuple(_decision(f"{name}: {one.name}", one.decision, one.reason[:_LONGEST]) for one in findings)


def _checked(findings: Iterable[GateFinding]) -> list[GateFinding]:
    made: list[GateFinding] = []
    for one in findings:
        if len(made) == _MOST:
            raise ValueError(f"it has more than {_MOST} findings")
        if not isinstance(one, GateFinding):
            raise TypeError(f"it gave {type(one).__name__} instead of GateFinding")
        made.append(msgspec.convert(msgspec.to_builtins(one), GateFinding))  # a struct does not check its own types
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        raise ValueError("two of its findings have the same name")
    return made


def _decision(name: str, decision: Literal["pass", "fail", "undecided", "reported"], reason: str) -> MetricDecision:
    return MetricDecision(
        name=name,
        goal="maximize",
        role="report" if decision == "reported" else "guardrail",
        decision=decision,
        cause="rule",
        reason=reason,
        candidate=(),
        baseline=(),
        differences=(),
    )
