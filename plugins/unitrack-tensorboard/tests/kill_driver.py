"""Send a run with a worker that is killed at its n-th write, for every odd n, until one gets through.

A write is each of the folder's own, once before and once after, once in the middle of the event file's, and each
saving of the cursor. Prints how many were killed. Usage: kill_driver.py STORE LOGDIR
"""

from __future__ import annotations

import os
import signal
import sys

from unitrack.dispatch import delivery
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack_tensorboard import TensorboardFactory, _backend, _folder

store, logdir = sys.argv[1:3]


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

    def tearing(folder, data):
        with (folder.path / folder.position.file).open("ab") as file:
            file.truncate(folder.position.length)
            file.write(data[: len(data) // 2])
        step()
        return whole(folder, data)

    whole = _folder.RunFolder.write
    _folder.RunFolder.write = killing(tearing)
    for module, name in (
        (_folder, "write_atomic"), (_backend, "write_atomic"), (_folder.os, "link"), (_folder.os, "replace"),
        (delivery, "save_cursor"),
    ):  # fmt: skip
        setattr(module, name, killing(getattr(module, name)))
    job = Job(store=store, backend="tensorboard", type="tensorboard", options={"logdir": logdir, "batch": 12})
    results = []
    Worker(job, TensorboardFactory(), results.append).run()
    os._exit(0 if [one.state for one in results if hasattr(one, "state")] in (["sent"], []) else 3)


killed = 0
while True:
    pid = os.fork()
    if pid == 0:
        child(2 * killed + 1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        break
    killed += 1
print(killed)
sys.exit(os.waitstatus_to_exitcode(status))
