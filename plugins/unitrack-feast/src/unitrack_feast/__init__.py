"""Feast for unitrack: versions of feature services, lineage of training sets, and what production serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_feast._features import FeatureSet, differences
from unitrack_feast._lineage import SAME, log_training_set
from unitrack_feast._resolver import FeastResolver
from unitrack_feast._store import read_features

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import click

    from unitrack.hookspecs import DatasetResolver

__all__ = [
    "SAME",
    "FeastResolver",
    "FeatureSet",
    "differences",
    "log_training_set",
    "read_features",
    "unitrack_add_commands",
    "unitrack_register_dataset_resolvers",
]


@hookimpl
def unitrack_register_dataset_resolvers() -> Iterable[DatasetResolver]:
    """Offer the resolver `feast`."""
    return [FeastResolver()]


@hookimpl
def unitrack_add_commands() -> Mapping[str, click.Command]:
    """Offer the command `feast-check`."""
    from unitrack_feast._command import feast_check

    return {"feast-check": feast_check}
