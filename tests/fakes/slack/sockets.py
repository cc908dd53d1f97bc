"""Slack's side of Socket Mode: WebSockets on which it sends what it would otherwise POST.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.fakes.slack.delivery import Deliveries

# "Socket Mode allows your app to maintain up to 10 open WebSocket connections."
MOST_SOCKETS = 10
MOST_RETRIES = 3
HOST = "applink-fake"


@dataclass(eq=False)
class Socket:
    connection: ServerConnection
    leaving: bool = False
    """It was told to go: nothing new is sent to it."""


@dataclass(eq=False)
class Delivery:
    """Something for the app, and what became of it."""

    kind: str
    payload: Mapping[str, Any]
    ids: list[str] = field(default_factory=list[str])
    """The `envelope_id` of each attempt."""
    sockets: list[Socket] = field(default_factory=list[Socket])
    """Where each attempt went."""
    sent_at: float = 0.0
    acked_at: float | None = None
    """`time.monotonic()`."""
    answer: Any = None
    """What came with the acknowledgement."""
    lost: bool = False
    """Slack has given up on it."""


class Sockets(Deliveries):
    """What is sent goes to one of the connections; events that are not acknowledged are sent again."""

    def __init__(self) -> None:
        super().__init__()
        self.ack_seconds = 2.0
        """How long an acknowledgement may take. Slack's are 3."""
        self.grace_seconds = 0.5
        """From the `disconnect` message to the end of the connection. Slack's are about 10."""
        self.deliveries: list[Delivery] = []
        self.acked: dict[str, float] = {}
        """`time.monotonic()` of each acknowledgement, by `envelope_id`."""
        self._sockets: list[Socket] = []
        self._tickets: set[str] = set()
        self._turn = 0
        self._socket_port = 0

    @property
    def sockets(self) -> int:
        """How many connections can be sent to."""
        with self.lock:
            return len(self._ready())

    def socket_url(self) -> str:
        """Good for one connection."""
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        return f"ws://127.0.0.1:{self._socket_port}/link/?ticket={ticket}&app_id={self.app_id}"

    def socket_send(self, payload: Mapping[str, Any]) -> Delivery:
        """An event's envelope, a command's fields or a click's payload.

        Events wait until there is a connection. Commands and clicks do not, nor are they ever sent again: the person
        is shown that it failed.
        """
        kind = "slash_commands" if "command" in payload else "interactive"
        delivery = Delivery("events_api" if payload.get("type") == "event_callback" else kind, payload)
        with self.lock:
            self.deliveries.append(delivery)
            self._advance(delivery)
        return delivery

    def disconnect_sockets(self, reason: str = "refresh_requested") -> None:
        """Tell all connections to go: "warning", "refresh_requested" or "link_disabled"; "abrupt": cut them untold."""
        with self.lock:
            going = self._ready()
            for found in going:
                found.leaving = True
        for found in going:
            if reason == "abrupt":
                reset(found.connection)
            else:
                self._tell(found, {"type": "disconnect", "reason": reason, "debug_info": {"host": HOST}})
                threading.Thread(target=self._end, args=(found,), daemon=True).start()

    def _end(self, found: Socket) -> None:
        self.closing.wait(self.grace_seconds)
        found.connection.close()

    # --- connections

    @contextmanager
    def linking(self) -> Iterator[None]:
        """The WebSocket server, until the block ends."""
        stop = threading.Event()
        # Slack pings its clients often, too.
        options: dict[str, Any] = {"process_request": self._admitted, "ping_interval": 0.25, "close_timeout": 1}
        with serve(self._connected, "127.0.0.1", 0, **options) as server:
            self._socket_port = server.socket.getsockname()[1]
            threads = [
                threading.Thread(target=server.serve_forever, daemon=True),
                threading.Thread(target=self._keep_at_it, args=(stop,), daemon=True),
            ]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                stop.set()
                server.shutdown()
                for thread in threads:
                    thread.join(5)

    def _admitted(self, connection: ServerConnection, request: Request) -> Response | None:
        tickets = parse_qs(urlsplit(request.path).query).get("ticket", [])
        with self.lock:
            if tickets and tickets[0] in self._tickets:
                self._tickets.remove(tickets[0])
                return None
            self.problems.append("a WebSocket's URL that is not from apps.connections.open, or was used before")
        return connection.respond(HTTPStatus.FORBIDDEN, "bad ticket")

    def _connected(self, connection: ServerConnection) -> None:
        found = Socket(connection)
        with self.lock:
            if len(self._ready()) >= MOST_SOCKETS:
                self._tell(found, {"type": "disconnect", "reason": "too_many_websockets"})
                return
            hello = {
                "type": "hello",
                "num_connections": len(self._ready()) + 1,
                "debug_info": {"host": HOST, "approximate_connection_time": 18060},
                "connection_info": {"app_id": self.app_id},
            }
            self._tell(found, hello)
            self._sockets.append(found)
        try:
            while True:
                self._received(connection.recv())
        except ConnectionClosed:
            pass
        finally:
            with self.lock:
                self._sockets.remove(found)

    def _received(self, raw: str | bytes) -> None:
        """An acknowledgement: `{"envelope_id": ..., "payload": ...}`."""
        try:
            said = json.loads(raw)
            envelope_id = str(said["envelope_id"])
        except (ValueError, KeyError, TypeError):
            self.problems.append(f"not an acknowledgement: {raw[:80]!r}")
            return
        with self.lock:
            delivery = next((one for one in self.deliveries if envelope_id in one.ids), None)
            if delivery is None:
                self.problems.append(f"acknowledged what was never sent: {envelope_id}")
                return
            if "payload" in said and delivery.kind == "events_api":
                self.problems.append("a payload came with the acknowledgement of an event, which takes none")
            now = time.monotonic()
            self.acked.setdefault(envelope_id, now)
            if delivery.acked_at is None:
                delivery.acked_at, delivery.answer = now, said.get("payload")

    # --- deliveries

    def _keep_at_it(self, stop: threading.Event) -> None:
        while not stop.wait(0.02):
            with self.lock:
                for delivery in self.deliveries:
                    self._advance(delivery)

    def _advance(self, delivery: Delivery) -> None:
        """Send it, if it is due. Called under `lock`."""
        if delivery.acked_at is not None or delivery.lost:
            return
        reason = ""
        if delivery.ids:
            ended = delivery.sockets[-1] not in self._sockets
            if not ended and time.monotonic() - delivery.sent_at < self.ack_seconds:
                return
            reason = "connection_failed" if ended else "timeout"
            if delivery.kind != "events_api" or len(delivery.ids) > MOST_RETRIES:
                delivery.lost = True
                return
        found = self._next(delivery)
        if found is None:
            delivery.lost = delivery.kind != "events_api"
            return
        attempt: dict[str, Any] = {
            "type": delivery.kind,
            "envelope_id": str(uuid.uuid4()),
            "payload": delivery.payload,
            "accepts_response_payload": delivery.kind != "events_api",
        }
        if delivery.kind == "events_api":
            attempt |= {"retry_attempt": len(delivery.ids), "retry_reason": reason}
        delivery.ids.append(attempt["envelope_id"])
        delivery.sockets.append(found)
        delivery.sent_at = time.monotonic()
        self._tell(found, attempt)

    def _ready(self) -> list[Socket]:
        return [found for found in self._sockets if not found.leaving]

    def _next(self, delivery: Delivery) -> Socket | None:
        """Each in its turn; for another attempt, another connection if there is one.

        Slack says only that it may be any of them. In turns, a test of several sees all of them at work.
        """
        ready = self._ready()
        others = [found for found in ready if found not in delivery.sockets[-1:]] or ready
        if not others:
            return None
        self._turn += 1
        return others[self._turn % len(others)]

    def _tell(self, found: Socket, what: Mapping[str, Any]) -> None:
        try:
            found.connection.send(json.dumps(what))
        except ConnectionClosed:
            # Its own thread takes it off the list, and what was sent is sent to another.
            found.leaving = True


def reset(connection: ServerConnection) -> None:
    """End it as a crash does: no close frame, and a reset instead of a FIN."""
    raw = connection.socket
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Wakes the thread that reads from it, which then closes it.
    raw.shutdown(socket.SHUT_RD)
