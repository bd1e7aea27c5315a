"""DVC for unitrack: versions of data it tracks, and the stage of a pipeline that a training runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_dvc._resolver import DvcResolver
from unitrack_dvc._stage import DvcCollector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.hookspecs import Collector, DatasetResolver

__all__ = ["DvcCollector", "DvcResolver", "unitrack_register_collectors", "unitrack_register_dataset_resolvers"]


@hookimpl
def unitrack_register_dataset_resolvers() -> Iterable[DatasetResolver]:
    """Offer the resolver `dvc`."""
    return [DvcResolver()]


@hookimpl
def unitrack_register_collectors() -> Iterable[Collector]:
    """Offer the collector `dvc`."""
    return [DvcCollector()]
