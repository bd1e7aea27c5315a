"""What a gate decides and measures, as data: the parts of a verdict that come from numbers."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from unitrack.config import Goal, Role
from unitrack.events import NonFinite

__all__ = [
    "Cause",
    "Decision",
    "ExampleTest",
    "Look",
    "MetricDecision",
    "Noise",
    "Outcome",
    "SliceDecision",
    "Value",
]

Outcome = Literal["pass", "fail", "undecided"]
Decision = Literal["pass", "fail", "undecided", "reported"]
Value = Union[float, NonFinite, None]
Cause = Literal[
    "equal",
    "within_margin",
    "beyond_margin",
    "noise",
    "one_seed",
    "no_margin",
    "out_of_bounds",
    "slice",
    "examples",
    "rule",
    "new_metric",
    "candidate_missing",
    "candidate_not_finite",
    "baseline_missing",
    "baseline_not_finite",
    "unlike_hardware",
]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The tests after `n` pairs and the levels they had to reach; `history` says whether earlier noise was pooled."""

    n: int
    mean: float
    sd: float
    df: int
    p_pass: float | None
    p_fail: float
    pass_level: float
    fail_level: float
    history: bool = False


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """The noise of one metric's differences before this gate: standard deviation and degrees of freedom.

    `gates` is the number of gates it is from, `discarded` that of gates before a change of the noise.
    """

    sd: float
    df: int
    gates: int = 1
    discarded: int = 0


class ExampleTest(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides compared example by example, over all seeds.

    `mean` is the metric's difference, turned so that more is better, with its two-sided 90 % interval;
    `p_fail` tests "no worse". `n` counts examples, `lost` and `won` those only one side got right.
    """

    test: Literal["mcnemar", "delong", "bootstrap"]
    n: int
    mean: float
    lower: float
    upper: float
    p_fail: float
    lost: int | None = None
    won: int | None = None


class SliceDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One metric on the examples that share a value of a column; `size` counts them.

    `adjusted` is `p_fail` after Benjamini and Hochberg over the metric's slices. A slice that does not gate
    is `reported`, one smaller than the policy's smallest has no figures.
    """

    column: str
    value: str
    size: int
    decision: Decision
    reason: str
    candidate_mean: float | None = None
    baseline_mean: float | None = None
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    p_fail: float | None = None
    adjusted: float | None = None


class MetricDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for one metric and all it rests on.

    Differences are candidate minus baseline, turned so that more is better; `lower` and `upper` bound
    their mean (two-sided 90 %). `margin` is in the metric's unit; `margin_reason` says where an automatic one is
    from. `detectable` is the smallest drop this many seeds would show; `seeds_needed` says how many would let an
    unchanged candidate pass. `decided_at` is the number of pairs after which it was decided, `correlation` that of
    both sides over seeds, `spent_pass` and `spent_fail` the error rates used up by the looks. Without a margin, tests
    and looks are about the distance to `minimum` or `maximum`. `waived` is the id of a waiver that lets a failed
    metric through.
    """

    name: str
    goal: Goal
    role: Role
    decision: Decision
    cause: Cause
    reason: str
    candidate: tuple[Value, ...]
    baseline: tuple[Value, ...]
    differences: tuple[Value, ...]
    margin: float | None = None
    margin_reason: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    candidate_mean: float | None = None
    baseline_mean: float | None = None
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    p_pass: float | None = None
    p_fail: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    decided_at: int | None = None
    correlation: float | None = None
    spent_pass: float | None = None
    spent_fail: float | None = None
    noise: Noise | None = None
    looks: tuple[Look, ...] = ()
    examples: ExampleTest | None = None
    slices: tuple[SliceDecision, ...] = ()
    waived: str | None = None
