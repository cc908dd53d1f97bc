"""What the leader does for jobs: installs those of the configuration, and fires what is due. Workers start the runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import structlog

from app.clock import now
from app.config.jobs import JobSpec
from app.db import Database
from app.errors import HeyfleetError
from app.jobs.firing import SOONEST_SCOPE, SOONEST_TARGETS, Aside, fan_out, fire_targets, soonest
from app.jobs.installing import install
from app.queue import Wakes

log = structlog.get_logger()

LOOK_EVERY = 1.0
STUCK_AFTER = 60.0
"""Seconds without a look."""
SHORTEST_REST = 0.01


class JobWork:
    """The jobs' part of one beat. Heartbeats over threads have a thread of their own, since one over very many takes
    seconds that the other jobs must not wait for."""

    def __init__(
        self,
        db: Database,
        wakes: Wakes,
        jobs: Callable[[], Sequence[JobSpec]],
        unseen: Callable[[], Collection[str]],
        leads: Callable[[], bool],
    ) -> None:
        """`unseen`: agents whose folder is not there now, so that nobody knows their jobs."""
        self.db = db
        self.wakes = wakes
        self.jobs = jobs
        self.unseen = unseen
        # One for each of the two threads that fire.
        self.aside, self.aside_of_threads = Aside(), Aside()
        self.alive_at = time.monotonic()
        """When it last looked, or went on with a long look."""
        self.leads = leads
        self.looked_at: datetime | None = None
        self._installed: Sequence[JobSpec] | None = None
        self._installed_after = -1
        self._forgotten = 0
        """How often another may have led meanwhile; raised by another thread than the one that installs."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._fan_out_for_ever, name="fan-out", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)

    def problem(self) -> str | None:
        """Why it schedules nothing, where it should; None while it ticks, or stands by."""
        age = time.monotonic() - self.alive_at
        return f"it has not looked for due jobs for {age:.0f} s: restart it" if age > STUCK_AFTER else None

    def forget(self) -> None:
        """Another may have led meanwhile, with another configuration: install again."""
        self._forgotten += 1

    def look(self) -> float:
        """Fire what is due. Seconds until the next look."""
        return self._minding(self._look) or LOOK_EVERY

    def _look(self) -> float:
        # A definition that can't be stored, or a row that somebody holds, must not keep the others from being fired.
        self._minding(self._install)
        self._told("jobs_fired", fire_targets(self.db, self.aside, self._go_on))
        self.looked_at = now()
        return rest(self.db, SOONEST_TARGETS, self.aside)

    def _go_on(self) -> bool:
        self.alive_at = time.monotonic()
        return self.leads()

    def _install(self) -> None:
        self._go_on()
        wanted, unseen, forgotten = self.jobs(), self.unseen(), self._forgotten
        if wanted is self._installed and forgotten == self._installed_after:
            return
        done = install(self.db, wanted, unseen)
        self._installed, self._installed_after = wanted, forgotten
        if done.new or done.changed or done.gone:
            log.info("jobs_installed", new=done.new, changed=done.changed, gone=done.gone)
        if done.kept:
            log.warning("jobs_unseen", jobs=done.kept, agents=sorted(unseen), cure="make the agents' folders")
        for name in done.never:
            log.warning("job_never_due", job=name, cure="its time has passed: correct schedule.at")

    def _fan_out_for_ever(self) -> None:
        seconds = LOOK_EVERY
        while not self._ended.wait(seconds):
            leads = self.leads() and self._installed is not None
            seconds = (self._minding(self._fan_out) if leads else None) or LOOK_EVERY

    def _fan_out(self) -> float:
        self._told("heartbeats_fired", fan_out(self.db, self.aside_of_threads, self.leads))
        return rest(self.db, SOONEST_SCOPE, self.aside_of_threads)

    def _told(self, what: str, runs: int) -> None:
        if runs:
            log.info(what, runs=runs)
            self.wakes.runs()

    def _minding(self, work: Callable[[], float | None]) -> float | None:
        try:
            return work()
        except HeyfleetError as error:
            # Postgres is away: what is due stays due.
            log.warning("jobs_wait", error=error.message, detail=error.detail)
        except Exception:
            # Whatever it is, the jobs after this one must not be held up by it for ever.
            log.exception("jobs_wait")
        return None


def rest(db: Database, statement: str, aside: Aside) -> float:
    """Seconds until the next look: not later than the next due time, which mostly is a full minute, as everybody's."""
    seconds = soonest(db, statement, aside)
    return LOOK_EVERY if seconds is None else min(LOOK_EVERY, max(SHORTEST_REST, seconds))
