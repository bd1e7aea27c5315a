"""neptune-scale, offline, without console and source capture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neptune_scale import Run


class Adapter:
    """`log_metrics` with the whole dict."""

    def start(self, folder: Path) -> None:
        os.chdir(folder)
        self.run = Run(
            project="bench/bench", run_id="run", mode="offline", log_directory=folder,
            enable_console_log_capture=False, source_tracking_config=None,
        )  # fmt: skip

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.run.log_metrics(values, step=step)

    def finish(self) -> None:
        self.run.close()

    def count_left(self, folder: Path) -> int:
        return sum(_count(path) for path in folder.rglob("*.sqlite3"))


def _count(path: Path) -> int:
    from neptune_scale.sync.operations_repository import OperationsRepository

    repository, left, last = OperationsRepository(path.resolve()), 0, None
    while operations := repository.get_operations(up_to_bytes=1 << 26, from_exclusive=last):
        last = operations[-1].sequence_id
        left += sum(_has_loss(operation.operation) for operation in operations)
    return left


def _has_loss(snapshot: Any) -> bool:
    return "loss" in getattr(snapshot, "append", ())
