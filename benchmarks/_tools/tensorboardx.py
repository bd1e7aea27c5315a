"""tensorboardX's SummaryWriter."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from _tools.tensorboard import count_scalars


class Adapter:
    """`add_scalar` for each metric."""

    def start(self, folder: Path) -> None:
        self.writer = SummaryWriter(str(folder))

    def log(self, values: dict[str, float], *, step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self.writer.close()

    def count_left(self, folder: Path) -> int:
        return count_scalars(folder)
