"""What operators see of deliveries, and what they can do about those that ended badly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.db import Database, move
from app.states import DELIVERY_MOVES, DeliveryState

# Not the move from sending to pending: what is being sent right now would leave twice.
ENDED_BADLY = {state: DELIVERY_MOVES[state] for state in (DeliveryState.FAILED, DeliveryState.AMBIGUOUS)}


def retry(db: Database, delivery: UUID) -> UUID | None:
    """Send once more what ended `failed` or `ambiguous`. Its destination, to be woken; None where it is not so."""
    with db.transaction() as connection:
        moved = move(
            connection,
            "delivery",
            delivery,
            ENDED_BADLY,
            DeliveryState.PENDING,
            attempts=0,
            finished_at=None,
            # Whoever asks for it has looked, and wants it sent.
            doubtful=False,
        )
        if moved is None:
            return None
        destination: UUID = connection.exec_driver_sql(
            "UPDATE delivery SET due_at = now() WHERE id = %s RETURNING destination_id", (delivery,)
        ).scalar_one()
        connection.exec_driver_sql(
            "UPDATE destination SET version = version + 1, wake_at = now() WHERE id = %s", (destination,)
        )
        return destination


LISTED = """
    SELECT delivery.id, delivery.state, delivery.kind, delivery.attempts, delivery.created_at, delivery.due_at,
        delivery.finished_at, delivery.error, delivery.turn_id, destination.adapter, destination.address
    FROM delivery JOIN destination ON destination.id = delivery.destination_id
    WHERE CAST(:state AS text) IS NULL OR delivery.state = :state
    ORDER BY delivery.created_at DESC LIMIT :limit"""


def listed(db: Database, state: str | None, limit: int) -> Sequence[Row[Any]]:
    """The latest deliveries, newest first."""
    return db.rows(LISTED, state=state, limit=limit)
