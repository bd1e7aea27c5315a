"""Judge the same simulated trainings by the gate and by the rules people use today.

Every rule may lose 2 % of the baseline; the noise of one run is 1 % or 2 % of it. Rules that compare one run with a
stored number get one training of the candidate, the others five pairs at most.

    python benchmarks/gate/compare.py [--gates 20000] [--processes N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from simulate import BLOCK, HISTORY, SEEDS, bounds, gate

from unitrack.gate.history import known_noise
from unitrack.gate.policy import MetricPolicy, Policy

LEVEL = 0.9  # what the baseline's metric is on average
TOLERANCE = 0.02
NOISES = (0.01, 0.02)
DROPS = (0.0, 0.02, 0.04, 0.06)
STORED = 30  # earlier runs of the baseline

Verdicts = Any  # an array of True for block


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Runs of many gates: (gates, runs) of each side, and stored ones of the baseline from before."""

    candidate: Any
    baseline: Any
    stored: Any


def train(draw: np.random.Generator, noise: float, drop: float, gates: int) -> Trainings:
    """Draw all runs of a block of gates."""
    spread = noise * LEVEL
    return Trainings(
        candidate=LEVEL * (1 - drop) + spread * draw.standard_normal((gates, SEEDS)),
        baseline=LEVEL + spread * draw.standard_normal((gates, SEEDS)),
        stored=LEVEL + spread * draw.standard_normal((gates, STORED)),
    )


# -- rules of today ------------------------------------------------------------------------------


def fixed_tolerance(runs: Trainings) -> Verdicts:
    """One run may be 2 % worse than one stored number."""
    return runs.candidate[:, 0] < (1 - TOLERANCE) * runs.stored[:, 0]


def fixed_after_choice(runs: Trainings) -> Verdicts:
    """The same, the stored number being the best of five: it was put into production because it was high."""
    return runs.candidate[:, 0] < (1 - TOLERANCE) * runs.stored[:, :5].max(axis=1)


def metric_threshold(runs: Trainings) -> Verdicts:
    """MLflow's `MetricThreshold(min_absolute_change=...)`: no tolerance can be said, only by how much to improve."""
    return ~(runs.candidate[:, 0] >= runs.stored[:, 0] + 1e-10)


def prediction_interval(runs: Trainings) -> Verdicts:
    """Bencher's t-test, lower boundary 0.99: one run against the prediction interval of 30 stored ones."""
    mean, spread = runs.stored.mean(axis=1), runs.stored.std(axis=1, ddof=1)
    return runs.candidate[:, 0] < mean - stats.t.ppf(0.99, STORED - 1) * spread * math.sqrt(1 + 1 / STORED)


def paired(level: float) -> Callable[[Trainings], Verdicts]:
    """Five pairs, worse if a plain paired t-test says so."""

    def rule(runs: Trainings) -> Verdicts:
        return stats.ttest_rel(runs.candidate, runs.baseline, axis=1, alternative="less").pvalue <= level

    return rule


TODAY: Mapping[str, tuple[Callable[[Trainings], Verdicts], int]] = {
    "fixed 2 % against a stored run": (fixed_tolerance, 1),
    "fixed 2 % against the best of five stored runs": (fixed_after_choice, 1),
    "MLflow MetricThreshold, must not be worse": (metric_threshold, 1),
    "Bencher t-test, 30 stored runs, boundary 0.99": (prediction_interval, 1),
    "plain paired t, 5 pairs, 5 %": (paired(0.05), 2 * SEEDS),
    "plain paired t, 5 pairs, 1 %": (paired(0.01), 2 * SEEDS),
}


# -- the gate ------------------------------------------------------------------------------------

POLICY = Policy(model=None, metrics=(MetricPolicy(name="m0", goal="maximize", relative_margin=TOLERANCE),))


def unitrack_gate(draw: np.random.Generator, runs: Trainings, noise: float, *, history: bool) -> Iterator[Any]:
    """Yield outcome and pairs of each gate."""
    earlier = noise * LEVEL * math.sqrt(2) * draw.standard_normal((len(runs.candidate), 5, SEEDS))
    for one, other, past in zip(runs.candidate.tolist(), runs.baseline.tolist(), earlier.tolist(), strict=True):
        yield gate(POLICY, [one], [other], known_noise({"m0": past}, cap=HISTORY if history else 0))


def play(noise: float, drop: float, block: int, gates: int) -> Counter[str]:
    """Judge a block by every rule."""
    draw = np.random.default_rng([20260102, block, int(noise * 1000), int(drop * 1000)])
    runs = train(draw, noise, drop, gates)
    counts: Counter[str] = Counter()
    for name, (rule, _) in TODAY.items():
        counts[f"{name}: fail"] += int(rule(runs).sum())
    for name, history in GATES.items():
        for outcome, pairs in unitrack_gate(draw, runs, noise, history=history):
            counts[f"{name}: {outcome}"] += 1
            counts[f"{name}: trainings"] += 2 * pairs
    return counts


GATES = {"unitrack gate, five earlier gates": True, "unitrack gate, no earlier gate": False}


# -- the table -----------------------------------------------------------------------------------


def table(found: Mapping[tuple[float, float], Counter[str]], gates: int) -> Iterator[str]:
    """Yield the lines of a table for each noise."""
    for noise in NOISES:
        yield f"\nNoise of one run {noise:.0%} of the baseline:\n"
        truths = [f"drop {drop:.0%}: blocked" if drop else "unchanged: blocked" for drop in DROPS]
        yield f"| rule | {' | '.join(truths)} | passed: unchanged, drops | trainings |"
        yield "| --- |" + " ---: |" * (len(DROPS) + 2)
        for name in (*TODAY, *GATES):
            counts = [found[noise, drop] for drop in DROPS]
            blocked = [f"{each[f'{name}: fail'] / gates:.1%}" for each in counts]
            _, high = bounds(counts[0][f"{name}: fail"], gates)
            passed = [each[f"{name}: pass"] if name in GATES else gates - each[f"{name}: fail"] for each in counts]
            trained = [each[f"{name}: trainings"] / gates if name in GATES else TODAY[name][1] for each in counts]
            spread = f"{min(trained):.1f} to {max(trained):.1f}" if name in GATES else f"{trained[0]}"
            shares = ", ".join(f"{each / gates:.1%}" for each in passed)
            yield f"| {name} | {blocked[0]} (≤ {high:.2%}) | {' | '.join(blocked[1:])} | {shares} | {spread} |"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--gates", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", help="write the counts here, too")
    options = parser.parse_args()
    found: dict[tuple[float, float], Counter[str]] = {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for noise in NOISES:
            for drop in DROPS:
                sizes = [min(BLOCK, options.gates - at) for at in range(0, options.gates, BLOCK)]
                blocks = [(noise, drop, at, size) for at, size in enumerate(sizes)]
                found[noise, drop] = sum(pool.starmap(play, blocks, chunksize=1), Counter())
    print(f"{options.gates:,} gates a cell, bounds 95 %. What the gate neither blocks nor passes is undecided.")
    print("\n".join(table(found, options.gates)))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([{"noise": n, "drop": d, **counts} for (n, d), counts in found.items()], file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
