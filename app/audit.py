"""The audit trail: append-only events, written by the statement whose transaction they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from app.clock import uuid7
from app.jsonb import dumps

# DO NOTHING: a statement whose answer was lost is sent again, and its events may be there already.
INSERT_EVENTS = """
    INSERT INTO event (id, trace, kind, thread_id, turn_id, data)
    SELECT e.id, e.trace, e.kind, {thread}, e.turn_id, coalesce(e.data, '{{}}')
    FROM {source}, jsonb_to_recordset(CAST(:events AS jsonb))
        AS e (id uuid, trace text, kind text, thread_id uuid, turn_id uuid, data jsonb)
    ON CONFLICT (id) DO NOTHING"""


def insert_events(source: str, thread: str = "e.thread_id") -> str:
    """The INSERT of the events in `:events`, once for each row of `source`: none where a fence found none.

    `thread` is the SQL that gives the thread's id where the events don't know it.
    """
    return INSERT_EVENTS.format(source=source, thread=thread)


def event(
    kind: str, *, trace: str, thread: UUID | None = None, turn: UUID | None = None, **data: Any
) -> dict[str, Any]:
    """One event, ready for `encoded`. `data` is free-form and holds no secret and no text of a conversation."""
    return {
        "id": str(uuid7()),
        "trace": trace,
        "kind": kind,
        "thread_id": str(thread) if thread else None,
        "turn_id": str(turn) if turn else None,
        "data": data,
    }


def encoded(events: Iterable[dict[str, Any]]) -> str:
    """Events as the `:events` parameter of a statement with INSERT_EVENTS."""
    return dumps(list(events))
