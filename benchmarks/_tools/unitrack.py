"""unitrack with its defaults, no backend configured."""

from __future__ import annotations

from pathlib import Path

import unitrack
from _tools.base import Log


class Adapter:
    """`log` is the run's own."""

    log: Log

    def start(self, folder: Path) -> None:
        self.run = unitrack.init("benchmark", id="run", dir=folder)
        self.log = self.run.log

    def finish(self) -> None:
        self.run.finish()

    def count_left(self, folder: Path) -> int:
        return len(unitrack.get_run("run", dir=folder).series("loss"))
