"""What the leader does for jobs: installs those of the configuration, fires what is due, and has runs begin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from app.bootstrap import Core, admission_of
from app.clock import now
from app.config.jobs import JobSpec
from app.db import Database
from app.errors import HeyfleetError
from app.jobs.admitting import admit
from app.jobs.firing import SOONEST_SCOPE, SOONEST_TARGETS, fan_out, fire_targets, soonest
from app.jobs.installing import install

log = structlog.get_logger()

LOOK_EVERY = 1.0
SHORTEST_REST = 0.01


class JobWork:
    """The jobs' part of one beat. Heartbeats over threads have a thread of their own, since one over very many takes
    seconds that the other jobs must not wait for."""

    def __init__(self, core: Core, jobs: Callable[[], Sequence[JobSpec]], leads: Callable[[], bool]) -> None:
        self.core = core
        self.jobs = jobs
        self.leads = leads
        self.looked_at: datetime | None = None
        self._installed: Sequence[JobSpec] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._fan_out_for_ever, name="fan-out", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)

    def forget(self) -> None:
        """Another may have led meanwhile, with another configuration: install again."""
        self._installed = None

    def look(self) -> float:
        """Fire what is due. Seconds until the next look."""
        return self._minding(self._look) or LOOK_EVERY

    def _look(self) -> float:
        self._install()
        db = self.core.db
        made = fire_targets(db)
        if made:
            log.info("jobs_fired", runs=made)
        admit(admission_of(self.core))
        self.looked_at = now()
        return rest(db, SOONEST_TARGETS)

    def _install(self) -> None:
        wanted = self.jobs()
        if wanted is self._installed:
            return
        done = install(self.core.db, wanted)
        self._installed = wanted
        if done.new or done.changed or done.gone:
            log.info("jobs_installed", new=done.new, changed=done.changed, gone=done.gone)
        for name in done.never:
            log.warning("job_never_due", job=name, cure="its time has passed: correct schedule.at")

    def _fan_out_for_ever(self) -> None:
        seconds = LOOK_EVERY
        while not self._ended.wait(seconds):
            leads = self.leads() and self._installed is not None
            seconds = (self._minding(self._fan_out) if leads else None) or LOOK_EVERY

    def _fan_out(self) -> float:
        made = fan_out(self.core.db)
        if made:
            log.info("heartbeats_fired", runs=made)
            admit(admission_of(self.core))
        return rest(self.core.db, SOONEST_SCOPE)

    def _minding(self, work: Callable[[], float]) -> float | None:
        try:
            return work()
        except HeyfleetError as error:
            # Postgres is away: what is due stays due.
            log.warning("jobs_wait", error=error.message, detail=error.detail)
        except Exception:
            # Whatever it is, the jobs after this one must not be held up by it for ever.
            log.exception("jobs_wait")
        return None


def rest(db: Database, statement: str) -> float:
    """Seconds until the next look: not later than the next due time, which mostly is a full minute, as everybody's."""
    seconds = soonest(db, statement)
    return LOOK_EVERY if seconds is None else min(LOOK_EVERY, max(SHORTEST_REST, seconds))
