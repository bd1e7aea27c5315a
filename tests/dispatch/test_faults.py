"""Whatever a tracker does, training costs what it costs without one, ends in order, and is sent later.

The faults on the wire meet the real MLflow client; a client that takes the interpreter down is the plugin `chaos`.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

import pytest

from unitrack.config import BackendSettings
from unitrack.dispatch.claim import is_claimed
from unitrack.dispatch.dispatcher import Dispatch, sync
from unitrack.dispatch.messages import Result
from unitrack.journal import layout

POINTS = 1000

TRAIN = f"""\
import json, statistics, time
import unitrack
began = time.perf_counter()
run = unitrack.init("faults", id="one", config={{"lr": 0.1}})
init = time.perf_counter() - began
calls = []
for step in range({POINTS}):
    before = time.perf_counter()
    run.log({{"loss": step / 2}}, step=step)
    calls.append(time.perf_counter() - before)
before = time.perf_counter()
run.finish()
print(json.dumps({{"init": init, "log": statistics.median(calls), "finish": time.perf_counter() - before}}))
"""

# -- the faults ----------------------------------------------------------------------------------


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers each request in the same way."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        if self.server.status == 429:
            self.send_header("Retry-After", "30")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - http.server's names

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Start servers that answer with a status; returns the URL."""
    servers = []

    def serve(status):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.daemon_threads, server.status = True, status
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent():
    """Listen and never answer: a black hole, and a TLS handshake that hangs."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def fault(request, serve, silent, chaos):
    """Return the section of a dead backend."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        refused = probe.getsockname()[1]
    uris = {
        "connection refused": lambda: f"http://127.0.0.1:{refused}",
        "black hole": lambda: f"http://{silent}",
        "hanging TLS": lambda: f"https://{silent}",
        "unknown host": lambda: "http://tracker.invalid:5000",
        "500": lambda: serve(500),
        "429": lambda: serve(429),
        "401": lambda: serve(401),
    }
    if request.param in uris:
        return f'[backends.tracker]\ntype = "mlflow"\ntracking_uri = "{uris[request.param]()}"\n'
    if request.param == "plugin not installed":
        return '[backends.tracker]\ntype = "kaos"\n'
    trouble = {"client not installed": "import", "client aborts": "abort"}[request.param]
    return f'[backends.tracker]\ntype = "chaos"\nfolder = "{chaos}"\ntrouble = "{trouble}"\n'


def train():
    """Train in a process of its own; returns its measures, with the seconds of the whole."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=False, timeout=60)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "whole": seconds}


@pytest.fixture(scope="module")
def without_backends(tmp_path_factory):
    """Measure the same training with no backend, three times."""
    found, here = [], os.getcwd()
    for _ in range(3):
        os.chdir(tmp_path_factory.mktemp("plain"))
        found.append(train())
    os.chdir(here)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Make MLflow's tables once: its migrations take longer than a test."""
    path = tmp_path_factory.mktemp("tables") / "mlflow.db"
    code = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    return path


FAULTS = [
    "connection refused", "black hole", "hanging TLS", "unknown host", "500", "429", "401",
    "plugin not installed", "client not installed", "client aborts",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_a_dead_backend_costs_training_nothing_and_a_later_sync_completes_the_run(
    fault, without_backends, database, tmp_path
):
    (tmp_path / "unitrack.toml").write_text(fault)
    measured = train()
    print({name: (round(measured[name], 6), round(value, 6)) for name, value in without_backends.items()})
    assert measured["log"] < 2 * without_backends["log"] + 20e-6
    assert measured["init"] < without_backends["init"] + 0.25
    assert measured["finish"] < without_backends["finish"] + 2.0
    assert measured["whole"] < without_backends["whole"] + 2.0

    shutil.copy(database, tmp_path / "mlflow.db")
    (tmp_path / "unitrack.toml").write_text(
        '[backends.tracker]\ntype = "mlflow"\ntracking_uri = "sqlite:///mlflow.db"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "unitrack", "sync", "one"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with sqlite3.connect(tmp_path / "mlflow.db") as held:
        points = held.execute("select step, value from metrics where key = 'loss' order by step").fetchall()
        status = held.execute("select status from runs").fetchall()
    held.close()
    assert points == [(step, step / 2) for step in range(POINTS)]
    assert status == [("FINISHED",)]
    assert not is_claimed(tmp_path / ".unitrack" / "runs" / "one", "tracker")


@pytest.mark.parametrize("trouble", ["down", "hang", "fatal", "import", "abort", "always crash"])
def test_one_backends_fault_delays_no_other_by_more_than_a_second(runs, chaos, tmp_path, trouble):
    def seconds(backends):
        began, ended = time.monotonic(), {}

        def observe(name, message):
            if isinstance(message, Result) and message.state == "sent":
                ended[name] = time.monotonic() - began

        for path in layout.sync_dir(runs.folder("one")).glob("good*"):
            path.unlink()
        sync(Dispatch(store=runs.root, backends=backends, root=tmp_path, poll=0.05, stall=2.0, patience=1.0), observe)
        return ended["good"]

    runs.finished("one", steps=50)
    (tmp_path / "bad").mkdir()
    good = {"good": BackendSettings(type="chaos", options={"folder": str(chaos)})}
    bad = BackendSettings(type="chaos", options={"folder": str(tmp_path / "bad"), "trouble": trouble})
    alone = seconds(good)
    assert seconds({"bad": bad, **good}) < alone + 1.0
