"""How Celery comes to Redis, and comes back to it."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

from celery.app.amqp import AMQP
from kombu.connection import Connection
from redis.connection import parse_url

WAITS = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
"""Seconds between two tries to connect again; the first one differs, so that a fleet does not come back in step."""


class Eager(Connection):
    """Soon back: kombu's own waits grow to half a minute, and no option of Celery's reaches them. What came in while
    Redis was away would wait for as long again."""

    def ensure_connection(self, *given: Any, **named: Any) -> Any:
        waits = {**WAITS, "interval_start": WAITS["interval_start"] * (0.5 + random.random())}
        return super().ensure_connection(*given, **{**named, **waits})  # type: ignore[no-untyped-call]  # kombu's own


class Reconnecting(AMQP):  # type: ignore[misc]  # Celery has no types
    """For the `amqp` of a Celery app."""

    Connection = Eager


def broker_of(redis_url: str) -> tuple[str, dict[str, Any] | None]:
    """An address as Celery takes it, and its options for TLS: as redis-py understands it, so that all of a process's
    connections go to the same place. With `rediss:` a certificate is verified unless the address says otherwise; kombu,
    left to itself, takes any. Other options (timeouts and the like) are ours to set."""
    found: dict[str, Any] = parse_url(redis_url)  # type: ignore[no-untyped-call]  # redis-py's own
    names = [quote(str(found.get(part) or ""), safe="") for part in ("username", "password")]
    who = ":".join(names) + "@" if any(names) else ""
    database = found.get("db", 0)
    if "path" in found:
        return f"redis+socket://{who}{found['path']}?virtual_host={database}", None
    host = str(found.get("host", "localhost"))
    place = f"{f'[{host}]' if ':' in host else host}:{found.get('port', 6379)}/{database}"
    if not redis_url.startswith("rediss:"):
        return f"redis://{who}{place}", None
    options = {name: value for name, value in found.items() if name.startswith("ssl_")}
    return f"rediss://{who}{place}", {"ssl_cert_reqs": "required", **options}
