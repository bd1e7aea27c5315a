"""The W&B backend of unitrack, `[backends.wandb]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_wandb._backend import WandbBackend, WandbFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory

__all__ = [
    "WandbBackend",
    "WandbFactory",
    "unitrack_register_backends",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `wandb`."""
    return [WandbFactory()]
