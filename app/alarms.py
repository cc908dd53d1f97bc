"""Wakes that are due in a moment: sooner than the sweeper would look, without a thread that waits for each."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from uuid import UUID

import structlog

log = structlog.get_logger()

MOST = 10_000
"""More are left to the sweeper."""
LONGEST = 60.0
"""Seconds; what is due later can wait for the sweeper's look."""


class Alarms:
    """Calls `wake` with a lane once its time has come. What is lost with the process, the sweeper makes up for."""

    def __init__(self, wake: Callable[[UUID], object]) -> None:
        self.wake = wake
        self._due: list[tuple[float, int, UUID]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def set(self, lane: UUID, seconds: float) -> None:
        """Wake the lane in so many seconds."""
        with self._changed:
            if seconds > LONGEST or len(self._due) >= MOST or self._ended:
                return
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._count, lane))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                lane = heapq.heappop(self._due)[2]
            try:
                self.wake(lane)
            except Exception:
                # The thread must outlive any surprise, or nothing would be on time any more.
                log.exception("alarm_failed", lane=str(lane))
