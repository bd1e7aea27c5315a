"""The standard library's csv module as many scripts use it: a row a call, flushed now and then."""

from __future__ import annotations

import csv
from pathlib import Path


class Adapter:
    """Columns are those of the first call."""

    def start(self, folder: Path) -> None:
        self.file = (folder / "metrics.csv").open("w", newline="")
        self.writer = csv.writer(self.file)
        self.rows = 0

    def log(self, values: dict[str, float], *, step: int) -> None:
        if not self.rows:
            self.writer.writerow(["step", *values])
        self.writer.writerow([step, *values.values()])
        self.rows += 1
        if self.rows % 100 == 0:
            self.file.flush()

    def finish(self) -> None:
        self.file.close()

    def count_left(self, folder: Path) -> int:
        with (folder / "metrics.csv").open(newline="") as file:
            return sum(len(row) > 1 for row in csv.reader(file)) - 1
