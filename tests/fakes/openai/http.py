"""Just enough HTTP/1.1 for a JSON API that is asked by one client library: fast, keeps connections, sees hang-ups."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}

Handler = Callable[["Connection", str, str, Mapping[str, str], bytes], Awaitable[None]]
"""Gets connection, method, path, headers (names in lower case) and body; sends the answer or closes."""


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered one after the other."""

    def __init__(self, handler: Handler, gone: Callable[[Connection, bool], None]) -> None:
        self._handler = handler
        self._gone = gone
        self._received = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next_request()

    def connection_lost(self, exc: Exception | None) -> None:
        waiting = self._task is not None and not self._task.done()
        if self._task is not None and waiting:
            self._task.cancel()
        self._gone(self, waiting)

    def _next_request(self) -> None:
        if self._task is not None and not self._task.done():
            return
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        request, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(self._received) < end + 4 + size:
            return
        method, path, _ = request.split(" ", 2)
        body = bytes(self._received[end + 4 : end + 4 + size])
        del self._received[: end + 4 + size]
        self._task = asyncio.get_running_loop().create_task(self._serve(method, path, headers, body))

    async def _serve(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        try:
            await self._handler(self, method, path, headers, body)
        except Exception:
            # A fault of the fake itself: the client must not wait for ever, and the traceback must be seen.
            self.close()
            raise
        self._task = None
        self._next_request()

    def send(self, status: int, body: Any, headers: str = "") -> None:
        """A whole answer, as JSON."""
        self.send_bytes(status, json.dumps(body).encode(), headers)

    def send_bytes(self, status: int, body: bytes, headers: str = "", *, missing: int = 0) -> None:
        """A whole answer, of which the last `missing` bytes are announced and not sent."""
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        self._write(head.encode() + body[: len(body) - missing])

    def begin_stream(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes, *, last: bool = False) -> None:
        """A part of a stream's body."""
        part = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        self._write(part + (b"0\r\n\r\n" if last else b""))

    def close(self) -> None:
        """Hang up, once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
