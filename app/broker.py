"""How Celery comes to Redis, and comes back to it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery.app.amqp import AMQP
from kombu.connection import Connection
from redis.connection import parse_url

WAITS = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
"""Seconds between two tries to connect again."""


class Eager(Connection):
    """Soon back: kombu's own waits grow to half a minute, and no option of Celery's reaches them. What came in while
    Redis was away would wait for as long again."""

    def ensure_connection(self, *given: Any, **named: Any) -> Any:
        return super().ensure_connection(*given, **{**named, **WAITS})  # type: ignore[no-untyped-call]  # kombu's own


class Reconnecting(AMQP):  # type: ignore[misc]  # Celery has no types
    """For the `amqp` of a Celery app."""

    Connection = Eager


def broker_of(redis_url: str) -> tuple[str, dict[str, Any] | None]:
    """An address as Celery takes it, and its options for TLS: as redis-py has them, with `rediss:` a certificate is
    verified unless the address says otherwise. kombu, left to itself, takes any."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        database = arguments(redis_url).get("db", 0)
        return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}", None
    if parts.scheme != "rediss":
        return redis_url, None
    options = {name: value for name, value in arguments(redis_url).items() if name.startswith("ssl_")}
    others = urlencode([(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")])
    return urlunsplit(parts._replace(query=others)), {"ssl_cert_reqs": "required", **options}


def arguments(redis_url: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_url(redis_url)  # type: ignore[no-untyped-call]  # redis-py's own
    return found
