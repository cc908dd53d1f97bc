"""How each process starts: what is wrong is told in a line each, and is its exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from app.errors import ConfigError, HeyfleetError

STOP_SECONDS = 10.0
"""For a process that was told to stop while it started: it has nothing in hand yet."""
EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: it did not end by itself."""


def exit_code(process: str, run: Callable[[], None]) -> int:
    """Run a process until it ends. 0, or 1 where it could not go on; why is on stderr."""
    # Until what it runs has a handler of its own: told to stop while it starts, it still ends in order.
    signal.signal(signal.SIGTERM, stop)
    try:
        run()
    except ConfigError as error:
        sys.stderr.write("\n".join(error.problems) + "\n")
        return 1
    except HeyfleetError as error:
        detail = f" ({error.detail})" if error.detail else ""
        sys.stderr.write(f"{process}: {error.message}{detail}\n")
        return 1
    return 0


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (as Python calls it)
    """For SIGTERM while a process starts: end in order, from wherever this is."""
    # Raised in a finaliser or the like it would get lost, and the process would go on as if nobody had told it.
    threading.Thread(target=insist, name="last resort", daemon=True).start()
    sys.exit(0)


def insist() -> None:
    time.sleep(STOP_SECONDS)  # the process ends meanwhile, and this thread with it
    os._exit(EXIT_CODE)
