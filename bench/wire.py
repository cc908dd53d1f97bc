"""Raw HTTP/1.1 over asyncio: a client and a server that cost next to nothing beside what they measure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

Handler = Callable[[bytes, bytes], bytes | None]
"""Gets a request's head and body; returns the answer, or None to hang up without one."""

NO_CONTENT = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes


class Framing(asyncio.Protocol):
    """Cuts what comes over one connection into messages with a Content-Length."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[:end])
            whole = end + 4 + int(header(head, b"content-length") or 0)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self.message(head, body)

    def message(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Call(Framing):
    """A client's connection: one request at a time."""

    def __init__(self, gone: Callable[[Call], None]) -> None:
        super().__init__()
        self._gone = gone
        self._waiting: asyncio.Future[Answer] | None = None
        self.reusable = True

    def ask(self, raw: bytes) -> asyncio.Future[Answer]:
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return self._waiting

    def message(self, head: bytes, body: bytes) -> None:
        if header(head, b"connection").lower() == b"close":
            self.reusable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Answer(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("the server hung up"))
        self._gone(self)


class Client:
    """Keeps connections to servers of this machine open, at most `most` at once over all of them."""

    def __init__(self, most: int, timeout: float) -> None:
        self.timeout = timeout
        self._free: dict[int, list[Call]] = {}
        self._places = asyncio.Semaphore(most)

    async def post(self, port: int, path: str, body: bytes, headers: bytes = b"") -> Answer:
        """One request. Raises OSError where the connection failed or broke, and TimeoutError."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n".encode()
        raw = head + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
        async with self._places, asyncio.timeout(self.timeout):
            call = await self._connected(port)
            try:
                answer = await call.ask(raw)
            except BaseException:
                call.close()
                raise
            if call.reusable:
                self._free[port].append(call)
            else:
                call.close()
            return answer

    def close(self) -> None:
        for calls in self._free.values():
            for call in list(calls):
                call.close()

    async def _connected(self, port: int) -> Call:
        free = self._free.setdefault(port, [])
        while free:
            call = free.pop()
            if call.reusable:
                return call

        def gone(call: Call) -> None:
            if call in free:
                free.remove(call)

        _, made = await asyncio.get_running_loop().create_connection(lambda: Call(gone), "127.0.0.1", port)
        return made


class Serve(Framing):
    """A server's connection."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    def message(self, head: bytes, body: bytes) -> None:
        answer = self._handler(head, body)
        if answer is None or self.transport is None:
            self.close()
        else:
            self.transport.write(answer)


async def serve(handler: Handler, port: int = 0) -> tuple[asyncio.Server, int]:
    """A server on this machine, and its port; 0 takes any that is free."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Serve(handler), "127.0.0.1", port, backlog=4096)
    found: int = server.sockets[0].getsockname()[1]
    return server, found


def header(head: bytes, name: bytes) -> bytes:
    """A header's value, or nothing; `name` in lower case."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    end = head.find(b"\r\n", at + 2)
    return head[at + len(name) + 3 : end if end >= 0 else None].strip()


def path_of(head: bytes) -> str:
    return head.split(b" ", 2)[1].decode()


def answer_with(status: int, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
