"""What all chat adapters do: reading what a provider tells (of a shape that nobody knows, it is left out rather than
told for ever), and saying what could not be sent."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.traffic import Happening

log = structlog.get_logger()


def understood(adapter: str, read: Callable[[], Happening | None]) -> Happening | None:
    """What `read` makes of it; None where it can't. A provider that is answered with an error sends it again and again,
    and holds back what comes after it."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        # The traceback names the field; nothing of what was said is in it.
        log.exception("event_left_out", adapter=adapter)
        return None


def not_sent(name: str, reason: str) -> str:
    """In place of a file that the provider does not take: whoever waits for it is to know."""
    return f"({name} could not be sent: {reason})"
