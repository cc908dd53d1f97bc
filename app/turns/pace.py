"""Room for people: the turns of jobs take turns at a process's own work, so that a person's turn finds it free.

When a hundred of them get their model's answers in the same moment, a hundred threads want Python's one interpreter and
the few connections at once, and whoever comes then waits behind them all. What is not work of this process (a model, a
tool that waits) takes no room.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

ROOM = 4
"""Enough to keep a process busy: while one waits for the database, others run."""


class Pace:
    """One process's room for the turns of jobs."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = threading.BoundedSemaphore(room)
        self._mine = threading.local()

    @contextmanager
    def slow(self, scheduled: bool) -> Iterator[None]:
        """Work on a turn; one that is `scheduled` waits for room."""
        if not scheduled:
            yield
            return
        with self._room:
            self._mine.inside = True
            try:
                yield
            finally:
                self._mine.inside = False

    @contextmanager
    def away(self) -> Iterator[None]:
        """Wait for something else meanwhile; the room is another's until then."""
        if not getattr(self._mine, "inside", False):
            yield
            return
        self._room.release()
        try:
            yield
        finally:
            self._room.acquire()
