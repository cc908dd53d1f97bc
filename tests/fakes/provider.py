"""What the fake chat providers share: an HTTP server that notes what it is asked, and answers badly when told to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    gone: Callable[[], bool] = field(default=lambda: False, compare=False)
    """Whether the client has hung up meanwhile."""


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = None
    """Bytes as they are; anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Call:
    """One request of the API, and what became of it."""

    name: str
    params: Mapping[str, Any]
    status: int
    """What it was answered; 0: nothing was."""
    at: float
    """`time.monotonic()`."""


class Window:
    """At most `count` of one kind within any `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def wait(self, key: str) -> float:
        """Take a place: 0 where there is one, else the seconds until there is (and none is taken)."""
        now, times = time.monotonic(), self._times[key]
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if len(times) >= self.count:
            return times[0] + self.seconds - now
        times.append(now)
        return 0.0


class FakeProvider:
    """A provider's HTTP API. Subclasses say how a call is named, what it does, and what refusals look like."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.calls: list[Call] = []
        """Every request of the API, in the order of their answers."""
        self.problems: list[str] = []
        """What a well-behaved client would not have done. Empty at the end of a good test."""
        self.port = 0
        self._plans: dict[str, list[str]] = defaultdict(list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plan(self, name: str, *behaviours: str) -> None:
        """How the next calls of this name go, one each; after them all goes well.

        "500" (nothing is done) · "429 SECONDS" · "429 SECONDS global" · "drop" (nothing is done, no answer) ·
        "applied-drop" (done, no answer) · "applied-500" (done, answered 500) · "hang" (nothing is done; no answer
        until the server closes) · "slow SECONDS" (done, answered later) · "ok".
        """
        with self.lock:
            self._plans[name] += behaviours

    def called(self, name: str) -> list[Call]:
        with self.lock:
            return [call for call in self.calls if call.name == name]

    def wait_for(self, what: Callable[[], Any], seconds: float = 30, why: str = "") -> Any:
        """The first true answer of `what`; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            time.sleep(0.02)  # asked so often a second, until the deadline
        raise AssertionError(why or f"not within {seconds} s; calls: {[(c.name, c.status) for c in self.calls[-30:]]}")

    # --- what subclasses fill in

    def name_of(self, request: Request) -> str:
        """What `plan` and `called` know the call by."""
        raise NotImplementedError

    def params_of(self, request: Request) -> Mapping[str, Any]:
        """The call's arguments, as they were sent."""
        raise NotImplementedError

    def answer(self, name: str, request: Request) -> Answer:
        """Check it and do it. Called under `lock`."""
        raise NotImplementedError

    def too_many(self, seconds: float, everywhere: bool) -> Answer:
        raise NotImplementedError

    def broken(self) -> Answer:
        return Answer(500, b"internal server error", {"Content-Type": "text/plain"})

    # --- the way of a request

    def serve(self, request: Request) -> Answer | None:
        """The answer; None: the connection is cut."""
        name = self.name_of(request)
        with self.lock:
            behaviour = (self._plans[name].pop(0) if self._plans[name] else "ok").split()
            answer = self._answer(name, behaviour, request)
            dropped = behaviour[0] in ("drop", "applied-drop", "hang")
            self.calls.append(Call(name, self.params_of(request), 0 if dropped else answer.status, time.monotonic()))
        if behaviour[0] == "hang":
            self.closing.wait()
        if behaviour[0] == "slow":
            self.closing.wait(float(behaviour[1]))
        return None if dropped else answer

    def _answer(self, name: str, behaviour: list[str], request: Request) -> Answer:
        match behaviour:
            case ["500"]:
                return self.broken()
            case ["429", seconds, *where]:
                return self.too_many(float(seconds), bool(where))
            case ["drop"] | ["hang"]:
                return Answer()
            case ["applied-500"]:
                self.answer(name, request)
                return self.broken()
            case ["ok"] | ["applied-drop"] | ["slow", _]:
                return self.answer(name, request)
            case _:
                raise ValueError(f"no such behaviour: {behaviour}")


Fake = TypeVar("Fake", bound=FakeProvider)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """The fake on a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Small answers in pieces would wait for the client's acknowledgements.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.serve(Request(self.command, parts.path, query, headers, body, self.gone))
            if answer is None:
                self.close_connection = True
                return
            raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if answer.status == 204 else len(raw)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(raw)

        def gone(self) -> bool:
            try:
                return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (http.server's names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Tests ask `calls`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
