"""Simulate gates whose truth is known, and count how often they are wrong.

Every gate is decided by `unitrack.gate.decide.decide` itself, pair after pair, as the engine calls it. Each
scenario has a fixed seed, drawn in blocks, so that figures don't depend on the number of processes.

    python benchmarks/gate/simulate.py [--gates 20000] [--processes N] [--json FILE] [--only WORD]

Exit code 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from unitrack.gate.decide import MetricEvidence, decide, overall, settled
from unitrack.gate.decision import Noise
from unitrack.gate.history import known_noise
from unitrack.gate.policy import MetricPolicy, Policy

SEEDS = 5
HISTORY = 20
BLOCK = 500  # gates drawn from one stream
LEVEL = 0.05  # what a confidence bound leaves out

Shape = Literal["normal", "t4", "skew", "outliers"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a figure has to be: `what` is counted over gates, or the mean of pairs."""

    what: Literal["fail", "pass", "pairs"]
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Gates of one kind. Drop and margin are in standard deviations of one run; `rho` correlates both sides.

    `past` says where earlier noise is from: `ideal` draws a variance of 20 degrees of freedom, `gates` pools five
    earlier gates of five pairs, `unlike` ten of which every other one had half the noise (its seeds were tied, this
    gate's are not), `none` leaves it out. With several metrics only the first one drops.
    """

    name: str
    drop: float = 0.0
    margin: float = 2.0
    rho: float = 0.0
    shape: Shape = "normal"
    past: Literal["ideal", "gates", "unlike", "none"] = "ideal"
    metrics: int = 1
    role: Literal["target", "guardrail"] = "target"
    limits: tuple[Limit, ...] = ()


FALSE_BLOCK = Limit(what="fail", most=0.01)
HEAVY = Limit(what="fail", most=0.014)
FALSE_PASS = Limit(what="pass", most=0.055)
CAUGHT = Limit(what="fail", least=0.95)
FEW_PAIRS = Limit(what="pairs", most=3.2)


FAMILIES: tuple[tuple[Literal["target", "guardrail"], float], ...] = (
    ("guardrail", 0.5),
    ("guardrail", 2.0),
    ("target", 0.5),
)


def scenarios() -> list[Scenario]:
    """Return all of them, in the order of the table."""
    made = [
        Scenario(name="unchanged", margin=margin, rho=rho, limits=(FALSE_BLOCK, *((FEW_PAIRS,) if margin == 2 else ())))
        for rho in (0.0, 0.5)
        for margin in (0.5, 1.0, 1.5, 2.0)
    ]
    made += [
        Scenario(name="unchanged", margin=margin, shape=shape, past="gates", limits=(HEAVY,))
        for shape in ("t4", "skew", "outliers")
        for margin in (0.5, 1.0, 2.0)
    ]
    made += [Scenario(name="unchanged", margin=2.0, past=past, limits=(FALSE_BLOCK,)) for past in ("gates", "none")]
    made += [
        Scenario(name="unchanged, 20 metrics", margin=margin, metrics=20, role=role, limits=(FALSE_BLOCK,))
        for role, margin in FAMILIES
    ]
    made += [
        Scenario(name="drop = margin", drop=margin, margin=margin, rho=rho, limits=(FALSE_PASS,))
        for rho in (0.0, 0.5)
        for margin in (1.0, 1.5, 2.0)
    ]
    made += [
        Scenario(name="drop = margin", drop=2.0, margin=2.0, shape=shape, past="gates", limits=(FALSE_PASS,))
        for shape in ("normal", "t4", "skew", "outliers")
    ]
    made += [Scenario(name="drop = margin", drop=2.0, margin=2.0, past="none", limits=(FALSE_PASS,))]
    made += [Scenario(name="3 sigma drop", drop=3.0, margin=m, limits=(CAUGHT,)) for m in (1.0, 1.5, 2.0)]
    made += [Scenario(name="2 sigma drop", drop=2.0, margin=m, rho=0.5, limits=(CAUGHT,)) for m in (0.5, 1.0)]
    made += [
        Scenario(name="3 sigma drop, no history", drop=3.0, past="none"),
        Scenario(name="3 sigma drop, history of gates", drop=3.0, past="gates"),
        Scenario(name="3 sigma drop in 1 of 20 metrics", drop=3.0, margin=1.5, metrics=20),
        Scenario(name="1 sigma drop", drop=1.0, margin=0.5),
        Scenario(name="unchanged, margin 0", margin=0.0),
        *(Scenario(name="unchanged", margin=margin, past="unlike") for margin in (0.5, 1.0, 2.0)),
        Scenario(name="3 sigma drop, unlike history", drop=3.0, past="unlike"),
    ]
    return made


# -- what trainings come to ----------------------------------------------------------------------


def noise(draw: np.random.Generator, shape: Shape, size: Sequence[int]) -> Any:
    """Draw noise of mean 0 and variance 1."""
    if shape == "t4":
        return draw.standard_t(4, size) / math.sqrt(2)
    if shape == "skew":  # a long tail of bad runs: skewness -2
        return 1 - draw.exponential(1, size)
    if shape == "outliers":  # one run in twenty is five times as noisy
        wide = np.where(draw.random(size) < 0.05, 5.0, 1.0)
        return draw.standard_normal(size) * wide / math.sqrt(0.95 + 0.05 * 25)
    return draw.standard_normal(size)


def both_sides(draw: np.random.Generator, scenario: Scenario, gates: int, pairs: int) -> tuple[Any, Any]:
    """Return values of candidate and baseline, (gates, metrics, pairs), without the drop."""
    size = (gates, scenario.metrics, pairs)
    shared = math.sqrt(scenario.rho) * draw.standard_normal(size)
    own = math.sqrt(1 - scenario.rho)
    return (
        shared + own * noise(draw, scenario.shape, size),
        shared + own * noise(draw, scenario.shape, size),
    )


def earlier(draw: np.random.Generator, scenario: Scenario, gates: int) -> list[dict[str, Noise]]:
    """Return what earlier gates tell, for each gate."""
    names = [f"m{at}" for at in range(scenario.metrics)]
    if scenario.past == "none":
        return [{}] * gates
    if scenario.past in ("gates", "unlike"):
        count = 5 if scenario.past == "gates" else 10
        one, other = both_sides(draw, scenario, gates, count * SEEDS)
        drawn = (one - other).reshape(gates, scenario.metrics, count, SEEDS)
        if scenario.past == "unlike":
            drawn[:, :, ::2] /= 2
        past = drawn.tolist()
        return [known_noise(dict(zip(names, gate, strict=True)), cap=HISTORY) for gate in past]
    true = math.sqrt(2 * (1 - scenario.rho))
    known = true * np.sqrt(draw.chisquare(HISTORY, (gates, scenario.metrics)) / HISTORY)
    return [{name: Noise(sd=sd, df=HISTORY) for name, sd in zip(names, gate, strict=True)} for gate in known.tolist()]


# -- gates ---------------------------------------------------------------------------------------


def play(scenario: Scenario, block: int, gates: int) -> Counter[str]:
    """Decide a block of gates and count outcomes and pairs."""
    draw = np.random.default_rng([20260101, block, *scenario_key(scenario)])
    candidates, baselines = both_sides(draw, scenario, gates, SEEDS)
    candidates[:, 0, :] -= scenario.drop
    rules = [
        MetricPolicy(name=f"m{at}", goal="maximize", margin=scenario.margin, role=scenario.role)
        for at in range(scenario.metrics)
    ]
    policy = Policy(model=None, metrics=tuple(rules))
    counts: Counter[str] = Counter()
    known_before = earlier(draw, scenario, gates)
    for candidate, baseline, known in zip(candidates.tolist(), baselines.tolist(), known_before, strict=True):
        outcome, pairs = gate(policy, candidate, baseline, known)
        counts[outcome] += 1
        counts["pairs"] += pairs
        counts["pairs squared"] += pairs * pairs
    return counts


def gate(
    policy: Policy, candidate: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]], known: dict[str, Noise]
) -> tuple[str, int]:
    """Train pair after pair, as the engine does; return the outcome and the pairs that were needed."""
    for pairs in range(1, SEEDS + 1):
        evidence = [
            MetricEvidence(rule=rule, seeds=tuple(range(pairs)), candidate=tuple(c[:pairs]), baseline=tuple(b[:pairs]))
            for rule, c, b in zip(policy.metrics, candidate, baseline, strict=True)
        ]
        decisions = decide(policy, evidence, pairs_max=SEEDS, noise=known)
        if settled(decisions):
            break
    return overall(decisions), pairs


def scenario_key(scenario: Scenario) -> list[int]:
    """Return numbers that start a stream of its own for each scenario."""
    return list(repr((scenario.name, scenario.drop, scenario.margin, scenario.rho, scenario.shape, scenario.past,
                      scenario.metrics, scenario.role)).encode())  # fmt: skip


def run(scenario: Scenario, gates: int, pool: Any) -> Counter[str]:
    """Decide all gates of a scenario."""
    blocks = [(scenario, at, min(BLOCK, gates - at * BLOCK)) for at in range(math.ceil(gates / BLOCK))]
    return sum(pool.starmap(play, blocks, chunksize=1), Counter())


# -- figures -------------------------------------------------------------------------------------


def bounds(hits: int, gates: int) -> tuple[float, float]:
    """Return one-sided 95 % bounds of a share (Clopper and Pearson), below and above."""
    low = stats.beta.ppf(LEVEL, hits, gates - hits + 1) if hits else 0.0
    high = stats.beta.ppf(1 - LEVEL, hits + 1, gates - hits) if hits < gates else 1.0
    return float(low), float(high)


def figures(counts: Counter[str], gates: int) -> dict[str, tuple[float, float, float]]:
    """Return each figure with its lower and upper bound."""
    shares = {what: (counts[what] / gates, *bounds(counts[what], gates)) for what in ("fail", "pass", "undecided")}
    mean = counts["pairs"] / gates
    spread = math.sqrt(max(counts["pairs squared"] / gates - mean * mean, 0.0) / gates)
    return {**shares, "pairs": (mean, mean - 1.645 * spread, mean + 1.645 * spread)}


def judge(limit: Limit, found: dict[str, tuple[float, float, float]]) -> tuple[str, bool]:
    """Say how a figure stands to its limit, its bound on the side of the limit included."""
    value, low, high = found[limit.what]
    share = limit.what != "pairs"

    def number(x: float) -> str:
        return f"{x:.2%}" if share else f"{x:.3f}"

    if limit.most is not None:
        missed, bound, words, at = value > limit.most, high, "at most", limit.most
        beyond = high > limit.most
    else:
        assert limit.least is not None
        missed, bound, words, at = value < limit.least, low, "at least", limit.least
        beyond = low < limit.least
    mark = "**MISSED**" if missed else "ok, bound beyond" if beyond else "ok"
    return f"{limit.what} {number(value)} (bound {number(bound)}), {words} {number(at)}: {mark}", missed


def rows(gates: int, chosen: Sequence[Scenario], processes: int) -> Iterator[tuple[Scenario, dict[str, Any], bool]]:
    """Yield each scenario with its figures, and whether it missed a limit."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for scenario in chosen:
            counts = run(scenario, gates, pool)
            found = figures(counts, gates)
            said = [judge(limit, found) for limit in scenario.limits]
            yield scenario, {**found, "limits": [words for words, _ in said]}, any(missed for _, missed in said)


def line(scenario: Scenario, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    shares = " | ".join(f"{found[what][0]:.2%} (≤ {found[what][2]:.2%})" for what in ("fail", "pass"))
    return (
        f"| {scenario.name} | {scenario.margin:g} | {scenario.rho:g} | {scenario.shape} | {scenario.past} | {shares} "
        f"| {found['undecided'][0]:.1%} | {found['pairs'][0]:.2f} | {'; '.join(found['limits'])} |"
    )


def main() -> int:
    """Print the table; return 1 if a limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--gates", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--history", help="scenarios whose history is of this kind")
    parser.add_argument("--json", help="write the figures here, too")
    options = parser.parse_args()
    began, missed, kept = time.monotonic(), [], []
    print(f"{options.gates:,} gates a row, {SEEDS} seeds at most; sigma is the standard deviation of one run.\n")
    print("| truth | margin | seed correlation | noise | history | fails | passes | undecided | pairs | limits |")
    print("| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | --- |")
    chosen = [one for one in scenarios() if options.only in one.name and options.history in (None, one.past)]
    for scenario, found, bad in rows(options.gates, chosen, options.processes):
        print(line(scenario, found), flush=True)
        kept.append({**{name: getattr(scenario, name) for name in ("name", "margin", "rho", "shape", "past")}, **found})
        if bad:
            missed.append(f"{scenario.name}, margin {scenario.margin:g}, {scenario.shape}")
    print(f"\n{time.monotonic() - began:.0f} s. " + (f"MISSED: {'; '.join(missed)}" if missed else "All limits hold."))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"gates": options.gates, "rows": kept}, file, indent=1)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
