"""Ending a turn that no process works on yet, and staging one delivery, inside a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from app.audit import encoded, event, insert_events
from app.clock import uuid7
from app.db import Database, compiled
from app.jsonb import dumps, storable
from app.states import TurnState
from app.traffic import BESIDE

# The thread's row is locked first by every statement that writes to its turns: so nobody waits in a circle. NO KEY, as
# an UPDATE does: rows that refer to the thread may be written meanwhile.
LOCK = """
    SELECT thread.id, thread.agent, thread.adapter, thread.key FROM thread
    WHERE id = (SELECT thread_id FROM turn WHERE id = :turn) FOR NO KEY UPDATE"""

CLOSE = """
    UPDATE turn SET state = :state, answer = :answer, cancel_by = :cancel_by, finished_at = now()
    WHERE id = :turn AND state = 'queued' RETURNING id"""

END_RUN = """
    UPDATE job_run SET state = 'failed', error = :error, ended_at = now()
    WHERE turn_id = :turn AND state = 'running'"""

ONE_LESS = """
    UPDATE thread SET version = version + 1, open_turns = open_turns - 1,
        wake_at = CASE WHEN open_turns = 1 THEN NULL ELSE now() END
    WHERE id = :thread"""

SAY = """
    INSERT INTO message (id, thread_id, turn_id, direction, actor, text)
    VALUES (:id, :thread, :turn, 'out', :agent, :text)"""

PLACE = """
    INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
    VALUES (:id, :adapter, :address, 1, 1, now())
    ON CONFLICT (adapter, address) DO UPDATE SET
        last_seq = destination.last_seq + 1, version = destination.version + 1, wake_at = now()
    RETURNING id, last_seq"""

NEXT_PLACE = """
    UPDATE destination SET last_seq = last_seq + 1, version = version + 1, wake_at = now()
    WHERE id = :destination RETURNING id, last_seq"""

STAGE = """
    INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
    VALUES (:id, :destination, :seq, :turn, :kind, CAST(:body AS jsonb), 'pending')"""

NOTE = insert_events("(SELECT 1) AS here")

# All of the above for a command that was obeyed, in one round trip: a chat waits for its answer. The turn's own row is
# looked at again once the thread's is locked, so that of two processes which carried it out one closes it.
OBEYED = f"""
    WITH lane AS (
        SELECT id FROM thread WHERE id = :thread FOR NO KEY UPDATE
    ), closed AS (
        UPDATE turn SET state = 'done', answer = :text, finished_at = now()
        FROM lane WHERE turn.id = :turn AND turn.thread_id = lane.id AND turn.state = 'queued' RETURNING turn.id
    ), home AS (
        UPDATE thread SET version = version + 1, open_turns = open_turns - 1,
            wake_at = CASE WHEN open_turns = 1 THEN NULL ELSE now() END
        FROM closed WHERE thread.id = :thread RETURNING thread.id, agent, adapter, key, open_turns
    ), said AS (
        INSERT INTO message (id, thread_id, turn_id, direction, actor, text)
        SELECT :message, id, :turn, 'out', agent, :text FROM home
    ), place AS (
        INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
        SELECT :place, adapter, :address, 1, 1, now() FROM home WHERE CAST(:address AS text) IS NOT NULL
        ON CONFLICT (adapter, address) DO UPDATE SET
            last_seq = destination.last_seq + 1, version = destination.version + 1, wake_at = now()
        RETURNING id, last_seq
    ), staged AS (
        INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
        SELECT :delivery, place.id, place.last_seq, :turn, 'reply', jsonb_build_object(
            'thread', home.key, 'run', CAST(:turn AS text), 'status', 'done', 'text', CAST(:text AS text)), 'pending'
        FROM place, home
    ), noted AS ({insert_events("home", thread="home.id")})
    SELECT open_turns, (SELECT id FROM place) AS destination FROM home"""


@dataclass(frozen=True, slots=True)
class Closing:
    """How a queued turn ends."""

    turn: UUID
    trace: str
    state: TurnState
    text: str
    """What is said last."""
    address: str | None
    """Where that goes, or None where it goes nowhere."""
    cancelled_by: str | None = None
    progress: Mapping[str, Any] | None = None
    """What shows that the agent is at work on it, to be taken away."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What is to be woken after a command was obeyed."""

    behind: bool
    """Other turns of its thread have waited for it."""
    destination: UUID | None


def close_obeyed(db: Database, thread: UUID, turn: UUID, trace: str, text: str, address: str | None) -> Closed | None:
    """End the turn of a command, with what came of it; None where another process has done it.

    It may be repeated: of two at once, and of one whose answer was lost, one counts. Raises Unavailable.
    """
    noted = event("turn_finished", trace=trace, turn=turn, state=TurnState.DONE.value, steps=0, cancelled_by=None)
    params = {
        "thread": thread,
        "turn": turn,
        "text": storable(text),
        "address": address,
        "message": uuid7(),
        "place": uuid7(),
        "delivery": uuid7(),
        "events": encoded([noted]),
    }
    row = db.one(OBEYED, params)
    return None if row is None else Closed(row.open_turns > 0, row.destination)


def lock_thread(connection: Connection, turn: UUID) -> Row[Any] | None:
    """Lock the turn's thread until the transaction ends; None where there is no such turn."""
    return connection.execute(compiled(LOCK), {"turn": turn}).first()


def close_queued(connection: Connection, thread: Row[Any], closing: Closing) -> UUID | None:
    """End a turn, if it is still `queued`, in a locked thread. The destination to be woken, where there is one."""
    text = storable(closing.text)
    params = {"turn": closing.turn, "state": closing.state.value, "answer": text, "cancel_by": closing.cancelled_by}
    if connection.execute(compiled(CLOSE), params).first() is None:
        return None
    if closing.cancelled_by is not None:
        connection.execute(compiled(END_RUN), {"turn": closing.turn, "error": f"cancelled by {closing.cancelled_by}"})
    connection.execute(compiled(ONE_LESS), {"thread": thread.id})
    said = {"id": uuid7(), "thread": thread.id, "turn": closing.turn, "agent": thread.agent, "text": text}
    connection.execute(compiled(SAY), said)
    noted = event(
        "turn_finished",
        trace=closing.trace,
        thread=thread.id,
        turn=closing.turn,
        state=closing.state.value,
        steps=0,
        cancelled_by=closing.cancelled_by,
    )
    note(connection, [noted])
    if closing.address is None:
        return None
    body = {"thread": thread.key, "run": str(closing.turn), "status": closing.state.value, "text": text}
    found = stage(connection, thread.adapter, closing.address, closing.turn, "reply", body)
    if closing.progress is not None:
        # Woken by the sweeper, or with what shows progress next.
        stage(connection, thread.adapter, closing.address + BESIDE, closing.turn, "progress_end", closing.progress)
    return found


def stage(connection: Connection, adapter: str, address: str, turn: UUID, kind: str, body: Mapping[str, Any]) -> UUID:
    """One more delivery for a destination, which is to be woken after the commit."""
    place = connection.execute(compiled(PLACE), {"id": uuid7(), "adapter": adapter, "address": address}).one()
    put(connection, place, turn, kind, body)
    found: UUID = place.id
    return found


def stage_behind(connection: Connection, destination: UUID, turn: UUID, kind: str, body: Mapping[str, Any]) -> None:
    """One more delivery for a destination that is there already."""
    put(connection, connection.execute(compiled(NEXT_PLACE), {"destination": destination}).one(), turn, kind, body)


def put(connection: Connection, place: Row[Any], turn: UUID, kind: str, body: Mapping[str, Any]) -> None:
    params = {"id": uuid7(), "destination": place.id, "seq": place.last_seq, "turn": turn, "kind": kind}
    connection.execute(compiled(STAGE), {**params, "body": dumps(dict(body))})


def note(connection: Connection, events: Iterable[dict[str, Any]]) -> None:
    """Write events with the caller's transaction."""
    connection.execute(compiled(NOTE), {"events": encoded(events)})
