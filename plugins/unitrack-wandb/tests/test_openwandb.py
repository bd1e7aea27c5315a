"""A live server of another make that speaks W&B's protocol: `openwandb`, a test dependency only.

Its quirks, seen here and none of ours: a second `wandb sync` of a folder doubles the rows, since it ignores the file
stream's offset; the route that lists a run's metrics answers 500 once one of them is NaN; it shows neither the
number of rows nor the last ones, so a worker that was killed may repeat the rows of one batch there; its
GraphQL knows no artifacts, so these are tested against the double.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from unitrack import events
from unitrack_wandb._server import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pydantic.PydanticDeprecatedSince20")

KEY = "local" + "0" * 40


class OpenWandb:
    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.options = {"base_url": url, "timeout": 10}

    def held(self, run):
        return Server(self.url, timeout=10).held(entity=None, project="p", run=run)

    def rows(self, run):
        (path,) = self.folder.glob(f"files/*/p/{run}/wandb-history.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines() if line]

    def state(self, run):
        base = sqlite3.connect(self.folder / "openwandb.db")
        try:
            (state,) = base.execute("select state from runs where run_id = ?", [run]).fetchone()
        finally:
            base.close()
        return state


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openwandb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "openwandb", "serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(folder)], stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, folder / "log")
        yield OpenWandb(folder, url)
    finally:
        process.kill()
        process.wait()


def _wait_for(url, process, log):
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"openwandb did not start: {log.read_text()[-2000:]}")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def write(runs, run_id, steps=(0, 2.5, -1, 2.5, None)):
    writer = runs.writer(run_id, name="my run", tags=["a"])
    writer.append(events.Params, {"lr": 0.1, "opt": {"name": "adam"}})
    for step in steps:
        writer.append(events.Metrics, {"loss": 1.0, "mAP@50": 0.5}, step)
    writer.seal("failed")
    return writer


def test_a_run_is_on_a_live_server_with_every_step(server, runs):
    write(runs, "live")
    (result,) = runs.send(server, patience=30.0)
    assert (result.state, result.dead) == ("sent", 0)
    rows = server.rows("live")
    assert [row.get("unitrack/step") for row in rows] == [0, 2.5, -1, 2.5, None]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4]
    config = server.held("live").config
    assert (config["lr"], config["opt"], config["unitrack"]["status"]) == (0.1, {"name": "adam"}, "failed")


def test_a_replay_and_a_resumed_run_repeat_nothing(server, runs):
    first = write(runs, "again")
    runs.send(server, patience=30.0)
    runs.forget()
    second = runs.writer("again", resumed=[first.id])
    second.append(events.Metrics, {"loss": 0.1}, 1)
    second.seal("finished")
    assert runs.send(server, patience=30.0)[0].state == "sent"
    assert [row.get("unitrack/step") for row in server.rows("again")] == [0, 2.5, -1, 2.5, None, 1]
    config = server.held("again").config
    assert (config["lr"], config["unitrack"]["status"]) == (0.1, "finished")


def test_wandb_sync_makes_of_the_folder_the_run_with_its_id(server, offline, runs, tmp_path):
    write(runs, "synced")
    runs.send(offline)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "sync", str(offline.folder("synced"))],
        env={**os.environ, "WANDB_BASE_URL": server.url}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.get("unitrack/step") for row in server.rows("synced")] == [0, 2.5, -1, 2.5, None]
    assert [row["loss"] for row in server.rows("synced")] == [1.0] * 5
    config = server.held("synced").config
    assert (config["lr"], config["unitrack"]["id"]) == (0.1, "synced")
    assert list(offline.folder("synced").glob("*.synced")), "so that a second sync sends nothing"
