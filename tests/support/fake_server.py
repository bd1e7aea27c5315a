"""A JSON API on loopback for fakes of code forges: one thread a request, and a connection that breaks on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = -1
"""A status that stands for no status: half an answer, and the connection is gone."""

Answer = tuple[int, Any, dict[str, str]]
"""Status, what goes into the body (None for nothing, bytes as they are), headers."""


class FakeServer:
    """Serves `answer(method, target, headers, body)` until it is stopped; `broke` is told of a fake's own faults."""

    def __init__(
        self, answer: Callable[[str, str, Mapping[str, str], bytes], Answer], broke: Callable[[str], None]
    ) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler(answer, broke))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that leaving waits for what is still answered
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up on a slow answer


def _handler(
    answer: Callable[[str, str, Mapping[str, str], bytes], Answer], broke: Callable[[str], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, tree, headers = answer(self.command, self.path, self.headers, body)
            except Exception as error:  # told to the test, not to stderr
                broke(f"the fake broke: {self.command} {self.path}: {error!r}")
                status, tree, headers = 500, {"message": repr(error)}, {}
            data = tree if isinstance(tree, bytes) else b"" if tree is None else json.dumps(tree).encode()
            told = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
            self.send_response(200 if status == CUT else status)
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            if status == CUT:
                data, self.close_connection = data[: len(data) // 2], True
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
