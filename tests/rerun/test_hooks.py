from __future__ import annotations

from pathlib import Path

import pytest

from unitrack.cli._training import make_executor
from unitrack.config import Settings, TrainSettings
from unitrack.errors import ConfigError, PluginError
from unitrack.plugins import load_plugins
from unitrack.rerun.executors.process import ProcessExecutor


def settings(root: Path, executor: str | None) -> Settings:
    return Settings(root=root, train=TrainSettings(command=("x",), executor=executor))


def test_the_built_in_executors_come_through_the_door_of_plugins() -> None:
    assert {"process", "container"} <= set(load_plugins().named("executors"))


def test_jobs_are_processes_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    assert isinstance(make_executor(settings(tmp_path, None)), ProcessExecutor)
    assert isinstance(make_executor(settings(tmp_path, "process")), ProcessExecutor)


def test_a_container_without_an_image_and_an_unknown_executor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no section \[train\.container\]"):
        make_executor(settings(tmp_path, "container"))
    with pytest.raises(PluginError, match="no executor 'slurm' .* found: container, process"):
        make_executor(settings(tmp_path, "slurm"))
