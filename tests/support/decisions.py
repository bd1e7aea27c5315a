"""Evidence of metrics, made in a line, and what the gate decides of it."""

from __future__ import annotations

from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.decision import MetricDecision, SliceDecision
from unitrack.gate.policy import MetricPolicy, Policy


def rule(**changes: object) -> MetricPolicy:
    return MetricPolicy(**{"name": "acc", "goal": "maximize", "margin": 0.02, **changes})  # type: ignore[arg-type]


def judge(
    candidate: list[float | None],
    baseline: list[float | None],
    *,
    unlike: str | None = None,
    **changes: object,
) -> MetricDecision:
    metric = rule(**changes)
    evidence = MetricEvidence(
        rule=metric, seeds=tuple(range(len(candidate))), candidate=tuple(candidate), baseline=tuple(baseline)
    )
    (decision,) = decide(Policy(model=None, metrics=(metric,)), [evidence], unlike_hardware=unlike)
    return decision


BASE: list[float | None] = [0.90, 0.91, 0.89, 0.92, 0.90]


def shifted(by: float, noise: float = 0.001) -> list[float | None]:
    return [b + by + noise * (-1) ** i for i, b in enumerate(BASE) if b is not None]


def evidence(candidate: list[float | None], baseline: list[float | None], **fields: object) -> MetricEvidence:
    extra = {name: fields.pop(key) for key, name in (("tested", "examples"), ("parts", "slices")) if key in fields}
    return MetricEvidence(
        rule=rule(**fields), seeds=tuple(range(len(candidate))), candidate=tuple(candidate), baseline=tuple(baseline), **extra
    )  # fmt: skip


def together(*metrics: MetricEvidence, **arguments: object) -> tuple[MetricDecision, ...]:
    policy = Policy(model=None, metrics=tuple(one.rule for one in metrics))
    return decide(policy, metrics, **arguments)  # type: ignore[arg-type]


def part(p: float = 0.5, mean: float = 0.0, *, value: str = "fr", size: int = 300, **fields: float) -> SliceDecision:
    figures = {"lower": mean - 0.02, "upper": mean + 0.02, "candidate_mean": 0.9 + mean, "baseline_mean": 0.9, **fields}
    return SliceDecision(
        column="country", value=value, size=size, decision="reported", reason="", mean=mean, p_fail=p, **figures
    )
