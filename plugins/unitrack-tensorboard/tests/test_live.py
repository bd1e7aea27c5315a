"""Training as users write it, and event files beside it: nothing is called but `unitrack`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from unitrack.dispatch.background import wait_until_sent

TRAIN = """
import time, unitrack
run = unitrack.init(project="p", id="live", config={"lr": 0.1, "opt": {"name": "adam"}})
for step in range(1000):
    run.log({"loss": 1 / (step + 1)}, step=step)
    if step == 200:
        print("far enough", flush=True)
    if step > 200:
        time.sleep(0.05)
"""


def test_a_training_killed_in_the_middle_is_killed_in_its_files_with_all_it_logged(logdir):
    """A relative logdir counts from the folder of the settings, wherever training runs."""
    Path("unitrack.toml").write_text('[backends.tensorboard]\nlogdir = "logs"\n')
    logdir.path = Path("logs").absolute()
    Path("deeper").mkdir()
    Path("deeper/train.py").write_text(TRAIN)
    training = subprocess.Popen([sys.executable, "train.py"], stdout=subprocess.PIPE, text=True, cwd="deeper")
    assert training.stdout.readline() == "far enough\n"
    _until(lambda: logdir.own("position.json", "live").exists() and logdir.own("run.json", "live").exists())
    assert logdir.document("run.json", "live")["status"] is None
    training.send_signal(signal.SIGKILL)
    training.wait()
    training.stdout.close()
    folder = Path(".unitrack/runs/live")
    assert wait_until_sent(folder, ["tensorboard"], 60.0) == []
    told = logdir.document("run.json", "live")
    assert (told["status"], told["params"]) == ("killed", {"lr": 0.1, "opt/name": "adam"})
    (journal,) = (folder / "journal").glob("*.jsonl")
    logged = [json.loads(line)["step"] for line in journal.read_text().splitlines() if '"type":"metrics"' in line]
    assert [step for step, _ in logdir.series("loss", "live")] == logged
    assert len(logged) > 200


def _until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)
