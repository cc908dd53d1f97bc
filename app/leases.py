"""Leases: the one mechanism by which a process holds a lane (a thread, a destination, a sandbox, a role).

A lease is three columns on the lane's own row: owner, token, expiry by the database's clock. Taking one is part of a
statement of the module that owns the row (`TAKE … WHERE FREE`), as is every fenced write (`lease_token = :token`).
This module keeps what the process holds alive, and tells the holder when it must stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from app import meters
from app.db import Database
from app.errors import HeyfleetError, Unavailable

log = structlog.get_logger()

TAKE = """
    lease_owner = :owner, lease_token = lease_token + 1, version = version + 1,
    lease_until = now() + make_interval(secs => :ttl)"""
FREE = "(lease_until IS NULL OR lease_until < now())"
RELEASE = "lease_owner = NULL, lease_until = NULL"

RENEW = """
    UPDATE {table} AS lane SET lease_until = now() + make_interval(secs => :ttl)
    FROM unnest(CAST(:ids AS {key}[]), CAST(:tokens AS bigint[])) AS mine (id, token)
    WHERE lane.{column} = mine.id AND lane.lease_token = mine.token AND lane.lease_owner = :owner
    RETURNING CAST(lane.{column} AS text)"""

CANCELLED = "SELECT id FROM turn WHERE id = ANY(:ids) AND cancel_by IS NOT NULL"

RENEW_SLOTS = """
    UPDATE slot SET held_until = now() + make_interval(secs => :ttl)
    WHERE call_id = ANY(:calls) AND held_until > now()"""

KEYS = {"role": ("name", "text")}
TABLES = ("thread", "destination", "sandbox", "role")


class Lease:
    """A lane that this process holds. Also the `Cancel` of whatever is done under it."""

    def __init__(self, table: str, lane: UUID | str, token: int, deadline: float, turns: Iterable[UUID] = ()) -> None:
        self.table = table
        self.lane = lane
        self.token = token
        self.deadline = deadline
        """By `time.monotonic()`, counted from before the lease was asked for: never later than the row's."""
        self.turns = set(turns)
        """Turns whose cancellation ends the work under this lease."""
        self.calls: list[UUID] = []
        """Calls whose slots are renewed with it."""
        self.cancelled: set[UUID] = set()
        self._stop = threading.Event()

    def is_set(self) -> bool:
        return self.stopped or bool(self.cancelled)

    def wait(self, timeout: float) -> bool:
        return wait_for(self.is_set, timeout)

    def of(self, turn: UUID) -> TurnCancel:
        """The `Cancel` of one of several turns that are worked on under this lease."""
        return TurnCancel(self, turn)

    def stop(self) -> None:
        """Tell the holder to stop where it stands: the lease is lost, or the process ends."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set() or self.lost

    @property
    def lost(self) -> bool:
        """Whether it may be somebody else's by now."""
        return time.monotonic() > self.deadline


TRY_AGAIN_AFTER = 0.25


def insist(db: Database, statement: str, params: Mapping[str, Any], lease: Lease) -> Row[Any] | None:
    """Run a statement that may be repeated, again and again while Postgres is away and the lease is held.

    What was paid for or done already is not to be lost to a restart of Postgres. Raises Unavailable once the lease is
    lost.
    """
    while True:
        try:
            return db.one(statement, params)
        except Unavailable:
            if lease.lost:
                raise
            time.sleep(TRY_AGAIN_AFTER)  # Postgres is away: its return is found out by asking; the lease's end ends it


@dataclass(frozen=True, slots=True)
class TurnCancel:
    """See `app.ports.Cancel`."""

    lease: Lease
    turn: UUID

    def is_set(self) -> bool:
        return self.lease.stopped or self.turn in self.lease.cancelled

    def wait(self, timeout: float) -> bool:
        return wait_for(self.is_set, timeout)


def wait_for(happened: Callable[[], bool], timeout: float) -> bool:
    """Look ten times a second whether it happened: whoever waits here may stop a tenth of a second late."""
    deadline = time.monotonic() + timeout
    while not happened():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(0.1, left))  # what is looked at is a row's state and a clock, which wake nobody
    return True


class Keeper:
    """Renews all leases of this process with one statement a table, and looks for cancelled turns.

    A renewal that failed is "unknown", not "lost": the work goes on until the expiry that was granted last.
    """

    def __init__(self, db: Database, owner: str, *, ttl: float, renew: float, look: float = 0.5) -> None:
        self.db = db
        self.owner = owner
        self.ttl = ttl
        self.renew = renew
        self.look = look
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.on_beat: list[Callable[[], None]] = []
        """Called with each renewal (a runner's heartbeat)."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)

    def hold(self, table: str, lane: UUID | str, token: int, asked_at: float, turns: Iterable[UUID] = ()) -> Lease:
        """Keep a lease that was just taken; `asked_at` is `time.monotonic()` from before the taking."""
        lease = Lease(table, lane, token, asked_at + self.ttl, turns)
        with self._lock:
            self._held.add(lease)
        return lease

    def drop(self, lease: Lease) -> None:
        """Forget a lease that was given back (or lost)."""
        with self._lock:
            self._held.discard(lease)

    def held(self) -> list[Lease]:
        with self._lock:
            return list(self._held)

    def stop_all(self) -> None:
        """Tell every holder of this process to stop where it stands."""
        for lease in self.held():
            lease.stop()

    def _run(self) -> None:
        next_renewal = time.monotonic() + self.renew
        while not self._ended.wait(self.look):
            try:
                self._look_for_cancelled()
                if time.monotonic() >= next_renewal:
                    next_renewal = time.monotonic() + self.renew
                    self._renew_all()
                    for beat in self.on_beat:
                        beat()
            except HeyfleetError as error:
                log.warning("lease_renewal_unknown", error=error.message, detail=error.detail)
            except Exception:
                # The thread must outlive any surprise: without it every lane of the process is lost.
                log.exception("lease_renewal_failed")

    def _look_for_cancelled(self) -> None:
        watching = {turn: lease for lease in self.held() for turn in lease.turns - lease.cancelled}
        if not watching:
            return
        for row in self.db.rows(CANCELLED, ids=list(watching)):
            watching[row.id].cancelled.add(row.id)

    def _renew_all(self) -> None:
        by_table: dict[str, list[Lease]] = {}
        for lease in self.held():
            by_table.setdefault(lease.table, []).append(lease)
        for table, leases in by_table.items():
            self._renew(table, leases)
        for table in TABLES:
            meters.hold("leases_held", len(by_table.get(table, ())), lane=table)
        calls = [call for lease in self.held() for call in lease.calls]
        if calls:
            self.db.rows(RENEW_SLOTS, calls=calls, ttl=self.ttl)

    def _renew(self, table: str, leases: list[Lease]) -> None:
        column, key = KEYS.get(table, ("id", "uuid"))
        asked_at = time.monotonic()
        params: dict[str, Any] = {
            "ids": [lease.lane for lease in leases],
            "tokens": [lease.token for lease in leases],
            "owner": self.owner,
            "ttl": self.ttl,
        }
        still_ours = {row[0] for row in self.db.rows(RENEW.format(table=table, column=column, key=key), params)}
        for lease in leases:
            if str(lease.lane) in still_ours:
                lease.deadline = asked_at + self.ttl
            elif lease in self._held:  # not given back meanwhile: somebody else has it
                # Often given back a moment ago; whoever still works under it says so by LeaseLost.
                log.debug("lease_not_renewed", lane=f"{table} {lease.lane}")
                meters.count("leases_lost_total", lane=table)
                lease.deadline = asked_at
                lease.stop()
