"""A small HTTP server in processes that serve nothing else, for probes and for Prometheus. Off unless it has a port."""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

import structlog

from app.config.settings import Health
from app.errors import Permanent

log = structlog.get_logger()

Answer = tuple[int, str, bytes]
"""Status, media type and body."""


class Probe:
    """`/health`: does this process do its work? `/metrics`: its figures."""

    def __init__(
        self, settings: Health, kind: str, problem: Callable[[], str | None], metrics: Callable[[], tuple[str, bytes]]
    ) -> None:
        self.settings = settings
        self.kind = kind
        self.problem = problem
        self.metrics = metrics
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0: nowhere."""
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> None:
        """Raises Permanent where the port is taken."""
        if self.settings.port is None:
            return
        try:
            self._server = ThreadingHTTPServer((self.settings.host, self.settings.port), self._handler())
        except OSError as error:
            where = f"{self.settings.host}:{self.settings.port}"
            raise Permanent(
                f"health.port: can't listen on {where} ({error.strerror}); give each process of a machine a port of "
                "its own (HEYFLEET_HEALTH__PORT)"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="probe", daemon=True).start()
        log.info("probe", port=self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, path: str) -> Answer:
        match path.partition("?")[0]:
            case "/health":
                problem = self.problem()
                body: dict[str, Any] = {"process": self.kind, "version": version("heyfleet")}
                body |= {"status": "stuck", "problem": problem} if problem else {"status": "healthy"}
                return 503 if problem else 200, "application/json", json.dumps(body).encode() + b"\n"
            case "/metrics":
                return 200, *self.metrics()
            case _:
                return 404, "application/json", b'{"error": "there are /health and /metrics"}\n'

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        probe = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0  # of a connection that says nothing

            def do_GET(self) -> None:
                status, media_type, body = probe.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Asked every few seconds: nothing to tell."""

        return Handler


def main(arguments: list[str]) -> int:
    """`python -m app.probe [URL]`, for a container's health check: 0 where it answers that all is well."""
    url = arguments[0] if arguments else f"http://127.0.0.1:{os.environ.get('HEYFLEET_HEALTH__PORT', '9100')}/health"
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:  # noqa: S310 (of this very machine)
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read().decode())
        return 1
    except OSError as error:
        sys.stdout.write(f"{url}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
