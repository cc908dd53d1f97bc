"""The scheduler class of Celery beat: the one that holds the lease sends what is due, the others stand by."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import redis
import structlog
from celery.beat import Scheduler

from app.queue import DELIVERIES, PRUNE_TASK
from beat.lease import LeaderLease, Standing

log = structlog.get_logger()

LEASE_NAME = "heyfleet:beat"
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0

ENTRIES = {
    "prune": {
        "task": PRUNE_TASK,
        "schedule": timedelta(minutes=10),
        "options": {"queue": DELIVERIES, "expires": 300, "ignore_result": True},
    }
}


class FleetScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Celery's scheduler, ticking only while its process leads."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        client = redis.Redis.from_url(app.conf.broker_url, socket_timeout=2, socket_connect_timeout=2)
        self.lease = LeaderLease(client, LEASE_NAME, LEASE_SECONDS)
        self.standing = Standing.UNKNOWN
        self.claimed_at = float("-inf")
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        self.update_from_dict(ENTRIES)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if time.monotonic() - self.claimed_at >= RENEW_SECONDS or self.standing is not Standing.MINE:
            self._claim()
        if self.standing is not Standing.MINE:
            return RENEW_SECONDS / 5
        due_in: float = super().tick(*args, **kwargs)
        return min(due_in, RENEW_SECONDS)

    def close(self) -> None:
        self.lease.release()
        super().close()

    def _claim(self) -> None:
        was, self.standing = self.standing, self.lease.claim()
        self.claimed_at = time.monotonic()
        if was is not self.standing:
            log.info("beat_leads" if self.standing is Standing.MINE else "beat_stands_by", lease=self.standing.value)
