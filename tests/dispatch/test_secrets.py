"""A password in the environment, and one in a URL, are in nothing that a training and its dispatcher leave behind."""

from __future__ import annotations

import base64
import http.server
import subprocess
import sys
import threading
import time

import pytest

from unitrack.dispatch.claim import is_claimed

SECRET = "c0rrect-h0rse-battery"
OTHER = "staple-in-a-url-9"

TRAIN = """\
import unitrack
with unitrack.init("secrets", id="one", config={"lr": 0.1}) as run:
    run.log({"loss": 1.0}, step=1)
"""


class Talkative(http.server.BaseHTTPRequestHandler):
    """Refuses each request and repeats what it was sent, as a debugging proxy does."""

    seen: list[str] = []

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get("Authorization", "")
        self.seen.append(given)
        plain = base64.b64decode(given.removeprefix("Basic ") or b"").decode(errors="replace")
        words = f"no entry for {plain} with {given} at http://{plain}@here{self.path}".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    do_GET = do_POST = answer  # noqa: N815 - http.server's names

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Talkative)
    made.daemon_threads = True
    Talkative.seen.clear()
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made.server_port
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("way", ["variables", "url"])
def test_no_credential_is_left_behind(server, tmp_path, monkeypatch, way):
    (tmp_path / "unitrack.toml").write_text("patience = 2\n[backends.mlflow]\n")
    if way == "variables":
        monkeypatch.setenv("UNITRACK_BACKENDS__MLFLOW__TRACKING_URI", f"http://127.0.0.1:{server}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    else:
        monkeypatch.setenv("UNITRACK_BACKENDS__MLFLOW__TRACKING_URI", f"http://ada:{OTHER}@127.0.0.1:{server}")
    said = []

    def run(*arguments):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=90)
        said.append(done.stdout + done.stderr)

    run("-c", TRAIN)
    folder = tmp_path / ".unitrack" / "runs" / "one"
    until = time.monotonic() + 60
    while not (folder / "sync" / "mlflow.json").exists() or is_claimed(folder, "mlflow"):
        assert time.monotonic() < until
        time.sleep(0.1)
    run("-m", "unitrack", "sync", "one", "--patience", "1")
    run("-m", "unitrack", "sync", "--status")
    run("-m", "unitrack", "sync", "--status", "--json")
    run("-m", "unitrack", "backends", "--json")
    run("-m", "unitrack", "doctor")
    run("-m", "unitrack", "show", "one")
    assert any(Talkative.seen), "the client did show its credentials to the server"
    kept = {path: path.read_bytes().decode() for path in (tmp_path / ".unitrack").rglob("*") if path.is_file()}
    assert "***" in kept[folder / "sync" / "mlflow.json"]
    for secret in (SECRET, OTHER, *(one.removeprefix("Basic ") for one in Talkative.seen if one)):
        assert not [path for path, text in kept.items() if secret in text], secret
        assert not [text for text in said if secret in text], secret
