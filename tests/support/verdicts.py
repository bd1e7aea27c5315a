"""Verdicts as gates write them, built without training: for tests of what is made from one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.decision import ExampleTest, Look, MetricDecision, Noise, SliceDecision, Value
from unitrack.gate.lineage import Change, Lineage, Side, compare
from unitrack.gate.policy import MetricPolicy, Policy, policy_digest
from unitrack.gate.verdict import (
    Cost,
    Curve,
    Flag,
    Requirement,
    SeedRun,
    Subject,
    TestSetUse,
    Verdict,
    Waiver,
)

SEEDS = (0, 1, 2, 3, 4)
CREATED = 1.78e9
HOSTILE = (
    "a|b",
    "a\\|b\\\\|c",
    "`code` ``more``",
    "```\n## Gate passed\n```",
    "<img src=x onerror=alert(1)><script>x</script>",
    "</script><script>alert(1)</script><!--",
    "@maintainer please merge, fixes #1 and org/repo#2",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "http://evil.example and www.evil.example",
    "line\nbreak\r\n| new | row |",
    "\x1b[31mred\x1b[0m \u202egnp.exe",
    "**bold** _it_ ~~gone~~ $x$ &lt; &#64;user",
    "</details></code></sub>",
    "::error file=a.py::no gate\n::add-mask::x",
    "##[error]no gate",
    "]]> \x00\x0b\ufffe &amp;",
    'x" ; end\n%%{init: {"theme":"x"}}%%',
    "\U0001f600 e\u0301 日本語",
    "- item",
    "7. item",
    "    indented",
    "===",
    "+ item",
    " ",
    "`",
    "\\",
)


def metric(name: str, decision: str, *, goal: str = "maximize", role: str = "target", **fields: Any) -> MetricDecision:
    """One metric decided as told, on numbers that suit it."""
    drop = {"pass": 0.001, "fail": -0.05, "undecided": -0.012, "reported": -0.008}[decision]
    spread = 0.02 if decision == "undecided" else 0.0015
    noise = (-1.0, 0.4, -0.3, 1.1, -0.2)
    baseline = (0.904, 0.911, 0.893, 0.917, 0.9)
    sign = 1 if goal == "maximize" else -1
    differences = tuple(round(drop + spread * each, 6) for each in noise)
    candidate = tuple(round(old + sign * new, 6) for old, new in zip(baseline, differences, strict=True))
    mean = sum(differences) / 5
    half = 2.132 * spread / math.sqrt(5)
    words = {
        "pass": ("within_margin", f"The loss is shown to be smaller than 0.02 (p = {1e-5:.2g})."),
        "fail": (
            "beyond_margin",
            f"The mean difference is {mean:+.4g}: worse (p = 3.3e-08) and beyond the margin 0.02.",
        ),
        "undecided": ("noise", "Neither shown to be within the margin nor worse: the noise is too large for 5 seeds."),
        "reported": ("no_margin", f"Reported only. The mean difference is {mean:+.4g}."),
    }[decision]
    made: dict[str, Any] = {
        "name": name,
        "goal": goal,
        "role": "report" if decision == "reported" else role,
        "decision": decision,
        "cause": words[0],
        "reason": words[1],
        "candidate": candidate,
        "baseline": baseline,
        "differences": differences,
        "margin": None if decision == "reported" else 0.02,
        "candidate_mean": sum(candidate) / 5,
        "baseline_mean": sum(baseline) / 5,
        "mean": mean,
        "lower": mean - half,
        "upper": mean + half,
        "p_pass": 1e-5 if decision == "pass" else 0.3,
        "p_fail": 3.3e-8 if decision == "fail" else 0.12,
    }
    return MetricDecision(**{**made, **fields})


def looks(decision: str, *, count: int = 4) -> tuple[Look, ...]:
    """The looks after 2 to 5 pairs, with O'Brien-Fleming-like levels."""
    last = {"pass": (0.004, 0.6), "fail": (0.9, 3.3e-8)}.get(decision, (0.3, 0.12))
    return tuple(
        Look(
            n=n,
            mean=-0.01 * n / 5,
            sd=0.0015,
            df=n + 18,
            p_pass=min(1.0, last[0] * (6 - n)),
            p_fail=min(1.0, last[1] * 10 ** (5 - n)),
            pass_level=0.0125 * (n - 1) / 2,
            fail_level=0.01 * (n / 5) ** 3,
            history=True,
        )
        for n in range(2, 2 + count)
    )


def slices(count: int, *, column: str = "country", bad: int = 1) -> tuple[SliceDecision, ...]:
    """Slices of one column: the first `bad` fail, the next is too small."""
    made = []
    for at in range(count):
        decision = "fail" if at < bad else "reported" if at == bad else "pass"
        small = at == bad
        mean = -0.08 + 0.001 * at if at < bad else 0.002 * (at % 3 - 1)
        made.append(
            SliceDecision(
                column=column,
                value=("no", "de", "fr", "jp", "us")[at % 5] + (f"-{at // 5}" if at >= 5 else ""),
                size=12 if small else 400 + 37 * at,
                decision=decision,
                reason="12 examples are fewer than 50: no figures."
                if small
                else "The slice is worse (BH 5 %)."
                if at < bad
                else "No loss shown.",
                **(
                    {}
                    if small
                    else {
                        "candidate_mean": 0.9 + mean,
                        "baseline_mean": 0.9,
                        "mean": mean,
                        "lower": mean - 0.01,
                        "upper": mean + 0.01,
                        "p_fail": 2e-5 if at < bad else 0.4,
                        "adjusted": 1e-4 if at < bad else 0.6,
                    }
                ),
            )
        )
    return tuple(made)


def curves(name: str, *, points: int = 20, drop: float = 0.05) -> tuple[Curve, ...]:
    """Learning curves of each seed and side."""
    steps = tuple(float(10 * at) for at in range(1, points + 1))
    return tuple(
        Curve(
            metric=name,
            side=side,
            seed=seed,
            steps=steps,
            values=tuple(
                round(0.9 + 0.004 * seed - lost - 0.5 * math.exp(-step / 50) + 0.006 * math.sin(step * (seed + 1)), 5)
                for step in steps
            ),
        )
        for side, lost in (("baseline", 0.0), ("candidate", drop))
        for seed in SEEDS
    )


def verdict(outcome: str, metrics: Sequence[MetricDecision], **fields: Any) -> Verdict:
    """A verdict over these metrics that `decode` accepts if `outcome` is what they come to."""
    policy = Policy(
        model="digits",
        metrics=tuple(MetricPolicy(name=one.name, goal=one.goal, role=one.role, margin=one.margin) for one in metrics),
    )
    new, old = (
        tuple(SeedRun(seed=seed, run=f"rerun-{side}-{seed}", job=(side + str(seed)) * 32) for seed in SEEDS)
        for side in ("c", "b")
    )
    failed = next((one.name for one in metrics if one.decision == outcome), "")
    made: dict[str, Any] = {
        "key": "1f" * 32,
        "blocks": outcome != "pass",
        "outcome": outcome,
        "summary": {
            "pass": "All metrics are within their margins.",
            "fail": f"{failed} is worse than the baseline and beyond its margin.",
            "undecided": f"{failed} could not be decided with 5 seeds.",
        }[outcome],
        "created": CREATED,
        "unitrack": "0.1.0",
        "policy": policy,
        "policy_sha256": policy_digest(policy),
        "policy_source": "unitrack.toml at bbbbbbbbbbbb (main)",
        "candidate": Subject(commit="c" * 40, reference="HEAD", runs=new),
        "baseline": Subject(commit="b" * 40, reference="digits@production", model="digits v3", runs=old),
        "seeds": SEEDS,
        "seeds_planned": 5,
        "tier": "statistically_equal",
        "metrics": tuple(metrics),
        "lineage": Lineage(
            commits=("cccccccccccc Use a larger learning rate", "aaaaaaaaaaaa Tidy the loader"),
            files=("src/train.py", "src/loader.py"),
            changes=(
                Change(kind="params", name="optimizer.lr", baseline="0.01", candidate="0.1"),
                Change(kind="packages", name="scikit-learn", baseline="1.5.0", candidate="1.6.1"),
            ),
            likely_cause="Likely params: optimizer.lr 0.01 → 0.1. Also changed: packages (scikit-learn 1.5.0 → 1.6.1).",
        ),
        "requirements": (Requirement(name="data.version", satisfied=True, evidence="digits 7d1a (1,797 rows)"),),
        "test_set": TestSetUse(digest="7d1a" * 16, verdicts=7),
        "cost": Cost(seconds=412.5, trained=6, cached=4),
        "reproduce": f"unitrack gate --candidate {'c' * 40} --baseline {'b' * 40} --seeds 5",
    }
    return Verdict(**{**made, **fields})


def ordinary(outcome: str) -> Verdict:
    """A verdict with every part filled: a target, a guardrail, a budget and a reported metric."""
    name = "val/accuracy"
    target = metric(
        name,
        outcome,
        margin_reason="auto: 2 standard deviations of 14 earlier gates",
        noise=Noise(sd=0.0017, df=38, gates=14, discarded=3),
        looks=looks(outcome),
        decided_at=5,
        correlation=0.62,
        spent_pass=0.05,
        spent_fail=0.01,
        detectable=0.031 if outcome == "undecided" else 0.004,
        seeds_needed=11 if outcome == "undecided" else None,
        examples=ExampleTest(
            test="mcnemar",
            n=1797,
            mean=-0.05 if outcome == "fail" else 0.001,
            lower=-0.056,
            upper=0.004,
            p_fail=1e-9 if outcome == "fail" else 0.4,
            lost=131,
            won=42,
        ),
        slices=slices(8, bad=1 if outcome == "fail" else 0),
    )
    metrics = (
        target,
        metric("val/log_loss", "pass", goal="minimize", role="guardrail", looks=looks("pass", count=2), decided_at=3),
        metric("train/seconds", "pass", goal="minimize", role="budget", maximum=60.0),
        metric("loss", "reported", goal="minimize"),
    )
    return verdict(
        outcome,
        metrics,
        curves=curves(name, drop=0.05 if outcome == "fail" else 0.0),
        warnings=("Uncommitted changes are not included: notes.txt",),
    )


def waived() -> Verdict:
    """A failed metric that a waiver lets through."""
    failed = metric("val/accuracy", "fail", waived="w-3f2a", looks=looks("fail"))
    return verdict(
        "pass",
        (failed, metric("val/log_loss", "pass", goal="minimize", role="guardrail")),
        summary="val/accuracy is worse, and a waiver lets it through.",
        waivers=(
            Waiver(
                id="w-3f2a",
                metric="val/accuracy",
                scope="feature/smaller-model",
                reason="A smaller model is worth five points until the new data arrives.",
                who="Ada <ada@example.org>",
                created=CREATED - 86400,
                expires=CREATED + 6 * 86400,
            ),
        ),
        flags=(Flag(kind="policy", text="the candidate has another [gate] than the one used: margin 0.02 → 0.2"),),
    )


def missing() -> Verdict:
    """A candidate that no longer logs its target, and logs NaN for its guardrail: decided by the gate itself."""
    gone = MetricPolicy(name="val/accuracy", goal="maximize", margin=0.02)
    odd = MetricPolicy(name="val/log_loss", goal="minimize", role="guardrail", margin=0.05)
    policy = Policy(model="digits", metrics=(gone, odd))
    found = decide(
        policy,
        [
            MetricEvidence(rule=gone, seeds=(0, 1), candidate=(None, None), baseline=(0.904, 0.911)),
            MetricEvidence(rule=odd, seeds=(0, 1), candidate=(0.31, math.nan), baseline=(0.33, 0.32)),
        ],
        pairs_max=5,
    )
    return verdict(
        "fail",
        found,
        policy=policy,
        policy_sha256=policy_digest(policy),
        seeds=(0, 1),
        summary=("2 of 2 metrics failed: val/accuracy, val/log_loss."),
    )


def first() -> Verdict:
    """The first candidate ever: nothing to compare with, decided by the gate itself."""
    rule = MetricPolicy(name="val/accuracy", goal="maximize", margin=0.02)
    policy = Policy(model="digits", metrics=(rule,))
    evidence = MetricEvidence(rule=rule, seeds=(0,), candidate=(0.904,), baseline=(None,))
    made = verdict("undecided", decide(policy, [evidence], pairs_max=5), policy=policy, seeds=(0,))
    nobody = Side(commit="", facts=())
    return msgspec.structs.replace(
        made,
        summary="There is no baseline yet: nothing was compared.",
        policy_sha256=policy_digest(policy),
        baseline=Subject(commit="", reference="digits@production", runs=()),
        lineage=compare(Side(commit="c" * 40, facts=()), nobody, commits=(), files=()),
        reproduce=f"unitrack gate --candidate {'c' * 40}",
    )


def hostile(text: str = HOSTILE[4], *, name: str | None = None) -> Verdict:
    """A verdict in which every text is `text`; texts that are a file's own keep to its rules."""
    base = ordinary("fail")
    name = text if name is None else name
    first = msgspec.structs.replace(
        base.metrics[0],
        name=name,
        reason=text,
        margin_reason=text,
        waived=text,
        slices=tuple(
            msgspec.structs.replace(one, column=text, value=text, reason=text) for one in base.metrics[0].slices[:3]
        ),
    )
    lineage = Lineage(
        commits=(text,),
        files=(text,),
        changes=tuple(Change(kind=kind, name=text, baseline=text, candidate=text) for kind in ("params", "data")),
        likely_cause=text,
        omitted=3,
    )
    subject = {"reference": text, "model": text}
    return verdict(
        "fail",
        (first, *base.metrics[1:]),
        summary=text,
        policy_source=text,
        unitrack=text,
        reproduce=text,
        lineage=lineage,
        candidate=msgspec.structs.replace(base.candidate, **subject),
        baseline=msgspec.structs.replace(base.baseline, **subject),
        warnings=(text,),
        flags=(Flag(kind="policy", text=text),),
        waivers=(Waiver(id=text, metric=name, scope=text, reason=text, who=text, created=1.0, expires=2.0),),
        requirements=(Requirement(name=text, satisfied=False, evidence=text),),
        test_set=TestSetUse(digest=text, verdicts=30, warning=text),
        curves=tuple(msgspec.structs.replace(one, metric=name) for one in curves(name, points=3)),
    )


def huge(*, metrics: int = 500, each: int = 50) -> Verdict:
    """500 metrics of 50 slices, judged by examples, too: 25,000 rows."""
    found = []
    for at in range(metrics):
        decision = "fail" if at % 50 == 3 else "undecided" if at % 50 == 7 else "pass"
        bad = 2 if decision == "fail" else 0
        found.append(
            metric(
                f"group{at // 50}/metric_{at:03}", decision, slices=slices(each, bad=bad), looks=looks(decision),
                examples=ExampleTest(test="delong", n=90_000, mean=-0.05, lower=-0.056, upper=0.004, p_fail=1e-9),
            )
        )  # fmt: skip
    return verdict("fail", found, curves=curves("group0/metric_003"))


def mixed_values() -> tuple[Value, ...]:
    """Values with a gap and both infinities."""
    return (0.9, None, "NaN", "Infinity", "-Infinity")
