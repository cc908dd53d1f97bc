"""Ends what is read from a connection once its time is over, however little comes at a time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

LOOK_SECONDS = 0.5


@dataclass(eq=False, slots=True)
class Deadline:
    connection: socket.socket | None
    at: float
    passed: bool = False


class Deadlines:
    """Those of one process. One thread looks at all of them: a timer for each request would cost a thread each."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._lock = threading.Lock()
        self._pid = 0
        """Of the process that the thread runs in: a fork has none."""

    @contextmanager
    def within(self, connection: socket.socket | None, seconds: float) -> Iterator[Deadline]:
        """When so many seconds have passed inside, the connection gives nothing more to read: its end is read. Without
        a connection there is no deadline."""
        if connection is None:
            yield Deadline(None, 0)
            return
        mine = Deadline(connection, time.monotonic() + seconds)
        self._watch(mine)
        try:
            yield mine
        finally:
            with self._lock:
                self._open.discard(mine)

    def _watch(self, mine: Deadline) -> None:
        with self._lock:
            self._open.add(mine)
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)  # for as long as the process lives
            with self._lock:
                for each in self._open:
                    if not each.passed and time.monotonic() >= each.at:
                        each.passed = True
                        # Under the lock: afterwards the connection may be somebody else's.
                        with suppress(OSError):
                            assert each.connection is not None
                            each.connection.shutdown(socket.SHUT_RD)
