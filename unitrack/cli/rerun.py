"""`unitrack rerun`: train a commit again under pinned inputs."""

from __future__ import annotations

from contextlib import closing

import click

from unitrack.cli._output import Console, duration, emit, json_option, styled, table
from unitrack.cli._training import jobs_option, limit_of, make_rerunner, stopped_in_order, warn_of
from unitrack.cli._training_progress import TrainingProgress
from unitrack.config import load_settings
from unitrack.errors import ConfigError, EvidenceError
from unitrack.rerun.git import find_repository
from unitrack.rerun.job import JobResult
from unitrack.rerun.runner import choose_seeds
from unitrack.rerun.scheduler import Asked, side_by_side

__all__ = ["command"]


@click.command(name="rerun")
@click.argument("commit", default="HEAD")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="How many seeds; all of [train] unless given.")
@click.option("--fresh", is_flag=True, help="Train again even if an equal job succeeded before.")
@jobs_option
@json_option
def command(*, commit: str, seeds: int | None, fresh: bool, jobs: int | None, as_json: bool) -> None:
    """Train COMMIT again, once for each seed.

    Each training is [train].command in a clean checkout of the commit, with pinned inputs and a fixed
    environment; it logs a run into this project's store. A job that succeeded before is not repeated.
    """
    settings = load_settings()
    repository = find_repository(settings.root)
    found = repository.commit(commit)
    rerunner = make_rerunner(repository, settings, fresh=fresh)
    if settings.train is None:
        raise ConfigError("there is no section [train]")
    chosen = choose_seeds(settings.train, seeds)
    limit = limit_of(settings.train, jobs)
    asked = [Asked(side="run", commit=found, seed=seed) for seed in chosen]
    with (
        stopped_in_order(),
        TrainingProgress(rerunner.log, ("run",), chosen) as progress,
        closing(side_by_side(rerunner, asked, progress, limit=limit)) as coming,
    ):
        results = list(coming)
    warn_of(rerunner.warnings)

    def render(console: Console) -> None:
        columns = ("seed", "run", "result", "took", "log")
        console.print(table(columns, map(_row, results), right=("seed", "took")))

    emit(results, as_json=as_json, render=render)
    if not all(result.ok for result in results):
        click.get_current_context().exit(EvidenceError.exit_code)


def _row(result: JobResult) -> tuple[object, ...]:
    fine = styled("known" if result.cached else "finished", "green")
    words = fine if result.ok else styled(result.reason, "red")
    return result.seed, result.run if result.ok else None, words, duration(result.seconds), result.log
