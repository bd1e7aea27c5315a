"""SIGKILL at a hundred random moments, and a server that goes and comes: MLflow holds exactly one of everything."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest

import unitrack
from unitrack.journal.cursor import load_cursor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account

SEED = 20261125
WORKERS, DISPATCHERS = 94, 6


class Server:
    """A real MLflow server on SQLite that can be killed and started again in its place."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def is_up(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def wait(self):
        until = time.monotonic() + 120
        while not self.is_up():
            assert time.monotonic() < until and self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    made = Server(tmp_path / "server")
    made.start()
    made.wait()
    yield made
    made.kill()


class Training:
    """Two runs, one in the other, that log a little at a time, and a record of what they logged."""

    def __init__(self, store):
        self.runs = [unitrack.init("chaos", id="one", dir=store, mode="offline", config={"lr": 0.1, "deep": {"n": 3}})]
        self.runs.append(unitrack.init("chaos", id="two", dir=store, mode="offline", parent="one"))
        self.points = {run.id: {"loss": [], "mAP@50": []} for run in self.runs}
        self.params = {"one": {"lr": "0.1", "deep/n": "3"}, "two": {}}
        self.files = {run.id: {} for run in self.runs}
        self.step = 0

    def log(self):
        self.step += 1
        for run in self.runs:
            values = {"loss": self.step / 8, "mAP@50": float(self.step % 7)}
            run.log(values, step=self.step)
            for name, value in values.items():
                self.points[run.id][name].append((self.step, value))
            if self.step % 40 == 0:
                self.extras(run)

    def extras(self, run):
        run.config.update({f"p{self.step}": self.step})
        self.params[run.id][f"p{self.step}"] = str(self.step)
        run.set_tags([f"tag-{self.step}"])
        path = Path(f"{run.id}-{self.step}.txt")
        path.write_text(f"{run.id} at {self.step}")
        run.log_artifact(path, name=path.name)
        self.files[run.id][path.name] = path.read_bytes()

    def finish(self):
        for run in reversed(self.runs):
            run.finish()


def test_a_hundred_kills_and_a_server_that_goes_and_comes_leave_exactly_one_of_everything(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    print(f"seed {SEED}")
    (tmp_path / "unitrack.toml").write_text(
        f'capture = []\nsystem_metrics = 0\n[backends.mlflow]\ntracking_uri = "{server.uri}"\nbatch = 20\nmetrics_per_request = 15\n'
    )
    store = tmp_path / ".unitrack"
    training = Training(store)
    driver = Path(__file__).with_name("kill_driver.py")
    command = [sys.executable, str(driver), str(store), server.uri, str(SEED), str(WORKERS), "one", "two"]
    began = time.monotonic()
    killer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    outages = [began + 8.0, began + 25.0]
    while killer.poll() is None:
        training.log()
        time.sleep(0.02)
        if outages and time.monotonic() > outages[0]:
            outages.pop(0)
            server.kill()
            time.sleep(1.0)
            server.start()
    killed = int(killer.stdout.read())
    killer.stdout.close()
    server.wait()
    killed += _kill_dispatchers(training, random.Random(SEED))
    training.finish()
    print(f"{killed} kills in {time.monotonic() - began:.0f} s, {training.step} steps")
    done = subprocess.run(
        [sys.executable, "-m", "unitrack", "sync"], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed == WORKERS + DISPATCHERS
    assert {run: load_cursor(store / "runs" / run, "mlflow").dead for run in training.points} == {"one": 0, "two": 0}
    _check(MlflowClient(server.uri), training, tmp_path)


def _kill_dispatchers(training, draw):
    """Kill real dispatchers, and their workers with them or not: these then leave by themselves."""
    killed = 0
    for number in range(DISPATCHERS):
        process = subprocess.Popen(
            [sys.executable, "-m", "unitrack", "sync", "one", "two", "--follow"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + draw.uniform(0.5, 5.0)
        while time.monotonic() < until:
            training.log()
            time.sleep(0.02)
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        killed += process.wait() == -signal.SIGKILL
    return killed


def _check(client, training, tmp_path):
    (experiment,) = [one for one in client.search_experiments() if one.name == "chaos"]
    held = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["unitrack.run_id"] for run in held) == ["one", "two"]
    by_id = {run.data.tags["unitrack.run_id"]: run for run in held}
    assert by_id["two"].data.tags["mlflow.parentRunId"] == by_id["one"].info.run_id
    for name, run in by_id.items():
        assert run.info.status == "FINISHED"
        assert run.data.params == training.params[name]
        expected = {f"tag-{step}" for step in range(40, training.step + 1, 40)}
        assert {tag for tag in run.data.tags if tag.startswith("tag-")} == expected
        assert len(run.data.metrics) == 2
        for key in run.data.metrics:
            own = "loss" if key == "loss" else "mAP@50"
            rows = [(row.step, row.value) for row in client.get_metric_history(run.info.run_id, key)]
            assert sorted(rows) == training.points[name][own], f"{name}: {key}"
        listed = sorted(entry.path for entry in client.list_artifacts(run.info.run_id) if not entry.is_dir)
        assert listed == sorted(training.files[name])
        for path, data in training.files[name].items():
            assert Path(client.download_artifacts(run.info.run_id, path, str(tmp_path))).read_bytes() == data
