"""trackio with its local store and no hardware sampling."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from _tools.base import Log


class Adapter:
    """The client reads its folder at import, so it is imported when the folder is known."""

    log: Log

    def __init__(self) -> None:
        import importlib.util

        if importlib.util.find_spec("trackio") is None:
            raise ModuleNotFoundError("No module named 'trackio'", name="trackio")

    def start(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder)
        import trackio

        self.run = trackio.init("benchmark", name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        self.log = self.run.log

    def finish(self) -> None:
        self.run.finish()

    def count_left(self, folder: Path) -> int:
        os.environ["TRACKIO_DIR"] = str(folder)
        from trackio.sqlite_storage import SQLiteStorage

        if not SQLiteStorage.get_project_db_path("benchmark").exists():
            return 0
        return sum("loss" in row for row in SQLiteStorage.get_logs("benchmark", "run", max_points=None))
