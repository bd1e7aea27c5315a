"""Training as users write it, and MLflow beside it: nothing is called but `unitrack`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unitrack.dispatch.background import wait_until_sent

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account

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


def test_a_training_killed_in_the_middle_is_killed_in_mlflow_with_all_it_logged(tracker_on_server):
    """The dispatcher was started by `init()`, outlives training, and sees its death."""
    uri, experiment = tracker_on_server.uri, tracker_on_server.experiment
    Path("unitrack.toml").write_text(f'[backends.mlflow]\ntracking_uri = "{uri}"\nexperiment = "{experiment}"\n')
    Path("train.py").write_text(TRAIN)
    training = subprocess.Popen([sys.executable, "train.py"], stdout=subprocess.PIPE, text=True)
    assert training.stdout.readline() == "far enough\n"
    _until(lambda: len(tracker_on_server.runs()) == 1)
    assert tracker_on_server.run().info.status == "RUNNING"
    training.send_signal(signal.SIGKILL)
    training.wait()
    training.stdout.close()
    folder = Path(".unitrack/runs/live")
    assert wait_until_sent(folder, ["mlflow"], 60.0) == []
    run = tracker_on_server.run("live")
    assert run.info.status == "KILLED"
    assert run.data.params == {"lr": "0.1", "opt/name": "adam"}
    (journal,) = (folder / "journal").glob("*.jsonl")
    logged = journal.read_text().count('"type":"metrics"')
    assert len(tracker_on_server.history("loss")) == logged > 200


def _until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)
