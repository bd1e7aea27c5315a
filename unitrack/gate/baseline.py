"""Find what a candidate must hold up to: a version of the model, its commit, the runs it was registered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.errors import ConfigError, EvidenceError, UnitrackError, UsageError
from unitrack.gate.engine import Contender
from unitrack.rerun.job import JobResult, successes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unitrack.reader import RunView
    from unitrack.registry import ModelVersion, Registry
    from unitrack.rerun.git import Repository

__all__ = ["WINNERS_CURSE", "Baseline", "find_baseline", "recorded_runs"]

WINNERS_CURSE = (
    "the baseline's numbers are recorded ones, not trained again: a production model was chosen because its numbers "
    "were high (the best of 5 runs is 1.16 standard deviations too high on average), and comparing with them blocks "
    'unchanged code in 57 % of gates at a tolerance of one standard deviation; use `baseline = "rerun"`'
)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline of a gate, and its registered version if it is one. `missing` says why there is none yet."""

    contender: Contender
    version: ModelVersion | None = None
    missing: str | None = None


def find_baseline(reference: str | None, model: str | None, *, registry: Registry, repository: Repository) -> Baseline:
    """Return the baseline that `reference` names, the model's production version for None.

    A production version that was never set is `missing`, whatever else can't be had raises EvidenceError.
    """
    if reference is None and model is None:
        raise ConfigError("[gate] has no model: name one, or a commit with --baseline", key="gate.model")
    wanted = reference or f"{model}@production"
    if not _names_a_model(wanted):
        return Baseline(contender=Contender(commit=repository.commit(wanted), reference=wanted))
    version = registry.find(wanted)
    if version is None and reference is None:
        return Baseline(contender=Contender(commit="", reference=wanted), missing=_how_to_register(wanted))
    if version is None:
        raise EvidenceError(_how_to_register(wanted))
    return _of_version(version, wanted, repository)


def _of_version(version: ModelVersion, reference: str, repository: Repository) -> Baseline:
    if version.commit is None:
        raise EvidenceError(f"{version.reference} was registered without a commit: name one with --baseline")
    try:
        commit = repository.commit(version.commit)
    except UsageError as error:
        raise EvidenceError(f"the commit of {version.reference} is not here: {error}") from error
    contender = Contender(commit=commit, reference=reference, model=version.reference)
    return Baseline(contender=contender, version=version)


def _how_to_register(reference: str) -> str:
    model = reference.partition("@")[0].partition(":")[0]
    return (
        f"there is no baseline: the registry has no {reference}. Register a run's model with "
        f"`unitrack models register {model} --run RUN`, then `unitrack models alias {model} production 1 "
        "--reason WHY`; or name a commit with --baseline"
    )


def _names_a_model(reference: str) -> bool:
    return ("@" in reference and "@{" not in reference and reference != "@") or ":" in reference


def recorded_runs(
    version: ModelVersion | None, *, store: Path, open_run: Callable[[str], RunView]
) -> dict[int, JobResult]:
    """Return by seed the runs a version was registered with: its run, and the trainings of its commit beside it.

    Raises EvidenceError if its run can't be read, is not whole, or has no known seed.
    """
    if version is None:
        raise EvidenceError("recorded runs are those of a registered model: name one as the baseline, not a commit")
    known = {result.run: result for result in successes(store)}
    try:
        view = open_run(version.run)
        whole = view.status == "finished" and not view.lost
        seed = _seed(view, known.get(version.run))
    except UnitrackError as error:
        raise EvidenceError(f"the run of {version.reference} can't be read: {error}") from error
    if not whole or seed is None:
        why = "has no known seed: log it as parameter `seed`" if whole else f"is {view.status}, or lost events"
        raise EvidenceError(f"run {version.run} of {version.reference} {why}")
    own = known.get(version.run) or JobResult(
        key="", commit=version.commit or "", seed=seed, ok=True, run=version.run, seconds=0.0, log="", cached=True
    )
    beside = [one for one in known.values() if own.key and one.commit == own.commit and _readable(one, open_run)]
    found = {one.seed: msgspec.structs.replace(one, cached=True) for one in sorted(beside, key=lambda one: one.run)}
    return {**found, seed: msgspec.structs.replace(own, cached=True)}


def _seed(view: RunView, result: JobResult | None) -> int | None:
    if result is not None:
        return result.seed
    seed = view.params.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _readable(result: JobResult, open_run: Callable[[str], RunView]) -> bool:
    try:
        view = open_run(result.run)
        return view.status == "finished" and not view.lost and not view.damaged
    except UnitrackError:
        return False
