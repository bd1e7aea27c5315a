"""A tracker in a folder, and the ways in which one fails. Found by worker processes as an installed plugin."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from unitrack.backend import Capabilities, ExportResult, FatalBackendError, Lowering, RetryableError
from unitrack.errors import ConfigError
from unitrack.hookspecs import hookimpl


class Factory:
    name = "chaos"

    def create(self, options):
        if "folder" not in options:
            raise ConfigError("[backends.chaos] needs folder", key="folder")
        return Backend(Path(options["folder"]), options.get("trouble", ""))


class Backend:
    capabilities = Capabilities(batch=5)

    def __init__(self, folder, trouble):
        self.folder, self.trouble = folder, trouble

    def open(self, run, acked):
        print("this client prints to stdout")
        if self.trouble == "import":
            raise ImportError("No module named 'chaos_client'")
        if self.trouble == "abort":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.abort()
        if self.trouble == "fatal":
            raise FatalBackendError("bad password")
        if self.trouble == "down" and not (self.folder / "up").exists():
            raise RetryableError("connection refused")
        self.run = run.id
        self.folder.mkdir(exist_ok=True)
        return {"target": str(self.folder)}

    def export(self, records):
        strikes = self.folder / "strikes"
        count = int(strikes.read_text()) if strikes.exists() else 0
        if self.trouble == "crash" and count < 2:
            strikes.write_text(str(count + 1))
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.trouble == "always crash":
            sys.stderr.write("a last word\n")
            sys.stderr.flush()
            os._exit(9)
        if self.trouble == "hang":
            time.sleep(3600)
        if self.trouble == "slow":
            time.sleep(0.05)
        with (self.folder / f"{self.run}.jsonl").open("a") as file:
            for record in records:
                file.write(json.dumps([record.writer, record.event.seq]) + "\n")
        return ExportResult(acked=len(records), lowered=(Lowering(kind="step", name="loss", detail="gone"),))

    def flush(self, timeout):
        pass

    def close(self, status, ended):
        (self.folder / f"{self.run}.status").write_text(str(status))


@hookimpl
def unitrack_register_backends():
    return [Factory()]
