"""A plugin that writes down what it is called with, and misbehaves as the variable CHAOS says. Found as an installed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from unitrack.hookspecs import DatasetVersion, hookimpl

CHAOS = os.environ.get("CHAOS", "")
FOLDER = Path(os.environ["WITNESS"])
IN_TRAINING = Path(sys.argv[0]).parent.name != "capture"


def note(name, text=""):
    with (FOLDER / name).open("a") as file:
        file.write(f"{text}\n")


if not IN_TRAINING and CHAOS == "die at import":
    os._exit(7)
if not IN_TRAINING and CHAOS == "hang at import":
    note("pid", os.getpid())
    time.sleep(3600)
if CHAOS == "print":
    print("printed at import")


class Witness:
    name = "witness"

    def collect(self):
        note("pid", os.getpid())
        if CHAOS == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if CHAOS == "hang":
            note("pid", subprocess.Popen(["sleep", "3600"]).pid)
            time.sleep(3600)
        if CHAOS == "exit":
            sys.exit("enough")
        if CHAOS == "print":
            print("printed by a collector", flush=True)
            os.write(1, b'{"type": "ended"}\n')
            subprocess.run(["echo", "printed by a program"], check=True)
        if CHAOS == "no json":
            return {"number": 1 << 80, "object": object, "text": "NaN", "nan": float("nan"), "bad": "\ud800"}
        return {"argv": sys.argv[1:2] and "a job"}


class Resolver:
    name = "witness"

    def resolve(self, uri):
        return DatasetVersion(uri=uri, version="v1") if uri.startswith("witness://") else None


@hookimpl
def unitrack_register_collectors():
    return [Witness()]


@hookimpl
def unitrack_register_dataset_resolvers():
    return [Resolver()]


@hookimpl
def unitrack_run_started(run_id, folder):
    note("started", f"{run_id} {folder} {IN_TRAINING}")
    if CHAOS == "raise":
        raise RuntimeError("no such channel")


@hookimpl
def unitrack_run_finished(run_id, folder, status):
    note("finished", f"{run_id} {folder} {status} {IN_TRAINING}")
