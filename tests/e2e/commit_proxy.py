"""A proxy between one process and Postgres that can kill the process right before or right after a commit.

It reads just enough of the wire protocol to see each statement that writes. Nothing in heyfleet knows of it.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

WRITES = ("INSERT", "UPDATE", "DELETE")
# Neither the sweeper's bookkeeping nor the renewal of leases is a commit of a turn, nor is a beat's note that it leads.
NOT_OF_A_TURN = (
    " role ",
    "INTO role",
    "runner SET",
    "INTO runner",
    "INTO slot",
    "AS mine",
    "slot SET held_until",
    "(SELECT 1) AS here",
)


@dataclass
class Plan:
    """Kill at the `nth` commit from now on, before it reaches Postgres or after Postgres has made it."""

    nth: int
    after: bool
    seen: int = 0
    hit: str = ""
    """The statement at which the process was killed."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_now(self, statement: str) -> bool:
        with self.lock:
            if self.hit:
                return False
            self.seen += 1
            if self.seen == self.nth:
                self.hit = statement
                return True
            return False


class CommitProxy:
    """Listens on a port of its own; `kill` ends the process that uses it."""

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self.kill: Callable[[], None] = lambda: None
        self.plan: Plan | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.upstream) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client, server)
            try:
                connection.start()
                answers = threading.Thread(target=connection.answers, args=(self,), daemon=True)
                answers.start()
                connection.questions(self)
            except OSError:
                pass  # one side is gone: so is the connection
            finally:
                # As the kernel does for a process that is gone; close() alone would wait for the thread that reads.
                hang_up(client)
                hang_up(server)


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


class Connection:
    """One client connection and what it is about to run."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.statements: dict[bytes, str] = {}
        self.current = ""
        self.kill_when_ready = threading.Event()

    def start(self) -> None:
        """The start-up message has no type byte."""
        length = self.exactly(self.client, 4)
        self.server.sendall(length + self.exactly(self.client, struct.unpack("!I", length)[0] - 4))

    def questions(self, proxy: CommitProxy) -> None:
        """From the client: note what it runs, and stop before a commit where the plan says so."""
        while True:
            kind, body = self.message(self.client)
            if kind == b"P":
                name, statement = body.split(b"\0", 2)[:2]
                self.statements[name] = statement.decode()
                self.current = self.statements[name]
            elif kind == b"B":
                self.current = self.statements.get(body.split(b"\0", 2)[1], "")
            elif kind == b"Q":
                self.current = body.rstrip(b"\0").decode()
            plan = proxy.plan
            if kind in (b"S", b"Q") and plan and commits(self.current) and plan.is_now(self.current):
                if not plan.after:
                    proxy.kill()
                    return
                self.kill_when_ready.set()
            self.server.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def answers(self, proxy: CommitProxy) -> None:
        """From the server: pass on, but not past the commit after which the process is to die."""
        try:
            while True:
                kind, body = self.message(self.server)
                if kind == b"Z" and self.kill_when_ready.is_set():
                    proxy.kill()
                    hang_up(self.server)
                    return
                if not self.kill_when_ready.is_set():
                    self.client.sendall(kind + struct.pack("!I", len(body) + 4) + body)
        except OSError:
            return

    def message(self, source: socket.socket) -> tuple[bytes, bytes]:
        head = self.exactly(source, 5)
        return head[:1], self.exactly(source, struct.unpack("!I", head[1:])[0] - 4)

    def exactly(self, source: socket.socket, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = source.recv(count - len(found))
            if not more:
                raise OSError("closed")
            found += more
        return found


def commits(statement: str) -> bool:
    """Whether a statement commits a write of a turn, or writes in a transaction that will; and the COMMIT itself."""
    if statement == "COMMIT":
        return True
    return any(word in statement for word in WRITES) and not any(words in statement for words in NOT_OF_A_TURN)
