"""`unitrack gate calibrate`: measure a training's own noise, and suggest margins."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import click
import msgspec

from unitrack.cli import installed_version
from unitrack.cli._output import Console, duration, emit, json_option, note, styled, table
from unitrack.cli._training import make_rerunner, stopped_in_order, warn_of
from unitrack.cli._training_progress import TrainingProgress
from unitrack.config import Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError
from unitrack.files import write_atomic
from unitrack.gate.calibration import (
    PLANNED,
    Calibration,
    CalibrationSide,
    MetricCalibration,
    Spread,
    calibrate,
    rules_of,
    toml_of,
)
from unitrack.gate.past import place_of
from unitrack.gate.policy import Policy
from unitrack.gate.statistics import require_scipy
from unitrack.gate.verdict import SeedRun
from unitrack.reader import RunView, get_run
from unitrack.rerun.git import find_repository
from unitrack.rerun.job import JobResult
from unitrack.rerun.runner import Rerunner, choose_seeds

__all__ = ["command"]

_TIERS = {
    "bit_equal": "bit-equal",
    "within_1e-6": "within 1e-6",
    "statistically_equal": "up to its noise",
    "not_reproduced": "not at all",
}


@click.command(name="calibrate")
@click.argument("commit", default="HEAD")
@click.option("--seeds", type=click.IntRange(min=2), default=PLANNED, show_default=True, metavar="N", help="How many.")
@click.option("--fresh", is_flag=True, help="Train both of a pair, even if an equal job succeeded before.")
@json_option
def command(*, commit: str, seeds: int, fresh: bool, as_json: bool) -> None:
    """Train COMMIT in pairs and say how noisy it is.

    Each seed is trained twice. Prints for each metric how far two equal trainings are apart, how seeds spread, the
    drop that 5 pairs detect, how many pairs a commit needs to pass, and rules with margins to paste. Later gates at
    this place start from this noise.
    """
    require_scipy()
    settings = load_settings()
    if settings.train is None:
        raise ConfigError("there is no section [train]: calibration trains", key="train")
    repository = find_repository(settings.root)
    found, chosen = repository.commit(commit), choose_seeds(settings.train, seeds)
    anew = make_rerunner(repository, settings, fresh=True)
    once = anew if fresh else make_rerunner(repository, settings, fresh=False)
    pairs = _train(once, anew, found, chosen)
    made = _calibration(settings, anew, found, chosen, pairs)
    path = _write(settings.store, made)
    ruled = bool(settings.gate and settings.gate.metrics)
    emit(made, as_json=as_json, render=lambda console: _show(console, made, ruled=ruled))
    warn_of(anew.warnings)
    note(f"calibration: {path}")


def _train(once: Rerunner, anew: Rerunner, commit: str, seeds: tuple[int, ...]) -> list[tuple[JobResult, JobResult]]:
    pairs = []
    with stopped_in_order(), TrainingProgress(anew.log, ("first", "second"), seeds) as progress:
        for seed in seeds:
            found = []
            for side, rerunner in (("first", once), ("second", anew)):
                progress.started(side, seed)
                result = rerunner.run(rerunner.job(commit, seed))
                progress.ended(side, seed, result)
                if not result.ok:
                    raise EvidenceError(
                        f"nothing was measured: training {commit[:12]} with seed {seed} gave no evidence: "
                        f"{result.reason}; its output is {result.log} in the store"
                    )
                found.append(result)
            pairs.append((found[0], found[1]))
    return pairs


def _calibration(
    settings: Settings,
    rerunner: Rerunner,
    commit: str,
    seeds: tuple[int, ...],
    pairs: list[tuple[JobResult, JobResult]],
) -> Calibration:
    sides: list[dict[int, RunView]] = [
        {seed: get_run(pair[at].run, dir=settings.store) for seed, pair in zip(seeds, pairs, strict=True)}
        for at in (0, 1)
    ]
    rules = rules_of(settings.gate, [*sides[0].values(), *sides[1].values()])
    if not rules:
        raise EvidenceError("nothing was measured: the runs have no metric in common")
    policy = Policy(
        model=settings.gate.model if settings.gate else None,
        metrics=rules,
        history=settings.gate.history if settings.gate else 20,
    )
    tier, metrics = calibrate(policy, seeds, sides[0], sides[1])
    job = rerunner.job(commit, seeds[0])
    return Calibration(
        created=time.time(),
        unitrack=installed_version(),
        place=place_of({commit: f"{job.executor}: {job.fingerprint}"}),
        tier=tier,
        policy=policy,
        candidate=_side(commit, seeds, [one for one, _ in pairs]),
        baseline=_side(commit, seeds, [other for _, other in pairs]),
        seeds=seeds,
        metrics=metrics,
        seconds=round(sum(one.seconds for pair in pairs for one in pair if not one.cached), 3),
    )


def _side(commit: str, seeds: tuple[int, ...], results: list[JobResult]) -> CalibrationSide:
    runs = zip(seeds, results, strict=True)
    return CalibrationSide(commit=commit, runs=tuple(SeedRun(seed=s, run=one.run, job=one.key) for s, one in runs))


def _write(store: Path, made: Calibration) -> Path:
    """Keep it where later gates look for earlier noise; equal runs, one file."""
    runs = [one.run for side in (made.candidate, made.baseline) for one in side.runs]
    digest = hashlib.sha256("\n".join(runs).encode()).hexdigest()
    path = store / "gate" / f"calibration-{digest[:16]}" / "calibration.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    return path


def _show(console: Console, made: Calibration, *, ruled: bool) -> None:
    tier = _TIERS[made.tier] if made.tier else "unknown"
    console.print(f"{len(made.seeds)} pairs of {made.candidate.commit[:12]}; training reproduces {tier}")
    columns = (
        "metric", "mean", "pair noise", "seed spread", "correlation", "detectable", "margin", "pairs unchanged",
        "pairs changed", "reproduces",
    )  # fmt: skip
    console.print(table(columns, map(_row, made.metrics), right=columns[1:9]))
    console.print(
        f"noise and spread: standard deviation and its 95% interval; detectable: by {PLANNED} pairs; pairs: to pass "
        "with a chance of 80%, for an unchanged commit and for one whose seeds share nothing with the baseline's",
        style="dim",
    )
    console.print(f"\n{toml_of(made, ruled=ruled)}")
    if made.seconds:
        console.print(f"trained for {duration(made.seconds)}", style="dim")


def _row(one: MetricCalibration) -> tuple[object, ...]:
    margin = one.margin if one.margin is None or one.margin_is == "suggested" else f"{one.margin:g} (policy)"
    return (
        one.name,
        one.mean,
        _spread(one.pair_noise),
        _spread(one.seed_spread),
        one.correlation,
        one.detectable,
        margin,
        one.pairs_unchanged if one.mean is None or one.pairs_unchanged else "over 1000",
        one.pairs_changed if one.mean is None or one.pairs_changed else "over 1000",
        styled(_TIERS[one.tier], "green" if one.tier == "bit_equal" else "yellow") if one.tier else None,
    )


def _spread(one: Spread | None) -> str | None:
    if one is None:
        return None
    return "0" if one.sd == 0 else f"{one.sd:.3g} ({one.lower:.3g} to {one.upper:.3g})"
