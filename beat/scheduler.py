"""The scheduler class of Celery beat: the one that holds the lease sends and fires what is due, the others stand by."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from celery.beat import Scheduler

from app.queue import DELIVERIES, PRUNE_TASK
from beat.jobs import LOOK_EVERY, JobWork
from beat.lease import Leads

ENTRIES = {
    "prune": {
        "task": PRUNE_TASK,
        "schedule": timedelta(minutes=10),
        "options": {"queue": DELIVERIES, "expires": 300, "ignore_result": True},
    }
}


class FleetScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Celery's scheduler, ticking only while its process leads."""

    def __init__(self, app: Any, *args: Any, leads: Leads, work: JobWork, **kwargs: Any) -> None:
        self.leads = leads
        self.work = work
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        self.update_from_dict(ENTRIES)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self.work.alive_at = time.monotonic()
        if not self.leads.mine:
            return LOOK_EVERY
        jobs_in = self.work.look()
        due_in: float = super().tick(*args, **kwargs)
        return min(due_in, jobs_in)

    def close(self) -> None:
        self.work.close()
        self.leads.release()
        super().close()
