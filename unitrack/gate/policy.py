"""The rules of a gate: what each metric may lose, and what that means in words.

Pure: built from settings that others have read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Union

import msgspec

from unitrack.config import ExampleMetric, Goal, RequiredFact, Role, RunSummary
from unitrack.errors import ConfigError
from unitrack.gate.example_metrics import METRICS

if TYPE_CHECKING:
    from unitrack.config import GateSettings, MetricRule
    from unitrack.gate.decision import Noise

__all__ = [
    "AUTO_RELATIVE",
    "Margin",
    "MetricPolicy",
    "Policy",
    "in_words",
    "make_policy",
    "margin_of",
    "policy_digest",
]

AUTO_RELATIVE = 0.01
"""The least margin that `auto` chooses, as a fraction of the baseline's mean."""

_EXAMPLE = (
    "`margin = 0.01` (in the metric's unit), `relative_margin = 0.02` (of the baseline's mean) or "
    "`margin = 'auto'`; or limit the candidate itself with `minimum` or `maximum`"
)


class MetricPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What one metric is for and how much of it a candidate may lose.

    `margin` is in the metric's unit, `relative_margin` a fraction of the baseline's mean. With both,
    a loss has to stay within each of them, so the smaller one holds. `minimum` and `maximum` are limits on the
    candidate's own mean. `missing`, `nan` and `new` say what comes of a metric that the candidate does not log, logs
    without a finite value, or alone logs.
    """

    name: str
    goal: Goal
    role: Role = "target"
    summary: RunSummary = "last"
    margin: Union[float, Literal["auto"], None] = None
    relative_margin: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    missing: Literal["fail", "undecided"] = "fail"
    nan: Literal["fail", "undecided"] = "fail"
    new: Literal["undecided", "report", "fail"] = "undecided"
    examples: ExampleMetric | None = None
    predictions: str = "predictions"
    slices: tuple[str, ...] = ()
    smallest_slice: int = 200
    smallest_positives: int = 30
    slices_gate: bool = False

    @property
    def gates(self) -> bool:
        """The metric can fail a candidate."""
        return self.role != "report"

    @property
    def compares(self) -> bool:
        """The metric has a margin, so it needs a baseline."""
        return self.margin is not None or self.relative_margin is not None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All rules of a gate.

    Levels are one-sided error rates over all looks: `pass_level` for one metric to pass although it lost the margin,
    `fail_level` for any metric of the gate to fail although none is worse. `history` caps the degrees of freedom of
    earlier noise.
    """

    model: str | None
    metrics: tuple[MetricPolicy, ...]
    pass_level: float = 0.05
    fail_level: float = 0.01
    baseline: Literal["rerun", "recorded"] = "rerun"
    missing_baseline: Literal["block", "neutral"] = "block"
    broken_baseline: Literal["block", "neutral", "recorded"] = "block"
    undecided: Literal["neutral", "block"] = "neutral"
    history: Annotated[int, msgspec.Meta(ge=0, le=40)] = 20
    require: tuple[RequiredFact, ...] = ()


def make_policy(
    settings: GateSettings, *, source: str = "unitrack.toml", sources: Mapping[str, str] | None = None
) -> Policy:
    """Check the rules and freeze them. Raises ConfigError naming `source` and the metric at fault.

    `sources` are those of the settings: they know the lines.
    """
    metrics = tuple(_checked(rule, at, source, sources or {}) for at, rule in enumerate(settings.metrics))
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
        undecided=settings.undecided,
        history=settings.history,
        require=settings.require,
    )


def _checked(rule: MetricRule, at: int, source: str, sources: Mapping[str, str]) -> MetricPolicy:
    fault = _number_fault(rule) or _rule_fault(rule)
    if fault is None:
        return MetricPolicy(**{name: getattr(rule, name) for name in MetricPolicy.__struct_fields__})
    field, problem = fault
    holder = f"gate.metrics[{at}]"
    place = sources.get(f"{holder}.{field}", sources.get(holder, ""))
    line = place.rpartition(":")[2]
    raise ConfigError(
        f"metric {rule.name!r} {problem}",
        file=source,
        line=int(line) if line.isdecimal() else None,
        key=f"{holder}.{field}",
    )


def _number_fault(rule: MetricRule) -> tuple[str, str] | None:
    """Return the field that holds no usable number, and what is wrong with it."""
    for field in ("margin", "relative_margin"):
        value = getattr(rule, field)
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            return field, f"has {field} {value!r}: use a finite number of 0 or more"
    for field in ("minimum", "maximum"):
        value = getattr(rule, field)
        if value is not None and not math.isfinite(value):
            return field, f"has {field} {value!r}: use a finite number"
    return None


def _rule_fault(rule: MetricRule) -> tuple[str, str] | None:
    """Return the field that makes the rule say nothing, or two things, and what is wrong with it."""
    bounds = [bound for bound in (rule.minimum, rule.maximum) if bound is not None]
    if rule.role != "report" and rule.margin is None and rule.relative_margin is None and not bounds:
        return "margin", f"has no margin: say how much a candidate may lose, such as {_EXAMPLE}"
    if rule.margin == "auto" and rule.relative_margin is not None:
        return "relative_margin", 'has margin "auto" and a relative margin: keep one of the two'
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        return "minimum", f"has minimum {bounds[0]:g} above maximum {bounds[1]:g}: nothing could pass"
    if rule.slices and rule.examples is None:
        return "slices", "has slices, and `examples` does not say which metric of the logged predictions they show"
    if rule.slices_gate and not rule.slices:
        return "slices_gate", "has slices_gate and no slices: name the columns"
    if rule.slices_gate and (rule.role == "report" or rule.margin is rule.relative_margin is None):
        return "slices_gate", "has slices_gate, and nothing that a slice could lose: give it a margin and another role"
    if rule.examples is not None and METRICS[rule.examples].goal != rule.goal:
        goal = METRICS[rule.examples].goal
        return "goal", f"has the goal {rule.goal}, and {rule.examples} of the predictions is one to {goal}"
    return None


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """The loss allowed in the metric's unit, and for an automatic one where it is from."""

    value: float
    reason: str | None = None


def margin_of(rule: MetricPolicy, baseline_mean: float, *, noise: Noise | None = None, pairs: int = 1) -> Margin | None:
    """Return the loss allowed, None for a rule without a margin.

    An automatic one is twice what the mean of `pairs` differences varies by, so that an unchanged candidate has a
    fair chance to pass, and 1 % of the baseline's mean at least.
    """
    if rule.margin == "auto":
        return _automatic(AUTO_RELATIVE * abs(baseline_mean), noise, pairs)
    relative = None if rule.relative_margin is None else rule.relative_margin * abs(baseline_mean)
    limits = [limit for limit in (rule.margin, relative) if limit is not None]
    return Margin(value=min(limits)) if limits else None


def _automatic(relative: float, noise: Noise | None, pairs: int) -> Margin:
    least = f"{AUTO_RELATIVE:.0%} of the baseline's mean"
    if noise is None:
        return Margin(value=relative, reason=f"auto: {least}, for no noise is known yet")
    noisy = 2 * noise.sd / math.sqrt(pairs)
    known = f"2 standard deviations of a mean of {pairs} differences, from the noise of {noise.gates} earlier gates"
    if noisy > relative:
        return Margin(value=noisy, reason=f"auto: {known}, which is more than {least}")
    return Margin(value=relative, reason=f"auto: {least}, which is more than {known}")


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of the policy's canonical JSON: equal rules, equal digest."""
    return hashlib.sha256(msgspec.json.encode(policy, order="deterministic")).hexdigest()


def in_words(policy: Policy) -> list[str]:
    """Say each rule as a sentence, in the order of the policy."""
    model = [f"The baseline is a version of model {policy.model!r}."] if policy.model else []
    return [*model, *_rule_in_words(policy), *(_sentence(metric) for metric in policy.metrics)]


def _rule_in_words(policy: Policy) -> list[str]:
    how = (
        "The candidate and the baseline are trained with the same seeds, pair after pair; differences are taken seed "
        "by seed, turned so that more is better. After each pair from the second on, every metric is tested."
    )
    rule = (
        f"A metric passes when its loss is shown to be smaller than the margin ({policy.pass_level:.0%} "
        f"one-sided, over all pairs), fails when it is shown to be worse ({policy.fail_level:.0%} one-sided, over all "
        "pairs and metrics) and its mean loss is beyond the margin, and is undecided otherwise: then another pair is "
        "trained. If the first pair is equal in every metric but budgets, all that is equal passes."
    )
    past = (
        f"What earlier gates tell of the noise counts for up to {policy.history} degrees of freedom."
        if policy.history
        else "The noise of earlier gates is not used."
    )
    shared = any(metric.slices_gate for metric in policy.metrics)
    sliced = ["Slices that gate get the same part of that rate as the targets do."] if shared else []
    blocked = "keeps the candidate out" if policy.undecided == "block" else "does not keep the candidate out"
    return [how, rule, *sliced, past, f"An undecided gate {blocked}. One failed metric fails the gate."]


def _sentence(rule: MetricPolicy) -> str:
    direction = "higher is better" if rule.goal == "maximize" else "lower is better"
    told = f"{_examples(rule)}{_slices(rule)}"
    if not rule.gates:
        return f"{rule.name} ({direction}) is reported and never decides.{told}"
    limits, value = " and ".join(_limits(rule)), f"{rule.summary} value"
    value = value if rule.examples is None else f"{rule.examples} of the predictions"
    return f"{rule.name} ({rule.role}, {value}, {direction}) may {limits}.{_gaps(rule)}{told}"


_TESTS = {"accuracy": "McNemar's exact test", "roc_auc": "DeLong's test"}


def _examples(rule: MetricPolicy) -> str:
    if rule.examples is None:
        return ""
    test = _TESTS.get(rule.examples, "a paired bootstrap of examples (BCa)")
    return (
        f" It is worked out from the predictions logged as {rule.predictions!r}, which both sides must have made of "
        f"the same examples with the same labels; {test} is shown beside the test over seeds."
    )


def _slices(rule: MetricPolicy) -> str:
    if not rule.slices:
        return ""
    least = f"{rule.smallest_slice:,} examples"
    if rule.examples is not None and METRICS[rule.examples].of == "positives":
        least += f", {rule.smallest_positives:,} of them positive"
    if not rule.slices_gate:
        return f" Slices: {', '.join(rule.slices)}, of at least {least}: reported, with Benjamini and Hochberg's p."
    return (
        f" Slices: {', '.join(rule.slices)} (they gate), of at least {least}: one that is shown to be worse (Holm's "
        "procedure over all slices that gate) and lost more than the margin fails the metric, one that only looks "
        "that way leaves it undecided."
    )


def _limits(rule: MetricPolicy) -> list[str]:
    parts = []
    if rule.margin == "auto":
        parts.append(f"lose less than an automatic margin ({AUTO_RELATIVE:.0%} of the baseline's mean, or its noise)")
    elif rule.margin is not None:
        parts.append(f"lose less than {rule.margin:g}")
    if rule.relative_margin is not None:
        less = "less" if parts else "lose less"
        parts.append(f"{less} than {rule.relative_margin:.6g} times the baseline's mean")
    for word, bound in (("below", rule.minimum), ("above", rule.maximum)):
        if bound is not None:
            parts.append(f"not be {word} {bound:g}")
    return parts


def _gaps(rule: MetricPolicy) -> str:
    """Say what differs from how gaps are judged by default."""
    words = {"fail": "fails", "undecided": "is undecided", "report": "is only reported"}
    named = (("missing", "a candidate without it"), ("nan", "NaN"), ("new", "a baseline without it"))
    usual = MetricPolicy(name="", goal=rule.goal)
    said = [f"{what} {words[getattr(rule, f)]}" for f, what in named if getattr(rule, f) != getattr(usual, f)]
    return f" Here {', '.join(said)}." if said else ""
