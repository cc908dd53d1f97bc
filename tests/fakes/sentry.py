"""A Sentry that takes envelopes. https://develop.sentry.dev/sdk/data-model/envelopes/"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeSentry:
    def __init__(self) -> None:
        self.raw: list[str] = []
        self.port = 0

    @property
    def dsn(self) -> str:
        return f"http://publickey@127.0.0.1:{self.port}/1"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all envelopes; each item has a header line and a payload line."""
        found: list[dict[str, Any]] = []
        for envelope in self.raw:
            lines = envelope.split("\n")[1:]
            for header, payload in zip(lines[::2], lines[1::2], strict=False):
                if header and json.loads(header).get("type") == "event":
                    found.append(json.loads(payload))
        return found


@contextmanager
def serving_sentry() -> Iterator[FakeSentry]:
    fake = FakeSentry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = "sentry_key=publickey" in (self.headers.get("X-Sentry-Auth") or "")
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if known and self.path == "/api/1/envelope/":
                fake.raw.append(body.decode())
            self.send_response(200 if known else 403)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Nothing to tell."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
