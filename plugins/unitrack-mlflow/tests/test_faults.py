"""A server that refuses, chokes, is busy or goes away, by a proxy in front of a real one."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.error
import urllib.request

import pytest

from unitrack import events
from unitrack.dispatch.dead_letter import read_dead

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


class Proxy:
    """Passes requests on, unless `fault(method, path, body)` returns a status, headers to answer with, or "drop"."""

    def __init__(self, target):
        self.target = target
        self.fault = lambda method, path, body: None
        self.requests = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path, body)
                if fault == "drop":
                    self.close_connection = True
                    return
                if fault is not None:
                    words = b'{"error_code": "INTERNAL_ERROR", "message": "made up"}'
                    self.answer(*fault, words if fault[0] >= 500 else b"You are not welcome.")
                    return
                request = urllib.request.Request(proxy.target + self.path, data=body or None, method=self.command)
                request.add_header("Content-Type", self.headers.get("Content-Type") or "application/json")
                try:
                    with urllib.request.urlopen(request) as answer:
                        self.answer(answer.status, {}, answer.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, {}, error.read())

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - http.server's names

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def proxy(server_uri):
    made = Proxy(server_uri)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def through(proxy, tracker_on_server):
    """The options that go through the proxy; read back past it."""

    class Through:
        options = {**tracker_on_server.options, "tracking_uri": proxy.uri}

    return Through


def write(runs, *names):
    writer = runs.writer()
    for step, name in enumerate(names):
        writer.append(events.Metrics, {name: float(step)}, step)
    writer.seal("finished")
    return writer


def log_batch(path):
    return path.endswith("/runs/log-batch")


def test_what_a_server_chokes_on_is_found_and_the_rest_is_sent(proxy, through, runs, tracker_on_server):
    write(runs, *["fine"] * 20, "poison", *["fine"] * 20)
    proxy.fault = lambda method, path, body: (500, {}) if log_batch(path) and b"poison" in body else None
    (result,) = runs.send(through, patience=30.0)
    assert (result.state, result.dead) == ("sent", 1)
    (letter,) = read_dead(runs.folder(), "mlflow")
    assert letter.record.event.values == {"poison": 20.0}
    assert len(tracker_on_server.history("fine")) == 40


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_told_at_once(proxy, through, runs, status):
    write(runs, "loss")
    proxy.fault = lambda method, path, body: (status, {})
    began = time.monotonic()
    (result,) = runs.send(through, patience=30.0)
    assert result.state == "failed"
    assert "environment" in result.reason
    assert time.monotonic() - began < 5.0
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "1"}), (503, {}), "drop"])
def test_a_busy_or_broken_server_is_asked_again(proxy, through, runs, tracker_on_server, fault):
    write(runs, "loss", "loss")
    left = [fault, fault]
    proxy.fault = lambda method, path, body: left.pop() if log_batch(path) and left else None
    (result,) = runs.send(through, patience=30.0)
    assert (result.state, result.dead) == ("sent", 0)
    assert left == []
    assert len(tracker_on_server.history("loss")) == 2


def test_an_answer_that_was_lost_leaves_no_second_run(proxy, through, runs, tracker_on_server):
    """The server makes the run, the connection breaks before it can say so."""
    write(runs, "loss")
    left = ["drop"]

    def fault(method, path, body):
        if path.endswith("/runs/create") and left:
            request = urllib.request.Request(proxy.target + path, data=body, method=method)
            request.add_header("Content-Type", "application/json")
            urllib.request.urlopen(request).close()
            return left.pop()
        return None

    proxy.fault = fault
    assert runs.send(through, patience=30.0)[0].state == "sent"
    assert left == []
    assert len(tracker_on_server.runs()) == 1


@pytest.mark.parametrize("fault", ["drop", (500, {}), (502, {})])
def test_a_server_that_stays_away_costs_patience_and_what_was_sent_stays_sent(
    proxy, through, runs, tracker_on_server, fault
):
    write(runs, *["loss"] * 30)
    batches = []
    proxy.fault = lambda method, path, body: (
        fault if log_batch(path) and (batches.append(path) or len(batches) > 3) else None
    )
    began = time.monotonic()
    (result,) = runs.send(through, patience=2.0, options={"batch": 5})
    assert (result.state, result.dead) == ("failed", 0)
    assert result.pending > 0
    assert time.monotonic() - began < 15.0
    proxy.fault = lambda method, path, body: None
    assert runs.send(through)[0].state == "sent"
    assert len(tracker_on_server.history("loss")) == 30
