"""Asking for a turn to be cancelled: a flag on its row, seen by whoever works on it within a second."""

from __future__ import annotations

from uuid import UUID

from app.audit import encoded, event, insert_events
from app.db import Database
from app.states import OPEN_TURNS, sql_list

# Who cancels a message that a running turn has taken in means that turn.
CANCEL = f"""
    WITH asked AS (
        SELECT id, thread_id FROM turn WHERE id = (SELECT coalesce(absorbed_by, id) FROM turn WHERE id = :turn)
    ), rung AS (
        UPDATE thread SET version = version + 1, wake_at = now()
        WHERE id = (SELECT thread_id FROM asked) RETURNING id
    ), flagged AS (
        UPDATE turn SET cancel_by = :who FROM rung, asked
        WHERE turn.id = asked.id AND turn.state IN ({sql_list(OPEN_TURNS)}) AND turn.cancel_by IS NULL
        RETURNING turn.thread_id, turn.trace
    ), noted AS ({insert_events("flagged", thread="flagged.thread_id").replace("e.trace", "flagged.trace", 1)})
    SELECT thread_id FROM flagged"""


def cancel(db: Database, turn: UUID, who: str) -> UUID | None:
    """Flag an unfinished turn; its thread, to be woken. None where it is finished, flagged already or unknown."""
    noted = event("cancel_requested", trace="", turn=turn, by=who)
    params = {"turn": turn, "who": who, "events": encoded([noted])}
    # Once more where nothing was flagged: it may have been taken in by a running turn in that very moment.
    row = db.one(CANCEL, params) or db.one(CANCEL, params)
    return row.thread_id if row else None
