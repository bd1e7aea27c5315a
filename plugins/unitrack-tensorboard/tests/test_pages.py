"""TensorBoard itself, as a server on this machine: what its pages are given."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from unitrack import events


@pytest.fixture(params=["false", "true"])
def board(logdir, request):
    """Start TensorBoard on the logdir, with its loader in Python or the fast one; returns what asks it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir.path), "--host", "127.0.0.1", "--port",
        str(port), f"--load_fast={request.param}", "--reload_interval=1",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/data/{path}", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    yield ask
    server.terminate()
    server.wait()


def eventually(ask, path, good, body=None):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if good(answer := ask(path, body)):
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"{path} never came to that")


def test_the_pages_of_scalars_and_hparams_show_runs(runs, logdir, board):
    for name, rate in (("a", 0.1), ("b", 0.2)):
        writer = runs.writer(name)
        writer.append(events.Params, {"lr": rate, "opt": {"name": "adam"}})
        for step in range(3):
            writer.append(events.Metrics, {"loss": rate * step}, step)
        writer.seal("finished" if name == "a" else "failed")
    runs.send()
    points = eventually(board, "plugin/scalars/scalars?tag=loss&run=a", lambda found: len(found) == 3)
    assert [(step, value) for _, step, value in points] == [(0, 0.0), (1, pytest.approx(0.1)), (2, pytest.approx(0.2))]
    columns = {"colParams": [], "startIndex": 0, "sliceSize": 10}
    body = json.dumps({"experimentName": "", "allowedStatuses": [
        "STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"], **columns}).encode()  # fmt: skip
    groups = eventually(
        board, "plugin/hparams/session_groups", lambda found: len(found.get("sessionGroups", [])) == 2, body
    )["sessionGroups"]
    told = {group["name"]: (group["hparams"], group["sessions"][0]) for group in groups}
    assert told["a"][0] == {"lr": 0.1, "opt/name": "adam"}
    assert (told["a"][1]["status"], told["b"][1]["status"]) == ("STATUS_SUCCESS", "STATUS_FAILURE")
    (metric,) = [value for value in told["a"][1]["metricValues"] if value["name"]["tag"] == "loss"]
    assert metric["value"] == pytest.approx(0.2)
