"""Pachyderm for unitrack: which commit of which repository `pfs://repo@branch` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_pachyderm._resolver import PachydermResolver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.hookspecs import DatasetResolver

__all__ = ["PachydermResolver", "unitrack_register_dataset_resolvers"]


@hookimpl
def unitrack_register_dataset_resolvers() -> Iterable[DatasetResolver]:
    """Offer the resolver `pachyderm`."""
    return [PachydermResolver()]
