"""One adapter a tool, and the table of them. An adapter's module imports its client, so each is loaded alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

from _tools.base import Tool

__all__ = ["TOOLS", "Entry", "load"]


class Entry(NamedTuple):
    """A tool of the comparison; `microseconds` is about what a call costs and sets how many calls it gets."""

    title: str
    distribution: str | None
    microseconds: float


TOOLS: Mapping[str, Entry] = {
    "unitrack": Entry("unitrack", "unitrack", 2),
    "csv_file": Entry("csv module, flushed each 100 rows", None, 2),
    "trackio": Entry("trackio", "trackio", 10),
    "tensorboard": Entry("TensorBoard event writer", "tensorboard", 50),
    "tensorboardx": Entry("tensorboardX", "tensorboardX", 60),
    "neptune": Entry("Neptune 1.x offline", "neptune", 60),
    "wandb": Entry("W&B offline", "wandb", 120),
    "neptune_scale": Entry("neptune-scale offline", "neptune-scale", 250),
    "dvclive": Entry("dvclive", "dvclive", 350),
    "mlflow_async": Entry("MLflow SQLite, async", "mlflow", 1000),
    "mlflow": Entry("MLflow SQLite, sync", "mlflow", 4000),
    "loop": Entry("MLflow SQLite + W&B + TensorBoard in a loop", "mlflow", 5000),
}
"""Every tool by the name of its module, fastest first."""


def load(name: str) -> Tool:
    """Return a fresh adapter. Raises ImportError when the tool isn't installed."""
    tool: Tool = importlib.import_module(f"_tools.{name}").Adapter()
    return tool
