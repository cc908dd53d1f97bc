"""Deliveries: the outbox. A destination is a lane, and its deliveries leave one after the other, in order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never
from uuid import UUID

import structlog
from sqlalchemy import Row

from app.audit import encoded, event, insert_events
from app.config.settings import Delivery as DeliverySettings
from app.db import Database, move
from app.errors import LeaseLost
from app.leases import FREE, RELEASE, TAKE, Keeper, Lease, insist
from app.ports import Adapter, Outbound
from app.results import Ambiguous, Failed, Retry, SendResult, Sent
from app.states import DELIVERY_MOVES, DeliveryState

log = structlog.get_logger()

# The oldest unsent delivery, if it is its time. One that is `sending` already was begun by a process that is gone.
HEAD = """
    , head AS (
        UPDATE delivery SET state = 'sending', attempts = attempts + 1
        FROM lane
        WHERE delivery.id = (
                SELECT id FROM delivery
                WHERE destination_id = :destination AND state IN ('pending', 'sending') ORDER BY seq LIMIT 1)
            AND delivery.state = 'pending' AND delivery.due_at <= now()
        RETURNING delivery.id, delivery.turn_id, delivery.kind, delivery.body, delivery.attempts
    )
    SELECT lane.adapter, lane.address, lane.lease_token, destination.version + 1 AS seen,
        head.id, head.turn_id, head.body, head.attempts, turn.trace,
        (SELECT jsonb_agg(jsonb_build_object('name', name, 'media_type', media_type,
                'data', translate(encode(body, 'base64'), E'\\n', '')) ORDER BY attachment.id)
            FROM attachment
            WHERE attachment.turn_id = head.turn_id AND direction = 'out' AND head.kind = 'reply') AS files
    FROM lane JOIN destination ON destination.id = lane.id
    LEFT JOIN head ON true LEFT JOIN turn ON turn.id = head.turn_id"""

# `destination.version` comes from the statement's snapshot: where something was staged while we waited for the row,
# `seen` is not the row's version any more and the lane is not given back before another look.
TAKE_HEAD = f"""
    WITH lane AS (
        UPDATE destination SET {TAKE} WHERE id = :destination AND {FREE} AND wake_at <= now()
        RETURNING id, adapter, address, lease_token
    ) {HEAD}"""

NEXT_HEAD = f"""
    WITH lane AS (
        UPDATE destination SET version = version + 1 WHERE id = :destination AND lease_token = :token
        RETURNING id, adapter, address, lease_token
    ) {HEAD}"""

FINISH = f"""
    WITH lane AS (
        UPDATE destination SET version = version + 1,
            lease_owner = CASE WHEN idle AND version = :seen THEN NULL ELSE lease_owner END,
            lease_until = CASE WHEN idle AND version = :seen THEN NULL ELSE lease_until END,
            wake_at = CASE WHEN idle AND version = :seen
                THEN now() + make_interval(secs => CAST(:wait AS float)) ELSE now() END
        FROM (SELECT CAST(:wait AS float) IS NOT NULL OR NOT EXISTS (
                SELECT 1 FROM delivery
                WHERE destination_id = :destination AND state IN ('pending', 'sending') AND id <> :delivery
            ) AS idle) AS others
        WHERE id = :destination AND lease_token = :token
        RETURNING id, lease_until
    ), done AS (
        UPDATE delivery SET state = :state, error = :error,
            due_at = coalesce(now() + make_interval(secs => CAST(:wait AS float)), due_at),
            finished_at = CASE WHEN CAST(:wait AS float) IS NULL THEN now() END
        FROM lane WHERE delivery.id = :delivery AND delivery.state = 'sending'
    ), noted AS ({insert_events("lane")})
    SELECT lease_until IS NULL AS released FROM lane"""

SETTLE = """
    WITH lane AS (SELECT id FROM destination WHERE id = :destination AND lease_token = :token FOR UPDATE),
    settled AS (
        UPDATE delivery SET error = :error,
            state = CASE WHEN :safe AND attempts < :most THEN 'pending' ELSE 'ambiguous' END,
            finished_at = CASE WHEN NOT (:safe AND attempts < :most) THEN now() END
        FROM lane WHERE destination_id = :destination AND state = 'sending' RETURNING delivery.id, delivery.turn_id
    ), noted AS (
        INSERT INTO event (id, trace, kind, turn_id, data)
        SELECT gen_random_uuid(), turn.trace, 'delivery_in_doubt', turn.id, jsonb_build_object('delivery', settled.id)
        FROM settled JOIN turn ON turn.id = settled.turn_id
    )
    SELECT count(*) AS doubtful FROM settled"""

GIVE_BACK = f"""
    UPDATE destination SET {RELEASE}, version = version + 1,
        wake_at = CASE WHEN version <> :seen THEN now() ELSE (
            SELECT due_at FROM delivery
            WHERE destination_id = :destination AND state = 'pending' ORDER BY seq LIMIT 1) END
    WHERE id = :destination AND lease_token = :token RETURNING wake_at <= now() AS more"""


@dataclass(frozen=True, slots=True)
class Outbox:
    """One process's means of delivering."""

    db: Database
    keeper: Keeper
    adapter: Callable[[str], Adapter]
    settings: DeliverySettings
    draining: threading.Event


def deliver(box: Outbox, destination: UUID) -> None:
    """Take the destination's lane and send what is due, in order; returns when nothing is."""
    asked_at = time.monotonic()
    row = box.db.one(TAKE_HEAD, destination=destination, owner=box.keeper.owner, ttl=box.keeper.ttl)
    if row is None:
        return
    lease = box.keeper.hold("destination", destination, row.lease_token, asked_at)
    try:
        while row is not None:
            row = work(box, destination, row, lease)
    except LeaseLost as error:
        log.warning("lane_lost", error=error.message)
    finally:
        box.keeper.drop(lease)


def work(box: Outbox, destination: UUID, row: Row[Any], lease: Lease) -> Row[Any] | None:
    """Send the delivery that was claimed, or find out why none was. The next one, or None once the lane is free."""
    if row.id is None:
        return settle_or_rest(box, destination, row)
    adapter = box.adapter(row.adapter)
    result = sent(adapter, Outbound(str(row.id), row.address, row.body, row.attempts, row.files or ()))
    state, wait, error = verdict(result, row.attempts, adapter.resend_safe, box.settings)
    noted = event(
        f"delivery_{state.value}",
        trace=row.trace,
        turn=row.turn_id,
        delivery=str(row.id),
        attempt=row.attempts,
        error=error,
        retry_in=wait,
    )
    params = {
        "destination": destination,
        "token": row.lease_token,
        "seen": row.seen,
        "delivery": row.id,
        "state": state.value,
        "error": error,
        "wait": wait,
        "events": encoded([noted]),
    }
    ended = insist(box.db, FINISH, params, lease)
    if ended is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    if ended.released:
        return None
    if box.draining.is_set():
        box.db.one(GIVE_BACK, destination=destination, token=row.lease_token, seen=-1)
        return None
    return next_head(box, destination, row.lease_token)


def sent(adapter: Adapter, outbound: Outbound) -> SendResult:
    try:
        return adapter.send(outbound)
    except Exception as error:
        # A defect in an adapter: nobody knows how far it came, and it must not hold the lane up for ever.
        log.exception("send_failed", delivery=outbound.id)
        return Ambiguous(f"{type(error).__name__}: {error}")


def verdict(
    result: SendResult, attempts: int, resend_safe: bool, settings: DeliverySettings
) -> tuple[DeliveryState, float | None, str | None]:
    """The delivery's next state, the seconds until it is tried again (None: it is not), and why."""
    tries_left = attempts < settings.attempts
    match result:
        case Sent():
            return DeliveryState.SENT, None, None
        case Retry(reason, after) if tries_left:
            return DeliveryState.PENDING, max(backoff(attempts, settings), after or 0.0), reason
        case Ambiguous(reason) if tries_left and resend_safe:
            return DeliveryState.PENDING, backoff(attempts, settings), reason
        case Retry(reason) | Failed(reason):
            return DeliveryState.FAILED, None, reason
        case Ambiguous(reason):
            return DeliveryState.AMBIGUOUS, None, reason
        case _:
            assert_never(result)


def backoff(attempts: int, settings: DeliverySettings) -> float:
    """Doubling, with jitter: a fleet that lost one receiver must not come back to it in step."""
    return float(min(settings.max_backoff, settings.backoff * 2 ** (attempts - 1)) * (0.5 + random.random() / 2))


def settle_or_rest(box: Outbox, destination: UUID, row: Row[Any]) -> Row[Any] | None:
    """Nothing was claimed: decide what a process that is gone had begun, else give the lane back."""
    safe = box.adapter(row.adapter).resend_safe
    settled = box.db.one(
        SETTLE,
        destination=destination,
        token=row.lease_token,
        safe=safe,
        most=box.settings.attempts,
        error="the process that sent it died: it may have arrived",
    )
    if settled is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    if settled.doubtful:
        return next_head(box, destination, row.lease_token)
    rested = box.db.one(GIVE_BACK, destination=destination, token=row.lease_token, seen=row.seen)
    if rested is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    return None


def next_head(box: Outbox, destination: UUID, token: int) -> Row[Any]:
    row = box.db.one(NEXT_HEAD, destination=destination, token=token)
    if row is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    return row


# Not the move from sending to pending: what is being sent right now would leave twice.
ENDED_BADLY = {state: DELIVERY_MOVES[state] for state in (DeliveryState.FAILED, DeliveryState.AMBIGUOUS)}


def retry(db: Database, delivery: UUID) -> UUID | None:
    """Send once more what ended `failed` or `ambiguous`. Its destination, to be woken; None where it is not so."""
    with db.transaction() as connection:
        moved = move(connection, "delivery", delivery, ENDED_BADLY, DeliveryState.PENDING, attempts=0, finished_at=None)
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
