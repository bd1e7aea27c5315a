"""Follow runs with workers that are killed one after another, each after a random time.

They are forked from a process that has imported the client once. Prints how many were killed.
Usage: kill_driver.py STORE TRACKING_URI SEED COUNT RUN...
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import warnings

warnings.simplefilter("ignore")

import mlflow  # noqa: E402 - once for all children
import mlflow.store.artifact.mlflow_artifacts_repo  # noqa: E402, F401

from unitrack.dispatch.messages import Job  # noqa: E402
from unitrack.dispatch.worker import Worker  # noqa: E402
from unitrack_mlflow import MlflowFactory  # noqa: E402

store, uri, seed, count, *names = sys.argv[1:]
draw = random.Random(int(seed))
options = {"tracking_uri": uri, "batch": 20, "metrics_per_request": 15}
job = Job(store=store, backend="mlflow", type="mlflow", options=options, runs=tuple(names), follow=True, poll=0.05)


def child():
    Worker(job, MlflowFactory(), lambda message: None).run()
    os._exit(0)


killed = 0
while killed < int(count):
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    time.sleep(draw.uniform(0.0, 0.45))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    killed += os.WIFSIGNALED(status)
print(killed)
