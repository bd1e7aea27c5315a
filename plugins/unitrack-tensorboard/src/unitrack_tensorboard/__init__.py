"""TensorBoard event files for unitrack: the backend `[backends.tensorboard]` and the reader `tensorboard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack import hookimpl
from unitrack_tensorboard._backend import TensorboardBackend, TensorboardFactory
from unitrack_tensorboard._reader import TensorboardReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.backend import BackendFactory
    from unitrack.foreign import Reader

__all__ = [
    "TensorboardBackend",
    "TensorboardFactory",
    "TensorboardReader",
    "unitrack_register_backends",
    "unitrack_register_readers",
]


@hookimpl
def unitrack_register_backends() -> Iterable[BackendFactory]:
    """Offer the backend `tensorboard`."""
    return [TensorboardFactory()]


@hookimpl
def unitrack_register_readers() -> Iterable[Reader]:
    """Offer the reader `tensorboard`."""
    return [TensorboardReader()]
