"""Bypasses: for a short time, in one scope, one actor is not asked. They never lift a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.audit import encoded, event, insert_events
from app.clock import uuid7
from app.db import Database
from app.errors import Refused

GRANT = """
    INSERT INTO bypass (id, code, approval_id, adapter, team, channel, thread_id, actor, scope, granted_by, expires_at)
    VALUES (:id, :code, :approval, :adapter, :team, :channel, :thread, :actor, :scope, :by,
        now() + make_interval(secs => :seconds))"""

IN_FORCE = "revoked_at IS NULL AND expires_at > now()"

# By which an actor is not asked here and now.
COVERING = f"""
    SELECT code FROM bypass
    WHERE adapter = :adapter AND actor = :actor AND {IN_FORCE} AND (
        scope = 'thread' AND thread_id = :thread OR scope = 'channel' AND team = :team AND channel = :channel
        OR scope = 'user' AND team = :team OR scope = 'adapter')
    ORDER BY expires_at DESC LIMIT 1"""

LISTED = f"""
    SELECT id, code, adapter, team, channel, thread_id, actor, scope, granted_by, expires_at, created_at,
        expires_at - now() AS remaining
    FROM bypass WHERE {IN_FORCE} AND (CAST(:adapter AS text) IS NULL OR adapter = :adapter) ORDER BY expires_at"""

FIND = """
    SELECT id, code, adapter, team, channel, actor FROM bypass
    WHERE code = :code AND (CAST(:adapter AS text) IS NULL OR adapter = :adapter)"""

GRANTED_WITH = """
    SELECT code, scope, extract(epoch FROM expires_at - created_at) AS seconds FROM bypass
    WHERE approval_id = :approval"""

REVOKE = f"""
    WITH revoked AS (
        UPDATE bypass SET revoked_by = :by, revoked_at = now() WHERE id = :bypass AND {IN_FORCE}
        RETURNING thread_id, (SELECT turn.trace FROM approval JOIN turn ON turn.id = approval.turn_id
            WHERE approval.id = bypass.approval_id) AS trace
    ), noted AS ({insert_events("revoked", thread="revoked.thread_id").replace("e.trace", "revoked.trace", 1)})
    SELECT thread_id FROM revoked"""


@dataclass(frozen=True, slots=True)
class Grant:
    """A bypass to be granted with an approval."""

    code: str
    scope: str
    seconds: float

    def row(self, asked: Row[Any], by: str) -> dict[str, Any]:
        """The parameters of GRANT; `asked` is a row of `app.approvals.find`. It is bound to who asked for the call."""
        return {
            "id": uuid7(),
            "code": self.code,
            "approval": asked.id,
            "adapter": asked.adapter,
            "team": asked.team,
            "channel": asked.channel,
            "thread": asked.thread_id,
            "actor": asked.requester,
            "scope": self.scope,
            "by": by,
            "seconds": self.seconds,
        }


def granted_with(db: Database, approval: UUID) -> Grant | None:
    """The bypass that an approval came with."""
    row = db.one(GRANTED_WITH, approval=approval)
    return Grant(row.code, row.scope, float(row.seconds)) if row else None


def listed(db: Database, adapter: str | None = None) -> Sequence[Row[Any]]:
    """Those in force, the one that ends first first."""
    return db.rows(LISTED, adapter=adapter)


def find(db: Database, code: str, adapter: str | None = None) -> Row[Any]:
    """Raises Refused (404)."""
    row = db.one(FIND, code=code.lower(), adapter=adapter) if code.isascii() and code.isalnum() else None
    if row is None:
        raise Refused(f"there is no bypass {code!r}", status=404)
    return row


def revoke(db: Database, bypass: Row[Any], by: str, via: str) -> bool:
    """End a bypass at once; False where it has ended, but for by this very order. `bypass` is a row of `find`."""
    noted = event(
        "bypass_revoked", trace="", bypass=bypass.code, adapter=bypass.adapter, requester=bypass.actor, by=by, via=via
    )
    if db.one(REVOKE, bypass=bypass.id, by=by, events=encoded([noted])) is not None:
        return True
    return db.one("SELECT 1 FROM bypass WHERE id = :bypass AND revoked_by = :by", bypass=bypass.id, by=by) is not None
