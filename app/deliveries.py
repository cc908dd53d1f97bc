"""Deliveries: the outbox. A destination is a lane, and its deliveries leave one after the other, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from app import tracing
from app.audit import encoded, event, insert_events
from app.config.settings import Delivery as DeliverySettings
from app.db import Database
from app.errors import LeaseLost, Unavailable
from app.jsonb import dumps
from app.leases import FREE, RELEASE, TAKE, Keeper, Lease, insist
from app.log import ids
from app.ports import Adapter
from app.rate_limits import RateLimits
from app.results import Absent, Ambiguous, Held, Retry, SendResult, Sent
from app.send_outcomes import Outcome, measure, outcome_of
from app.stored_files import StoredFile
from app.traffic import BESIDE, Outbound

log = structlog.get_logger()


def no_timer(destination: UUID, seconds: float) -> None:
    """The sweeper wakes it."""


# The oldest unsent delivery, if it is its time. One that is `sending` already was begun by a process that is gone.
# Whether it may have arrived is read from the row itself once it is locked, not from the statement's snapshot.
HEAD = """
    , head AS (
        UPDATE delivery SET state = 'sending', attempts = attempts + 1, doubtful = doubtful OR state = 'sending',
            tried_at = CASE WHEN doubtful OR state = 'sending' THEN coalesce(tried_at, created_at) ELSE now() END
        FROM lane
        WHERE delivery.id = (
                SELECT id FROM delivery
                WHERE destination_id = :destination AND state IN ('pending', 'sending') ORDER BY seq LIMIT 1)
            AND (delivery.state = 'pending' AND delivery.due_at <= now() OR delivery.state = 'sending')
        RETURNING delivery.id, delivery.turn_id, delivery.kind, delivery.body, delivery.attempts, delivery.doubtful,
            delivery.sent, delivery.created_at, delivery.tried_at
    )
    SELECT lane.adapter, lane.address, lane.lease_token, destination.version + 1 AS seen,
        head.id, head.turn_id, head.kind, head.body, head.attempts, head.doubtful, head.sent, head.created_at,
        head.tried_at,
        turn.trace, turn.thread_id,
        (SELECT first.sent FROM delivery AS first WHERE first.turn_id = head.turn_id AND first.kind = CASE
            WHEN head.kind IN ('reply', 'cancelled') THEN 'draft'
            WHEN head.kind = 'progress_end' THEN 'progress'
            WHEN head.kind LIKE 'approval_outcome:%' THEN 'approval:' || substr(head.kind, 18) END) AS replaces,
        turn.finished_at IS NOT NULL AS over,
        (SELECT jsonb_agg(jsonb_build_object('id', id, 'name', name, 'media_type', media_type) ORDER BY id)
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
        FROM (SELECT CAST(:wait AS float) IS NOT NULL OR NOT :more AND NOT EXISTS (
                SELECT 1 FROM delivery
                WHERE destination_id = :destination AND state IN ('pending', 'sending') AND id <> :delivery
            ) AS idle) AS others
        WHERE id = :destination AND lease_token = :token
        RETURNING id, lease_until
    ), done AS (
        UPDATE delivery SET state = :state, error = :error, doubtful = :doubtful, attempts = :attempts,
            sent = sent || CAST(:sent AS jsonb),
            due_at = coalesce(now() + make_interval(secs => CAST(:wait AS float)), due_at),
            finished_at = CASE WHEN NOT :more AND CAST(:wait AS float) IS NULL THEN now() END
        FROM lane WHERE delivery.id = :delivery AND delivery.state = 'sending'
    ), noted AS ({insert_events("lane")})
    SELECT lease_until IS NULL AS released FROM lane"""

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
    limits: RateLimits
    later: Callable[[UUID, float], None] = no_timer
    """Wakes a destination in so many seconds. Best effort: the sweeper does it too, a moment later."""


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
        log.warning("lane_lost", destination=str(destination), error=error.message)
    finally:
        box.keeper.drop(lease)


def work(box: Outbox, destination: UUID, row: Row[Any], lease: Lease) -> Row[Any] | None:
    """Send what was claimed, and write down what became of it. What is next, or None once the lane is free."""
    if row.id is None:
        rest(box, destination, row)
        return None
    adapter = box.adapter(row.adapter)
    told = ids(trace=row.trace, thread=row.thread_id, turn=row.turn_id)
    with told, tracing.delivery(row.adapter, row.kind, row.id, row.trace) as span:
        result = tried(box, adapter, row, lease)
        outcome = outcome_of(result, row.attempts, adapter.in_doubt, box.settings, doubtful=row.doubtful)
        span.note({"heyfleet.delivery.attempt": row.attempts, "heyfleet.delivery.outcome": outcome.came})
        if outcome.held or pointless(row):
            span.drop()
        elif outcome.came not in ("sent", "part"):
            span.failed(outcome.came)
        if isinstance(result, Retry) and result.pauses is not None and result.after is not None:
            box.limits.pause(adapter.name, result.pauses, result.after)
    params = {
        "destination": destination,
        "token": row.lease_token,
        "seen": row.seen,
        "delivery": row.id,
        "state": outcome.state.value,
        "error": outcome.error,
        "wait": outcome.wait,
        "doubtful": outcome.doubtful,
        "attempts": outcome.attempts,
        "sent": dumps(list(outcome.references)),
        "more": outcome.more,
        "events": encoded(events_of(row, outcome)),
    }
    ended = insist(box.db, FINISH, params, lease)
    if ended is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    measure(outcome, row.adapter, row.kind, row.created_at)
    if ended.released:
        if outcome.wait is not None:
            box.later(destination, outcome.wait)
        return None
    if box.draining.is_set():
        box.db.one(GIVE_BACK, destination=destination, token=row.lease_token, seen=-1)
        return None
    return next_head(box, destination, row.lease_token)


def tried(box: Outbox, adapter: Adapter, row: Row[Any], lease: Lease) -> SendResult:
    """Send it, unless an earlier try turns out to have arrived."""
    if pointless(row):
        return Sent()
    outbound = outbound_of(box, row)
    try:
        if row.doubtful:
            settled = settle(adapter, outbound)
            if not isinstance(settled, Absent):
                return settled
            if row.attempts > box.settings.attempts:
                return Ambiguous("it was tried as often as it may be, and did not arrive as far as can be told")
        if lease.lost:
            raise LeaseLost(f"destination {row.address} may be another process's by now")
        wait = box.limits.take(adapter.name, adapter.limits(outbound))
        return Held(f"a limit of {adapter.name} is used up", wait) if wait else adapter.send(outbound)
    except LeaseLost:
        raise
    except Unavailable as error:
        return Retry(f"{error.message}: nothing was sent", doubtful=row.doubtful)
    except Exception as error:
        # A defect in an adapter: nobody knows how far it came, and it must not hold the lane up for ever.
        log.exception("send_failed", delivery=outbound.id)
        return Ambiguous(f"{type(error).__name__}: {error}")


def pointless(row: Row[Any]) -> bool:
    """What shows that the agent is at work need not be shown once it is done, nor taken away where it never was."""
    return (row.kind == "progress" and row.over) or (row.kind == "progress_end" and not row.replaces)


def settle(adapter: Adapter, outbound: Outbound) -> Sent | Absent | Retry | Ambiguous:
    match adapter.in_doubt:
        case "resend":
            return Absent()
        case "look":
            found = adapter.settle(outbound)
            return replace(found, final=True) if isinstance(found, Ambiguous) else found
        case "flag":
            return Ambiguous("it may have arrived: whoever sent it did not live to see")


def outbound_of(box: Outbox, row: Row[Any]) -> Outbound:
    return Outbound(
        id=str(row.id),
        address=row.address.removesuffix(BESIDE),
        kind=row.kind,
        body=row.body,
        attempt=row.attempts,
        files=[StoredFile(box.db, file) for file in row.files or ()],
        sent=row.sent,
        replaces=row.replaces or (),
        staged_at=row.created_at,
        tried_at=row.tried_at,
    )


def events_of(row: Row[Any], outcome: Outcome) -> list[dict[str, Any]]:
    """What the audit trail says of one try. Waiting for a limit to let it through is none."""
    if outcome.held:
        return []
    what = {"trace": row.trace, "turn": row.turn_id, "delivery": str(row.id)}
    found = [event("delivery_in_doubt", **what)] if row.doubtful else []
    kind = "delivery_part_sent" if outcome.more else f"delivery_{outcome.state.value}"
    return [*found, event(kind, **what, attempt=row.attempts, error=outcome.error, retry_in=outcome.wait)]


def rest(box: Outbox, destination: UUID, row: Row[Any]) -> None:
    """Nothing is due: give the lane back."""
    rested = box.db.one(GIVE_BACK, destination=destination, token=row.lease_token, seen=row.seen)
    if rested is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")


def next_head(box: Outbox, destination: UUID, token: int) -> Row[Any]:
    row = box.db.one(NEXT_HEAD, destination=destination, token=token)
    if row is None:
        raise LeaseLost(f"destination {destination} was taken over by another process")
    return row
