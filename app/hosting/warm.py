"""Sandboxes kept open between calls, so that the next call finds its shell and files at hand."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from app.ports import Sandbox

KEPT = 200
IDLE_SECONDS = 600.0


@dataclass(slots=True)
class Open:
    """One open sandbox and which stored generation it is the same as."""

    sandbox: Sandbox
    generation: int
    digest: bytes = b""
    """Of the last snapshot, to see whether anything changed."""
    inbox: set[UUID] = field(default_factory=set)
    """Files of messages that were put into it."""
    filling: threading.Lock = field(default_factory=threading.Lock)
    used_at: float = 0.0

    def snapshot_if_changed(self) -> bytes | None:
        """The state to store, or None where it is what was stored last (or lives in a folder)."""
        snapshot = self.sandbox.snapshot()
        if snapshot is None:
            return None
        digest = hashlib.sha256(snapshot).digest()
        if digest == self.digest:
            return None
        self.digest = digest
        return snapshot


class Warm:
    """The open sandboxes of a runner. A sandbox is used by the holder of its lane only; this guards the collection."""

    def __init__(self, kept: int = KEPT, idle: float = IDLE_SECONDS) -> None:
        self._open: OrderedDict[UUID, Open] = OrderedDict()
        self._lock = threading.Lock()
        self._kept = kept
        self._idle = idle

    def generation(self, sandbox: UUID) -> int:
        """Which generation is open here; -1 for none."""
        with self._lock:
            found = self._open.get(sandbox)
            return found.generation if found else -1

    def take(self, sandbox: UUID, generation: int, make: Callable[[], Sandbox]) -> Open:
        """The open sandbox if it is of this generation, else a new one; it is not in the collection while used."""
        with self._lock:
            found = self._open.pop(sandbox, None)
        if found and found.generation == generation:
            return found
        if found:
            found.sandbox.close()
        return Open(make(), generation)

    def keep(self, sandbox: UUID, opened: Open) -> None:
        """Put it back for the next call, and close what was idle for long or is too many."""
        opened.used_at = time.monotonic()
        too_many: list[Open] = []
        with self._lock:
            self._open[sandbox] = opened
            while self._open:
                oldest = next(iter(self._open.values()))
                if len(self._open) <= self._kept and oldest.used_at > opened.used_at - self._idle:
                    break
                too_many.append(self._open.popitem(last=False)[1])
        for old in too_many:
            old.sandbox.close()

    def close(self) -> None:
        with self._lock:
            everything = list(self._open.values())
            self._open.clear()
        for opened in everything:
            opened.sandbox.close()
