"""W&B for unitrack: backend `[backends.wandb]`, readers `wandb-offline` and `wandb`, registry `[registries.wandb]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_wandb._backend import WandbBackend, WandbFactory
from unitrack_wandb._read_api import ApiReader
from unitrack_wandb._read_folder import FolderReader
from unitrack_wandb._registry import WandbRegistry, WandbRegistryFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader
    from unitrack.hookspecs import RegistryFactory

__all__ = [
    "ApiReader",
    "FolderReader",
    "WandbBackend",
    "WandbFactory",
    "WandbRegistry",
    "WandbRegistryFactory",
    "unitrack_register_backends",
    "unitrack_register_readers",
    "unitrack_register_registries",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `wandb`."""
    return [WandbFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the readers `wandb-offline`, of folders, and `wandb`, of a server."""
    return [FolderReader(), ApiReader()]


@hookimpl
def unitrack_register_registries() -> Iterable[RegistryFactory]:
    """Offer the registry `wandb`."""
    return [WandbRegistryFactory()]
