from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from app.services.stop import stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop.wait(0)
        assert not stop.asked
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        began = time.monotonic()
        assert stop.wait(60)
        assert time.monotonic() - began < 30
        assert stop.asked
        assert not stop.hurry
        os.kill(os.getpid(), number)
        assert stop.wait(60)
        assert stop.hurry
    assert signal.getsignal(number) == before
