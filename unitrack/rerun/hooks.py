"""The built-in plugin `rerun`: the executors that come with unitrack. What they need is imported when one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack.errors import ConfigError
from unitrack.hookspecs import ExecutorFactory, hookimpl

if TYPE_CHECKING:
    from unitrack.config import TrainSettings

__all__ = ["unitrack_register_executors"]


class _Process:
    name = "process"

    def open(self, train: TrainSettings, *, store: Path) -> Any:
        from unitrack.rerun.executors.process import ProcessExecutor

        return ProcessExecutor()


class _Container:
    name = "container"

    def open(self, train: TrainSettings, *, store: Path) -> Any:
        from unitrack.rerun.executors.container import ContainerExecutor

        if train.container is None:
            raise ConfigError(
                "[train].executor is 'container', and there is no section [train.container]: "
                'name an image: image = "name@sha256:..."',
                key="train.container",
            )
        return ContainerExecutor(train.container, store=store)


@hookimpl
def unitrack_register_executors() -> list[ExecutorFactory]:
    """Return the built-in executors."""
    return [_Process(), _Container()]
