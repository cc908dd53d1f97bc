"""The sweeper: wakes lanes that have work and no holder. It makes up for lost wakes, dead processes and due retries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog

from app.db import Database
from app.errors import HeyfleetError
from app.leases import FREE, Keeper, Lease
from app.queue import Wakes
from app.roles import take_role
from app.sandbox_lane import OFFERED, TIED_TO

log = structlog.get_logger()

MOST = 500
"""Lanes of a kind woken in one sweep: what waits behind a jam is not to be drowned in wakes."""

GRACE = 1.0
"""Seconds that a wake is given to arrive before it is taken for lost."""

# wake_at is set anew, so that the lane is left alone for the next sweeps while the wake is on its way. Lanes whose
# holder died come first. An array, not a join: how many lanes the limit lets through is unknown to a plan made for all
# values, and a join is then planned as if it were a tenth of the table.
FIND = f"""
    UPDATE {{table}} AS lane SET wake_at = now()
    WHERE id = ANY(ARRAY(
            SELECT id FROM {{table}}
            WHERE wake_at < now() - make_interval(secs => :grace) AND {FREE} AND {{can}}
            ORDER BY lease_until IS NULL, wake_at LIMIT :most FOR UPDATE SKIP LOCKED))
        AND {{fence}}
    RETURNING lane.id, {{queue}} AS queue"""

FENCE = "EXISTS (SELECT 1 FROM role WHERE name = 'sweeper' AND role.lease_token = :token)"


class Sweeper:
    """A thread in every worker; at any time one of the fleet's sweeps, under the lease of the role."""

    def __init__(
        self,
        db: Database,
        keeper: Keeper,
        wakes: Wakes,
        *,
        every: float,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`chores` are done with each sweep, before it: what has become due in the rows by the mere passing of time."""
        self.chores = chores
        self.db = db
        self.keeper = keeper
        self.wakes = wakes
        self.every = every
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._lease: Lease | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.wait(self.every):
            try:
                self.sweep()
            except HeyfleetError as error:
                log.warning("sweep_failed", error=error.message, detail=error.detail)
            except Exception:
                # The thread must outlive any surprise: without it nothing that went wrong is ever made up for.
                log.exception("sweep_failed")

    def sweep(self) -> int:
        """Wake what waits, if this process leads (or can). How many lanes were woken."""
        lease = self._lead()
        if lease is None:
            return 0
        for chore in self.chores:
            self._do(chore)
        woken = 0
        for lane in self._found("thread", "NULL", lease):
            woken += self.wakes.thread(lane[0])
        for lane in self._found("destination", "NULL", lease):
            woken += self.wakes.destination(lane[0])
        queue = f"ARRAY[runtime, {TIED_TO.format(sandbox='lane')}]"
        for lane in self._found("sandbox", queue, lease):
            runtime, runner = lane[1]
            woken += self.wakes.sandbox(lane[0], runtime)
            if runner:
                # Most others would find that they lack its folder. Not instead: that runner may be dead by now.
                self.wakes.sandbox(lane[0], runtime, runner)
        if woken:
            log.info("lanes_woken", lanes=woken)
        return woken

    def _do(self, chore: Callable[[], object]) -> None:
        try:
            chore()
        except HeyfleetError as error:
            log.warning("chore_failed", error=error.message, detail=error.detail)
        except Exception:
            # Lanes are woken all the same: a defect in one chore must not hold every turn up.
            log.exception("chore_failed")

    def _lead(self) -> Lease | None:
        if self._lease and not self._lease.is_set():
            return self._lease
        if self._lease:
            self.keeper.drop(self._lease)
            self._lease = None
        self._lease = take_role(self.db, self.keeper, "sweeper")
        return self._lease

    def _found(self, table: str, queue: str, lease: Lease) -> list[tuple[UUID, Any]]:
        can = OFFERED.format(sandbox="sandbox") if table == "sandbox" else "true"
        statement = FIND.format(table=table, queue=queue, fence=FENCE, can=can)
        rows = self.db.rows(statement, token=lease.token, grace=min(GRACE, self.every), most=MOST)
        return [(row.id, row.queue) for row in rows]
