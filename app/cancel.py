"""Asking for a turn to be cancelled: a flag on its row, seen by whoever works on it within a second."""

from __future__ import annotations

from uuid import UUID

from app.audit import encoded, event, insert_events
from app.db import Database
from app.states import OPEN_TURNS, sql_list

CANCEL = f"""
    WITH rung AS (
        UPDATE thread SET version = version + 1, wake_at = now()
        WHERE id = (SELECT thread_id FROM turn WHERE id = :turn) RETURNING id
    ), flagged AS (
        UPDATE turn SET cancel_by = :who FROM rung
        WHERE turn.id = :turn AND turn.state IN ({sql_list(OPEN_TURNS)}) AND turn.cancel_by IS NULL
        RETURNING turn.thread_id, turn.trace
    ), noted AS ({insert_events("flagged", thread="flagged.thread_id").replace("e.trace", "flagged.trace", 1)})
    SELECT thread_id FROM flagged"""


def cancel(db: Database, turn: UUID, who: str) -> UUID | None:
    """Flag an unfinished turn; its thread, to be woken. None where it is finished, flagged already or unknown."""
    noted = event("cancel_requested", trace="", turn=turn, by=who)
    row = db.one(CANCEL, turn=turn, who=who, events=encoded([noted]))
    return row.thread_id if row else None
