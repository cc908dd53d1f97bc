"""Cancelling a turn, wherever it is: not begun, in somebody's hands, or with its reply not yet sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Row

from app.audit import event
from app.closing import Closing, close_queued, lock_thread, note, stage_behind
from app.config.messages import Messages
from app.db import Database, compiled
from app.ports import Adapter
from app.states import OPEN_TURNS, TurnState

# Who cancels a message that a running turn has taken in means that turn.
FIND = """
    SELECT turn.id, turn.state, turn.actor, turn.adapter, turn.reply, turn.trace, turn.thread_id,
        thread.key, thread.team, thread.channel
    FROM turn JOIN thread ON thread.id = turn.thread_id
    WHERE turn.id = (SELECT coalesce(absorbed_by, id) FROM turn WHERE id = :turn)"""

FLAG = """
    UPDATE turn SET cancel_by = :who WHERE id = :turn AND cancel_by IS NULL RETURNING id"""
RING = "UPDATE thread SET version = version + 1, wake_at = now() WHERE id = :thread"

# A delivery is claimed under its destination's lock.
WHOSE = "turn_id IN (SELECT id FROM turn WHERE id = :turn OR absorbed_by = :turn)"
"""The turn's own reply, and those to the messages that it took in."""
HOLD_DESTINATIONS = f"""
    SELECT 1 FROM destination
    WHERE id IN (SELECT destination_id FROM delivery WHERE {WHOSE} AND kind = 'reply' AND state = 'pending')
    ORDER BY id FOR NO KEY UPDATE"""
WITHDRAW = f"""
    UPDATE delivery SET state = 'failed', error = :error, finished_at = now()
    WHERE {WHOSE} AND kind = 'reply' AND state = 'pending' RETURNING id, turn_id, destination_id, body"""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of it."""

    how: Literal["ended", "asked", "withdrawn"]
    """`ended`: it had not begun. `asked`: who works on it stops within a second. `withdrawn`: its reply is not sent."""
    thread: UUID
    destinations: Sequence[UUID] = ()
    """To be woken, as the thread is."""


def find(db: Database, turn: UUID) -> Row[Any] | None:
    """The turn that is meant."""
    return db.one(FIND, turn=turn)


def cancel(
    db: Database, turn: UUID, who: str, *, adapters: Mapping[str, Adapter], texts: Messages, via: str = "cli"
) -> Cancelled | None:
    """Cancel a turn that has not been answered yet; None where it has been, was cancelled before or is unknown.

    The caller wakes what it returns. `who` may do so: that is the caller's to find out.
    """

    def work(connection: Connection) -> Cancelled | None:
        thread = lock_thread(connection, turn)
        found = connection.execute(compiled(FIND), {"turn": turn}).first()
        if thread is None or found is None:
            return None
        if found.state not in OPEN_TURNS:
            return withdrawn(connection, thread, found, who, texts, via)
        if found.state != TurnState.QUEUED:
            if connection.execute(compiled(FLAG), {"turn": found.id, "who": who}).first() is None:
                return None
            connection.execute(compiled(RING), {"thread": thread.id})
            note(connection, [noted(found, who, via)])
            return Cancelled("asked", thread.id)
        note(connection, [noted(found, who, via)])
        text = texts.cancelled.format(who=who)
        closing = Closing(found.id, found.trace, TurnState.CANCELLED, text, address(adapters, found), who)
        if found.adapter in adapters:
            closing = replace(closing, progress=adapters[found.adapter].progress(found.reply))
        destination = close_queued(connection, thread, closing)
        return Cancelled("ended", thread.id, [destination] if destination else [])

    return db.carried_out(work)


def withdrawn(
    connection: Connection, thread: Row[Any], found: Row[Any], who: str, texts: Messages, via: str
) -> Cancelled | None:
    """Take back the replies of an ended turn that nobody has begun to send; each is followed by what says so."""
    if found.state == TurnState.CANCELLED:
        return None
    connection.execute(compiled(HOLD_DESTINATIONS), {"turn": found.id})
    error = f"withdrawn: cancelled by {who}"
    taken = connection.execute(compiled(WITHDRAW), {"turn": found.id, "error": error}).all()
    if not taken:
        return None
    note(connection, [noted(found, who, via)])
    for reply in taken:
        body = {**reply.body, "status": TurnState.CANCELLED.value, "text": texts.cancelled.format(who=who)}
        stage_behind(connection, reply.destination_id, reply.turn_id, "cancelled", body)
    return Cancelled("withdrawn", thread.id, [reply.destination_id for reply in taken])


def address(adapters: Mapping[str, Adapter], found: Row[Any]) -> str | None:
    adapter = adapters.get(found.adapter)
    return adapter.address(found.reply, found.key) if adapter else None


def noted(found: Row[Any], who: str, via: str) -> dict[str, Any]:
    return event(
        "cancel_requested",
        trace=found.trace,
        thread=found.thread_id,
        turn=found.id,
        adapter=found.adapter,
        requester=found.actor,
        by=who,
        via=via,
        state=found.state,
    )
