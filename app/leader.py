"""Which beat leads: a hash in Redis with an expiry, that the leader writes (`beat.lease`) and anybody may read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import redis

KEY = "heyfleet:beat"


@dataclass(frozen=True, slots=True)
class Leader:
    """The beat that schedules."""

    owner: str
    since: datetime
    looked_at: datetime | None
    """When it last looked for due jobs, as of its last renewal; None: it has not yet, or Postgres is away."""


def leader(client: redis.Redis) -> Leader | None:
    """Who leads; None where nobody does. Raises RedisError."""
    found = {text(name): text(value) for name, value in client.hgetall(KEY).items()}
    if "owner" not in found:
        return None
    looked = found.get("looked_at")
    return Leader(
        found["owner"], datetime.fromisoformat(found["since"]), datetime.fromisoformat(looked) if looked else None
    )


def text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
