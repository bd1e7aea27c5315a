"""The command `unitrack feast-check`."""

from __future__ import annotations

import click
import msgspec

from unitrack.errors import EvidenceError
from unitrack.reader import get_run
from unitrack_feast._features import FeatureSet, differences
from unitrack_feast._lineage import KEY
from unitrack_feast._store import open_store, read_features

__all__ = ["feast_check"]


@click.command("feast-check")
@click.argument("run")
@click.option("--repo", required=True, metavar="FOLDER", help="Production's feature_store.yaml is in here.")
def feast_check(run: str, repo: str) -> None:
    """Say whether production's Feast serves the features that RUN was trained on, in their order.

    Ends with 0 if it does, 1 if it doesn't, 4 if the run logged no training set of Feast's.
    """
    trained = [
        msgspec.convert(dataset.metadata[KEY], FeatureSet)
        for dataset in get_run(run).datasets
        if KEY in (dataset.metadata or {})
    ]
    if not trained:
        raise EvidenceError(f"run {run} logged no features of Feast: call unitrack_feast.log_training_set in training")
    store, said = open_store(repo), []
    for features in {one.service: one for one in trained}.values():
        said += [
            f"{features.service}: {words}" for words in differences(features, read_features(store, features.service))
        ]
    for line in said or [f"{repo} serves what {run} was trained on"]:
        click.echo(line)
    raise click.exceptions.Exit(1 if said else 0)
