"""The rules of a gate: what each metric may lose, and what that means in words.

Pure: built from settings that others have read.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Literal

import msgspec

from unitrack.config import ExampleMetric, Goal, RequiredFact, Role, RunSummary
from unitrack.errors import ConfigError

if TYPE_CHECKING:
    from unitrack.config import GateSettings, MetricRule

__all__ = ["MetricPolicy", "Policy", "in_words", "make_policy", "margin_of", "policy_digest"]

_EXAMPLE = "`margin = 0.01` (in the metric's unit) or `relative_margin = 0.02` (of the baseline's mean)"


class MetricPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What one metric is for and how much of it a candidate may lose.

    `margin` is in the metric's unit, `relative_margin` a fraction of the baseline's mean. With both,
    a loss has to stay within each of them, so the smaller one holds.
    """

    name: str
    goal: Goal
    role: Role = "target"
    summary: RunSummary = "last"
    margin: float | None = None
    relative_margin: float | None = None
    examples: ExampleMetric | None = None
    predictions: str = "predictions"

    @property
    def gates(self) -> bool:
        """The metric can fail a candidate."""
        return self.role != "report"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All rules of a gate; levels are one-sided error rates for one metric."""

    model: str | None
    metrics: tuple[MetricPolicy, ...]
    pass_level: float = 0.05
    fail_level: float = 0.01
    baseline: Literal["rerun", "recorded"] = "rerun"
    missing_baseline: Literal["block", "neutral"] = "block"
    broken_baseline: Literal["block", "neutral", "recorded"] = "block"
    require: tuple[RequiredFact, ...] = ()


def make_policy(settings: GateSettings, *, source: str = "unitrack.toml") -> Policy:
    """Check the rules and freeze them. Raises ConfigError naming `source` and the metric at fault."""
    metrics = tuple(_checked(rule, source) for rule in settings.metrics)
    names = [metric.name for metric in metrics]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"metric {name!r} has two rules: keep one", file=source, key="gate.metrics")
    if not any(metric.gates for metric in metrics):
        raise ConfigError(
            "no metric can fail a candidate: add a [[gate.metrics]] with role target or guardrail",
            file=source,
            key="gate.metrics",
        )
    return Policy(
        model=settings.model,
        metrics=metrics,
        baseline=settings.baseline,
        missing_baseline=settings.missing_baseline,
        broken_baseline=settings.broken_baseline,
        require=settings.require,
    )


def _checked(rule: MetricRule, source: str) -> MetricPolicy:
    for field, value in (("margin", rule.margin), ("relative_margin", rule.relative_margin)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ConfigError(
                f"metric {rule.name!r}: {field} is {value!r}, use a finite number of 0 or more",
                file=source,
                key=f"gate.metrics.{field}",
            )
    if rule.role != "report" and rule.margin is None and rule.relative_margin is None:
        raise ConfigError(
            f"metric {rule.name!r} has no margin: say how much a candidate may lose, such as {_EXAMPLE}",
            file=source,
            key="gate.metrics.margin",
        )
    return MetricPolicy(
        name=rule.name,
        goal=rule.goal,
        role=rule.role,
        summary=rule.summary,
        margin=rule.margin,
        relative_margin=rule.relative_margin,
        examples=rule.examples,
        predictions=rule.predictions,
    )


def margin_of(rule: MetricPolicy, baseline_mean: float) -> float | None:
    """Return the loss allowed in the metric's unit, or None for a reported metric without one."""
    relative = None if rule.relative_margin is None else rule.relative_margin * abs(baseline_mean)
    limits = [limit for limit in (rule.margin, relative) if limit is not None]
    return min(limits, default=None)


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of the policy's canonical JSON: equal rules, equal digest."""
    return hashlib.sha256(msgspec.json.encode(policy, order="deterministic")).hexdigest()


def in_words(policy: Policy) -> list[str]:
    """Say each rule as a sentence, in the order of the policy."""
    how = (
        "The candidate and the baseline are trained with the same seeds; differences are taken seed by seed, "
        "turned so that more is better."
    )
    rule = (
        f"A metric passes when its loss is shown to be smaller than the margin ({policy.pass_level:.0%} "
        f"one-sided), fails when it is shown to be worse ({policy.fail_level:.0%} one-sided) and its mean "
        "loss is beyond the margin, and is undecided otherwise. Equal results in every seed pass."
    )
    model = [f"The baseline is a version of model {policy.model!r}."] if policy.model else []
    return [*model, how, rule, *(_sentence(metric) for metric in policy.metrics)]


def _sentence(rule: MetricPolicy) -> str:
    direction = "higher is better" if rule.goal == "maximize" else "lower is better"
    if not rule.gates:
        return f"{rule.name} ({direction}) is reported and never decides."
    return f"{rule.name} ({rule.role}, {rule.summary} value, {direction}) may lose less than {_limits(rule)}."


def _limits(rule: MetricPolicy) -> str:
    parts = []
    if rule.margin is not None:
        parts.append(f"{rule.margin:g}")
    if rule.relative_margin is not None:
        parts.append(f"{rule.relative_margin:.6g} times the baseline's mean")
    return " and less than ".join(parts)
