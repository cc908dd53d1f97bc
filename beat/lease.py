"""Who leads: a key in Redis with a token and an expiry. It saves work; what must not happen twice is decided in
Postgres."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import redis
import structlog
from redis.exceptions import RedisError

from app.clock import now
from app.leader import KEY

log = structlog.get_logger()

LOOK_EVERY = 1.0

STUCK_AFTER = 60.0
"""Seconds without a sign of life after which a leader lets its lease run out."""

# Takes the key where it is free, and extends it only while it is ours: between two commands of our own it could lapse
# and be somebody else's.
CLAIM = """
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[1] then return 0 end
if not holder then redis.call('HSET', KEYS[1], 'token', ARGV[1], 'owner', ARGV[3], 'since', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'looked_at', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1"""

RELEASE = """
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0"""


class Standing(Enum):
    """Whether this process leads. Whoever does not know must not act as if it did."""

    MINE = "mine"
    LOST = "lost"
    UNKNOWN = "unknown"


class LeaderLease:
    """One process's claim to lead."""

    def __init__(self, client: redis.Redis, ttl: float, owner: str) -> None:
        self.client = client
        self.ttl = ttl
        self.owner = owner
        self.token = secrets.token_hex(16)

    def claim(self, looked_at: str = "") -> Standing:
        """Renew the lease where it is ours, take it where it is free. `looked_at` (ISO) is for whoever watches."""
        ttl = str(round(self.ttl * 1000))
        try:
            mine = self.client.eval(
                CLAIM, 1, KEY, self.token, ttl, self.owner, now().isoformat(timespec="milliseconds"), looked_at
            )
        except RedisError:
            return Standing.UNKNOWN
        return Standing.MINE if mine else Standing.LOST

    def release(self) -> None:
        """Let another lead at once. Where Redis is away the lease lapses by itself."""
        try:
            self.client.eval(RELEASE, 1, KEY, self.token)
        except RedisError:
            return


class Leads(Protocol):
    """Whether this process leads."""

    @property
    def mine(self) -> bool: ...
    def start(self, alive_at: Callable[[], float], looked_at: Callable[[], str]) -> None: ...
    def release(self) -> None: ...


class Leadership:
    """The lease as this process knows it: renewed in time, and not believed in for longer than it was granted."""

    def __init__(
        self,
        lease: LeaderLease,
        renew: float,
        changed: Callable[[Standing], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self.renew = renew
        self.changed = changed
        self.standing = Standing.UNKNOWN
        self._clock = clock
        self._asked_at = float("-inf")
        self._granted_until = float("-inf")
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def mine(self) -> bool:
        """A process that stood still for a while finds its lease run out here, before it has asked."""
        return self.standing is Standing.MINE and self._clock() < self._granted_until

    def keep(self, looked_at: str = "") -> None:
        """Renew where it is time for it, and try to take where another leads or nobody knows."""
        if self.mine and self._clock() - self._asked_at < self.renew:
            return
        self._asked_at = self._clock()
        was, self.standing = self.standing, self.lease.claim(looked_at)
        if self.standing is Standing.MINE:
            self._granted_until = self._asked_at + self.lease.ttl
        if was is not self.standing:
            self.changed(self.standing)

    def release(self) -> None:
        """Stop leading, for good."""
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)
        self.lease.release()

    def start(self, alive_at: Callable[[], float], looked_at: Callable[[], str]) -> None:
        """Keep the lease from a thread, since a look at very many jobs takes longer than a lease lasts.

        `alive_at` says when (by the clock) the process last did anything: one that is stuck shall not lead.
        """
        self._thread = threading.Thread(target=self._run, args=(alive_at, looked_at), name="lease", daemon=True)
        self._thread.start()

    def _run(self, alive_at: Callable[[], float], looked_at: Callable[[], str]) -> None:
        while not self._ended.wait(min(LOOK_EVERY, self.renew / 2)):
            try:
                if self._clock() - alive_at() < STUCK_AFTER:
                    self.keep(looked_at())
            except Exception:
                # The thread must outlive any surprise: without it this process would never lead again.
                log.exception("lease_not_kept")


class AlwaysLeads:
    """For showing that a lease only saves work: beats without one all fire, and the database lets one through."""

    mine = True

    def start(self, alive_at: Callable[[], float], looked_at: Callable[[], str]) -> None:
        """There is nothing to keep."""

    def release(self) -> None:
        """There is nothing to give back."""
