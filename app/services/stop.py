"""Being told to stop: SIGTERM and SIGINT as something to wait for."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether we were told to stop, and whether more than once: then in a hurry."""

    def __init__(self) -> None:
        self._times = 0
        # An Event's lock may be held by the very code that the signal interrupts.
        self._bell, self._ring = os.pipe()

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler's)
        self._times += 1
        os.write(self._ring, b".")

    @property
    def asked(self) -> bool:
        return self._times > 0

    @property
    def hurry(self) -> bool:
        return self._times > 1

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; whether we were told to stop."""
        select.select([self._bell], [], [], seconds)
        return self.asked

    def close(self) -> None:
        os.close(self._bell)
        os.close(self._ring)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
