"""Who leads: a key in Redis with a token and an expiry. It saves work; what must not happen twice is decided in
Postgres."""

from __future__ import annotations

import secrets
from enum import Enum

import redis
from redis.exceptions import RedisError

# Extends the key only while it is ours: between a GET and a SET of our own it could lapse and be somebody else's.
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0"""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0"""


class Standing(Enum):
    """Whether this process leads. Whoever does not know must not act as if it did."""

    MINE = "mine"
    LOST = "lost"
    UNKNOWN = "unknown"


class LeaderLease:
    """One process's claim to lead."""

    def __init__(self, client: redis.Redis, name: str, ttl: float) -> None:
        self.client = client
        self.name = name
        self.ttl_ms = round(ttl * 1000)
        self.token = secrets.token_hex(16)

    def claim(self) -> Standing:
        """Renew the lease where it is ours, take it where it is free."""
        try:
            if self.client.eval(RENEW, 1, self.name, self.token, str(self.ttl_ms)):
                return Standing.MINE
            taken = self.client.set(self.name, self.token, nx=True, px=self.ttl_ms)
        except RedisError:
            return Standing.UNKNOWN
        return Standing.MINE if taken else Standing.LOST

    def release(self) -> None:
        """Let another lead at once. Where Redis is away the lease lapses by itself."""
        try:
            self.client.eval(RELEASE, 1, self.name, self.token)
        except RedisError:
            return
