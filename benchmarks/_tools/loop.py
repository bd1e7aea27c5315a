"""What many training scripts do: log to several trackers one after the other."""

from __future__ import annotations

from pathlib import Path

from _tools import mlflow, tensorboard, wandb


class Adapter:
    """MLflow's SQLite store, W&B offline and a TensorBoard file."""

    def __init__(self) -> None:
        self.parts = {"mlflow": mlflow.Adapter(), "wandb": wandb.Adapter(), "tensorboard": tensorboard.Adapter()}

    def start(self, folder: Path) -> None:
        for name, part in self.parts.items():
            (folder / name).mkdir()
            part.start(folder / name)

    def log(self, values: dict[str, float], *, step: int) -> None:
        for part in self.parts.values():
            part.log(values, step=step)

    def finish(self) -> None:
        for part in self.parts.values():
            part.finish()

    def count_left(self, folder: Path) -> int:
        return min(part.count_left(folder / name) for name, part in self.parts.items())
