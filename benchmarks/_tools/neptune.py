"""Neptune 1.x, offline, without its own monitoring."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import neptune

warnings.filterwarnings("ignore", module="neptune")


class Adapter:
    """`append` for each metric."""

    def start(self, folder: Path) -> None:
        os.chdir(folder)
        self.run = neptune.init_run(
            mode="offline", git_ref=False, source_files=[], capture_hardware_metrics=False, capture_stderr=False,
            capture_stdout=False, capture_traceback=False,
        )  # fmt: skip

    def log(self, values: dict[str, float], *, step: int) -> None:
        run = self.run
        for name, value in values.items():
            run[name].append(value, step=step)

    def finish(self) -> None:
        self.run.stop()

    def count_left(self, folder: Path) -> int:
        from neptune.core.components.queue.disk_queue import DiskQueue

        left = 0
        for path in {file.parent for file in folder.rglob("data-*.log")}:
            queue = DiskQueue(path, lambda taken: taken, lambda taken: taken, threading.RLock())
            while taken := queue.get_batch(1000):
                left += sum(_is_loss(element.obj) for element in taken)
        return left


def _is_loss(operation: dict[str, object]) -> bool:
    return operation["type"] == "LogFloats" and operation["path"] == ["loss"]
