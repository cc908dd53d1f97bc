"""Roles: work that one process does for the whole fleet, as lanes of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.db import Database
from app.errors import HeyfleetError, LeaseLost
from app.jsonb import dumps
from app.leases import TAKE, Keeper, Lease

log = structlog.get_logger()

LOOK_EVERY = 2.0
"""Seconds, of who stands by."""

TAKE_ROLE = f"""
    INSERT INTO role (name, lease_owner, lease_token, lease_until)
    VALUES (:name, :owner, 1, now() + make_interval(secs => :ttl))
    ON CONFLICT (name) DO UPDATE SET {
    TAKE.replace("lease_token + 1", "role.lease_token + 1").replace("version + 1", "role.version + 1")
}
    WHERE role.lease_until IS NULL OR role.lease_until < now()
    RETURNING lease_token"""

GIVE_UP = """
    UPDATE role SET lease_owner = NULL, lease_until = NULL, version = version + 1
    WHERE name = :name AND lease_token = :token"""


KEPT = "SELECT state FROM role WHERE name = :name"

KEEP = """
    UPDATE role SET state = CAST(:state AS jsonb)
    WHERE name = :name AND lease_token = :token AND lease_until > now() RETURNING name"""


def kept(db: Database, name: str) -> dict[str, Any]:
    """What the last leader left for the next one."""
    row = db.one(KEPT, name=name)
    return dict(row.state) if row is not None else {}


def keep(db: Database, name: str, lease: Lease, state: Mapping[str, Any]) -> None:
    """Leave it for the next leader. Raises LeaseLost."""
    if db.one(KEEP, name=name, token=lease.token, state=dumps(state)) is None:
        raise LeaseLost(f"{name} was taken over by another process")


def take_role(db: Database, keeper: Keeper, name: str) -> Lease | None:
    """Lead, if nobody does; None where somebody else does."""
    asked_at = time.monotonic()
    row = db.one(TAKE_ROLE, name=name, owner=keeper.owner, ttl=keeper.ttl)
    if row is None:
        return None
    log.info("leads", role=name, owner=keeper.owner)
    return keeper.hold("role", name, row.lease_token, asked_at)


class RoleHolder:
    """A thread that does `work` for as long as this process has the role, and tries to get it for as long as not."""

    def __init__(self, db: Database, keeper: Keeper, name: str, work: Callable[[Lease], None]) -> None:
        self.db = db
        self.keeper = keeper
        self.name = name
        self.work = work
        """Returns soon after the lease `is_set`; whatever it raises, it is begun again."""
        self._ended = threading.Event()
        self._lease: Lease | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tell it to end, and let somebody else lead at once."""
        self._ended.set()
        if self._lease is not None:
            self._lease.stop()

    def close(self) -> None:
        """Stop, and wait for its end."""
        self.stop()
        self._thread.join(timeout=10)

    def problem(self) -> str | None:
        """Why its work is not done here, though this process leads; None where it stands by, or works."""
        if not self._thread.is_alive() and not self._ended.is_set():
            return f"{self.name}: its thread has ended; restart this process"
        return None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._lead_once()
            except HeyfleetError as error:
                log.warning("role_not_held", role=self.name, error=error.message, detail=error.detail)
            except Exception:
                # The thread must outlive any surprise: without it the connection would be nobody's.
                log.exception("role_failed", role=self.name)
            self._ended.wait(min(self.keeper.renew, LOOK_EVERY))

    def _lead_once(self) -> None:
        lease = self._lease = take_role(self.db, self.keeper, self.name)
        if lease is None:
            return
        try:
            while not lease.is_set() and not self._ended.is_set():
                self.work(lease)
        finally:
            self.keeper.drop(lease)
            self.db.rows(GIVE_UP, name=self.name, token=lease.token)
