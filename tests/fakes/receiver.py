"""A receiver of callbacks that checks what a careful one would: signature, age, and the delivery's id."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OLDEST_SECONDS = 300


@dataclass
class Receiver:
    """What came in, and how the next POSTs are answered."""

    secret: str
    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    """The delivery id of each POST that was answered 2xx, in order."""
    posts: list[tuple[str, str]] = field(default_factory=list)
    """(delivery id, what was answered) of every POST."""
    problems: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    """Answers of the next POSTs, one each; then 200.

    "500" · "429 2" (with Retry-After) · "302 URL" (with Location) · "drop" (no answer) · "applied-drop" (taken, no
    answer) · "hang" (no answer, connection kept) · "cut" (taken and answered, but the answer's body breaks off) ·
    "unzip" (taken and answered, with a body that is not what its Content-Encoding says).
    """
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    def wait_for(self, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """The bodies of the first `count` callbacks, waiting for them; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.lock:
                if len(self.got) >= count:
                    return list(self.got)
            time.sleep(0.02)
        raise AssertionError(f"{len(self.got)} of {count} callbacks came within {seconds} s")

    def take(self, headers: Any, raw: bytes) -> str:
        """Check and note one POST; how it is to be answered."""
        with self.lock:
            answer = self.plan.pop(0) if self.plan else "200"
            delivery = headers.get("X-Heyfleet-Delivery", "")
            self.posts.append((delivery, answer))
            problem = self.problem(headers, raw)
            if problem:
                self.problems.append(problem)
                return "401"
            if answer in ("200", "applied-drop", "cut", "unzip"):
                if delivery not in self.deliveries:
                    self.got.append(json.loads(raw))
                self.deliveries.append(delivery)
            return answer

    def problem(self, headers: Any, raw: bytes) -> str | None:
        parts = dict(part.split("=", 1) for part in headers.get("X-Heyfleet-Signature", "").split(",") if "=" in part)
        if abs(time.time() - float(parts.get("t", 0))) > OLDEST_SECONDS:
            return "the signature is too old"
        signed = f"{parts['t']}.".encode() + raw
        good = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        return None if hmac.compare_digest(good, parts.get("v1", "")) else "the signature is wrong"


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver(secret)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            raw = self.rfile.read(length)
            if len(raw) < length:  # its sender was killed in the midst of it: nothing came
                self.close_connection = True
                return
            answer = receiver.take(self.headers, raw)
            if answer == "hang":
                receiver.closing.wait(60)
            if answer.endswith("drop") or answer == "hang":
                self.close_connection = True
                return
            status, _, more = ("200", "", "") if answer in ("cut", "unzip") else answer.partition(" ")
            self.send_response(int(status))
            if more:
                self.send_header("Location" if status.startswith("3") else "Retry-After", more)
            body = b"{}" if answer in ("cut", "unzip") else b""
            if answer == "unzip":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "100" if answer == "cut" else str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = self.close_connection or answer == "cut"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        server.shutdown()
        server.server_close()
