"""What a gateway session is, and one connection to it."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.fakes.provider import Window

# https://docs.discord.com/developers/events/gateway#list-of-intents
INTENTS = {
    "GUILDS": 1 << 0,
    "GUILD_MEMBERS": 1 << 1,
    "GUILD_PRESENCES": 1 << 8,
    "GUILD_MESSAGES": 1 << 9,
    "GUILD_MESSAGE_REACTIONS": 1 << 10,
    "DIRECT_MESSAGES": 1 << 12,
    "DIRECT_MESSAGE_REACTIONS": 1 << 13,
    "MESSAGE_CONTENT": 1 << 15,
}
PRIVILEGED = INTENTS["GUILD_MEMBERS"] | INTENTS["GUILD_PRESENCES"] | INTENTS["MESSAGE_CONTENT"]
# Bits that mean something: 0 to 16, 20, 21, 24, 25.
EVERY_INTENT = (1 << 17) - 1 | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
# Presence, voice state, soundboard, channel info: nothing comes of them here.
IGNORED = {3, 4, 31, 43}
# https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes
REASONS = {
    4000: "Unknown error.",
    4001: "Unknown opcode.",
    4002: "Error while decoding payload.",
    4003: "Not authenticated.",
    4004: "Authentication failed.",
    4005: "Already authenticated.",
    4007: "Invalid seq.",
    4008: "Rate limited.",
    4009: "Session timed out.",
    4010: "Invalid shard.",
    4012: "Invalid API version.",
    4013: "Invalid intent(s).",
    4014: "Disallowed intent(s).",
}
# https://docs.discord.com/developers/events/gateway#sending-events and #rate-limiting
LARGEST_PAYLOAD, SENDS = 4096, (120, 60.0)


@dataclass(eq=False)
class Session:
    """What READY began. It outlives its connection for a while."""

    id: str
    shard: tuple[int, int]
    intents: int
    events: list[tuple[int, str, Any]] = field(default_factory=list)
    connection: Connection | None = None
    left_at: float = 0.0
    valid: bool = True
    """False: it cannot be resumed."""

    def add(self, name: str, data: Any) -> None:
        self.events.append((len(self.events) + 1, name, data))
        if self.connection is not None:
            self.connection.tell(DISPATCH, data, len(self.events), name)


class Connection:
    """One WebSocket. What is sent waits in a line of its own, so that a slow client stops nobody else."""

    def __init__(self, socket: ServerConnection, resuming: bool) -> None:
        self.socket = socket
        self.resuming = resuming
        """Whether it came over `resume_gateway_url`."""
        self.session: Session | None = None
        self.beat_at = time.monotonic()
        self.sends = Window(*SENDS)
        self._out: queue.SimpleQueue[str | int | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def tell(self, op: int, data: Any, seq: int | None = None, name: str | None = None) -> None:
        self._out.put(json.dumps({"op": op, "d": data, "s": seq, "t": name}))

    def close(self, code: int) -> None:
        """After what is still to be sent."""
        self._out.put(code)

    def cut(self) -> None:
        """No goodbye: as when the network breaks."""
        with suppress(OSError):
            self.socket.socket.shutdown(SHUT_RDWR)

    def end(self) -> None:
        self._out.put(None)
        self._sender.join(5)

    def _send(self) -> None:
        with suppress(ConnectionClosed, OSError):
            while (one := self._out.get()) is not None:
                if isinstance(one, int):
                    self.socket.close(one, REASONS.get(one, ""))
                    return
                self.socket.send(one)


def wrong_query(socket: ServerConnection) -> tuple[int | None, str]:
    """With which code to close what was asked for, and why: .../events/gateway#connecting"""
    query = parse_qs(urlsplit(socket.request.path).query) if socket.request else {}
    if query.get("v") != ["10"]:
        return 4012, f"the gateway was opened without v=10: {query}"
    if query.get("encoding") != ["json"] or "compress" in query:
        return 4002, f"the fake gateway speaks plain JSON only: {query}"
    return None, ""


@contextmanager
def listening(handle: Callable[[ServerConnection, bool], None], resuming: bool) -> Iterator[str]:
    """A port of its own; its URL."""

    def one(socket: ServerConnection) -> None:
        handle(socket, resuming)

    options: dict[str, Any] = {"ping_interval": None, "compression": None, "close_timeout": 1}
    with serve(one, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    thread.join(5)
