"""The W&B backend of unitrack, `[backends.wandb]`, and the readers `wandb-offline` and `wandb`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_wandb._backend import WandbBackend, WandbFactory
from unitrack_wandb._read_api import ApiReader
from unitrack_wandb._read_folder import FolderReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader

__all__ = [
    "ApiReader",
    "FolderReader",
    "WandbBackend",
    "WandbFactory",
    "unitrack_register_backends",
    "unitrack_register_readers",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `wandb`."""
    return [WandbFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the readers `wandb-offline`, of folders, and `wandb`, of a server."""
    return [FolderReader(), ApiReader()]
