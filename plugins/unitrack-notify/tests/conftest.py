"""Servers on loopback that take what notifiers send, and answer as they are told."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading

import pytest


class Service:
    """An HTTP server: `answers` are (status, headers, body), the last one for ever; `asked` is what came."""

    def __init__(self):
        self.answers, self.asked = [(200, {}, "ok")], []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                service.asked.append((self.command, self.path, dict(self.headers.items()), body))
                status, headers, text = service.answers[0] if len(service.answers) == 1 else service.answers.pop(0)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def json(self, number=-1):
        return json.loads(self.asked[number][3])

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service():
    made = Service()
    yield made
    made.close()


class Mail:
    """An SMTP server of the commands that `smtplib` sends (RFC 5321); `refuse` maps a command to its answer."""

    def __init__(self):
        self.messages, self.refuse = [], {}
        mail = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 loopback\r\n")
                for line in iter(self.rfile.readline, b""):
                    word = line.split()[0].upper().decode()
                    if word in mail.refuse:
                        self.wfile.write(mail.refuse[word] + b"\r\n")
                    elif word == "DATA":
                        self.wfile.write(b"354 go on\r\n")
                        mail.messages.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                        self.wfile.write(b"250 taken\r\n")
                    elif word == "QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mail():
    made = Mail()
    yield made
    made.close()
