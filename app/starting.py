"""How each process starts: what is wrong is told in a line each, and is its exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from app.errors import ConfigError, HeyfleetError


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
    sys.exit(0)
