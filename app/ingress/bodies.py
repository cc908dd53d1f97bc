"""What requests are answered with and from: their bodies, read only as far as they may be long, and the services."""

from __future__ import annotations

import json
import socket
from typing import IO, Any

import structlog
from flask import current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from app.bootstrap import Core
from app.errors import Refused
from app.ingress.deadlines import Deadlines

BODY_SECONDS = 10.0
"""For a whole body, at any pace: a thread waits for it, and gunicorn would wait without end."""
SWALLOWED = 8 << 20
"""Bytes that nobody asked for which are read all the same."""
SWALLOW_SECONDS = 2.0

log = structlog.get_logger()
deadlines = Deadlines()
"""Of this process."""


def core() -> Core:
    found: Core = current_app.extensions["heyfleet"]
    return found


def body_bytes(most: int) -> bytes:
    """The body; the length that a caller names proves nothing. Raises Refused (400, 408, 413)."""
    if request.content_length is not None and request.content_length > most:
        raise Refused(f"the body is longer than {most} bytes", status=413)
    with deadlines.within(request.environ.get("gunicorn.socket"), BODY_SECONDS) as deadline:
        try:
            raw = request.stream.read(most + 1)
        except (ParseException, ClientDisconnected, OSError) as error:
            if not deadline.passed:
                raise Refused("the body is not what its headers say, or its sender went away") from error
            raw = b""
    if deadline.passed:
        raise Refused(f"the body did not come within {BODY_SECONDS:.0f} s", status=408)
    if len(raw) > most:
        raise Refused(f"the body is longer than {most} bytes", status=413)
    return raw


def swallow(stream: IO[bytes], connection: socket.socket | None) -> None:
    """Read on what was not read of a refused body, and forget it, once the refusal was sent: who still writes when the
    connection is closed meets a reset instead. For a moment only, whatever comes or does not."""
    left = SWALLOWED
    try:
        with deadlines.within(connection, SWALLOW_SECONDS):
            while left > 0 and (chunk := stream.read(min(left, 1 << 14))):
                left -= len(chunk)
    except Exception as error:  # noqa: BLE001 (whatever is wrong with what is left: the answer was sent)
        log.debug("body_not_read", error=type(error).__name__)


def parsed_json(raw: bytes) -> dict[str, Any]:
    """Raises Refused (400) for anything but an object."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused("the body must be a JSON object")
    return found
