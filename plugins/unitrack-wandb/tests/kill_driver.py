"""Send a run offline with a worker that is killed at its n-th step, for every n, until one gets through.

A step is a write, a sync, a replacement of a file, once before and once after it is carried out; a write is also
cut in half. Prints how many were killed. Usage: kill_driver.py STORE FOLDER EVERY
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import wandb  # once for all children
import wandb.proto.wandb_internal_pb2
import wandb.sdk.interface.interface_shared

from unitrack.dispatch import delivery
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack_wandb import WandbFactory, _log, _objects, _offline

wandb.Artifact("a", type="b")  # its modules are slow to import
store, folder, every = sys.argv[1], sys.argv[2], int(sys.argv[3])


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

    class Torn:
        """What `_log` sees of `os`: writes that a kill leaves half-done."""

        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, handle, data):
            step()
            half = os.write(handle, data[: len(data) // 2])
            step()
            return half + os.write(handle, data[half:])

        def fsync(self, handle):
            step()
            os.fsync(handle)
            step()

    _log.os = Torn()
    _offline.write_atomic = killing(_offline.write_atomic)
    _objects.write_atomic = killing(_objects.write_atomic)
    delivery.save_cursor = killing(delivery.save_cursor)
    options = {"mode": "offline", "dir": folder, "batch": 7}
    job = Job(store=store, backend="wandb", type="wandb", options=options)
    results = []
    Worker(job, WandbFactory(), results.append).run()
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
Path(folder, "killed").write_text(str(killed))
sys.exit(os.waitstatus_to_exitcode(status))
