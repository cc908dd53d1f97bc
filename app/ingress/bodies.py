"""What requests are answered with and from: their bodies, read only as far as they may be long, and the services."""

from __future__ import annotations

import json
from typing import Any

from flask import current_app, request
from werkzeug.exceptions import ClientDisconnected

from app.bootstrap import Core
from app.errors import Refused

SWALLOWED = 8 << 20
"""Bytes that nobody asked for which are read all the same."""


def core() -> Core:
    found: Core = current_app.extensions["heyfleet"]
    return found


def body_bytes(most: int) -> bytes:
    """The body; the length that a caller names proves nothing. Raises Refused (413)."""
    if request.content_length is not None and request.content_length > most:
        raise Refused(f"the body is longer than {most} bytes", status=413)
    raw = request.stream.read(most + 1)
    if len(raw) > most:
        raise Refused(f"the body is longer than {most} bytes", status=413)
    return raw


def swallow() -> None:
    """Read on what was not read, and forget it: who still writes when the connection is closed meets a reset instead of
    the refusal."""
    left = SWALLOWED
    try:
        while left > 0 and (chunk := request.stream.read(min(left, 1 << 16))):
            left -= len(chunk)
    except (ClientDisconnected, OSError):
        return  # nobody is left to answer


def parsed_json(raw: bytes) -> dict[str, Any]:
    """Raises Refused (400) for anything but an object."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused("the body must be a JSON object")
    return found
