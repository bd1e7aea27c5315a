"""Send a run with a worker that is killed at its n-th step, for every n, until one gets through.

A step is a call of MlflowClient, once before and once after it is carried out, and each saving of
the cursor. Prints how many were killed. Usage: kill_driver.py STORE TRACKING_URI EXPERIMENT EVERY
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

warnings.simplefilter("ignore")

import mlflow  # noqa: E402 - once for all children
import mlflow.store.artifact.local_artifact_repo  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402 - two seconds a child otherwise

from unitrack.dispatch import delivery  # noqa: E402
from unitrack.dispatch.messages import Job  # noqa: E402
from unitrack.dispatch.worker import Worker  # noqa: E402
from unitrack_mlflow import MlflowFactory  # noqa: E402

store, uri, experiment, every = *sys.argv[1:4], int(sys.argv[4])
CALLS = (
    "create_experiment", "create_run", "search_runs", "set_tag", "log_batch", "log_artifact", "log_artifacts",
    "log_inputs", "delete_tag", "update_run", "set_terminated", "create_logged_model", "log_model_artifacts",
    "finalize_logged_model", "log_outputs",
)  # fmt: skip


def child(fatal):
    steps = [0]

    def step():
        steps[0] += 1
        if steps[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(call):
        def wrapped(*args, **kwargs):
            step()
            result = call(*args, **kwargs)
            step()
            return result

        return wrapped

    for name in CALLS:
        setattr(mlflow.MlflowClient, name, killing(getattr(mlflow.MlflowClient, name)))
    delivery.save_cursor = killing(delivery.save_cursor)
    options = {"tracking_uri": uri, "experiment": experiment, "batch": 20, "metrics_per_request": 15}
    job = Job(store=store, backend="mlflow", type="mlflow", options=options)
    results = []
    Worker(job, MlflowFactory(), results.append).run()
    os._exit(0 if [one.state for one in results if hasattr(one, "state")] in (["sent"], []) else 3)


killed = 0
fatal = 1
while True:
    pid = os.fork()
    if pid == 0:
        child(fatal)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        break
    killed += 1
    fatal += every
print(killed)
sys.exit(os.waitstatus_to_exitcode(status))
