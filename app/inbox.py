"""Accepting a message: one statement that dedupes, finds the thread, and stores message, turn and event."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app import meters, tracing
from app.audit import encoded, event, insert_events
from app.clock import uuid7
from app.db import Database, compiled
from app.errors import Refused, Unavailable
from app.jsonb import dumps, storable
from app.states import OPEN_TURNS, sql_list
from app.traffic import Inbound

# The receipt comes first and everything else hangs on its row: a duplicate finds it taken (waiting for the first one's
# commit where need be) and writes nothing at all. Sent to many processes at once, one of them wins.
# The count of open turns is not locked: the limit may be exceeded by as many requests as are being accepted at once.
TEMPLATE = """
    WITH {run} fresh AS (
        INSERT INTO receipt (adapter, event_key, turn_id)
        SELECT :adapter, :event_key, :turn_id {only}
        WHERE (:create_thread OR EXISTS (
                SELECT 1 FROM thread
                WHERE agent = :agent AND adapter = :adapter AND team = :team AND key = :key))
            {limit}
        ON CONFLICT DO NOTHING
        RETURNING turn_id
    ), home AS (
        INSERT INTO thread (id, agent, adapter, team, key, channel, last_seq, open_turns, version, wake_at,
            has_files)
        SELECT :thread_id, :agent, :adapter, :team, :key, :channel, 1, 1, 1, now(), :has_files FROM fresh
        ON CONFLICT (agent, adapter, team, key) DO UPDATE SET
            last_seq = thread.last_seq + 1, open_turns = thread.open_turns + 1,
            version = thread.version + 1, wake_at = now(), last_active_at = now(), {asked}
            has_files = thread.has_files OR excluded.has_files
        RETURNING id, last_seq, open_turns
    ), asked AS (
        INSERT INTO turn (id, thread_id, seq, adapter, state, actor, sender, trace, reply, command, job)
        SELECT :turn_id, id, last_seq, :adapter, 'queued', :actor, CAST(:sender AS jsonb), :trace,
            CAST(:reply AS jsonb), :command, CAST(:job AS jsonb)
        FROM home
    ), said AS (
        INSERT INTO message (id, thread_id, turn_id, direction, actor, text, data)
        SELECT :message_id, id, :turn_id, 'in', :actor, :text, CAST(:data AS jsonb) FROM home
    ), files AS (
        INSERT INTO attachment (id, turn_id, direction, name, media_type, body, text, size, source)
        SELECT f.id, :turn_id, 'in', f.name, f.media_type, decode(f.data, 'base64'), f.text, f.size, f.source
        FROM home, jsonb_to_recordset(CAST(:files AS jsonb))
            AS f (id uuid, name text, media_type text, data text, text text, size bigint, source jsonb)
    ){shown}, noted AS ({noted})
    SELECT id AS thread_id, open_turns {woken} FROM home"""

NOTED = insert_events("home", thread="home.id")

ACCEPT = TEMPLATE.format(
    run="",
    only="",
    asked="last_asked_at = now(),",
    limit=f"""AND (
        SELECT count(*) FROM (
            SELECT 1 FROM turn
            WHERE adapter = :adapter AND state IN ({sql_list(OPEN_TURNS)}) LIMIT :max_in_flight) AS open
        ) < :max_in_flight""",
    shown="",
    woken="",
    noted=NOTED,
)

# Of a chat that shows at once that the message was taken up, by a delivery of its own.
ACCEPT_AND_SHOW = TEMPLATE.format(
    run="",
    only="",
    asked="last_asked_at = now(),",
    limit="",
    shown=""", place AS (
        INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
        SELECT :place_id, :adapter, :address, 1, 1, now() FROM home
        ON CONFLICT (adapter, address) DO UPDATE SET
            last_seq = destination.last_seq + 1, version = destination.version + 1, wake_at = now()
        RETURNING id, last_seq
    ), shown AS (
        INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
        SELECT :delivery_id, id, last_seq, :turn_id, 'progress', CAST(:progress AS jsonb), 'pending' FROM place
    )""",
    woken=", (SELECT id FROM place) AS destination",
    noted=NOTED,
)

# Of a job: the run has begun with this turn, and with no other.
ACCEPT_RUN = TEMPLATE.format(
    run="""run AS (
        UPDATE job_run SET turn_id = :turn_id WHERE id = :run AND state = 'running' AND turn_id IS NULL RETURNING id
    ),""",
    only="FROM run",
    asked="",
    limit="",
    shown="",
    woken="",
    noted=NOTED,
)

FIRST = """
    SELECT turn.id AS turn_id, turn.thread_id, turn.trace, thread.key
    FROM receipt JOIN turn ON turn.id = receipt.turn_id JOIN thread ON thread.id = turn.thread_id
    WHERE receipt.adapter = :adapter AND receipt.event_key = :event_key"""

STORED = """
    SELECT thread_id, (SELECT destination_id FROM delivery WHERE turn_id = turn.id AND kind = 'progress') AS destination
    FROM turn WHERE id = :turn_id"""

THREAD_EXISTS = """
    SELECT 1 FROM thread WHERE agent = :agent AND adapter = :adapter AND team = :team AND key = :key"""


MANY = 2**31
"""More turns than there can be in flight."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an inbound message."""

    turn_id: UUID
    thread_id: UUID
    thread_key: str
    trace: str
    duplicate: bool
    """The event was accepted before: this is the first one's turn, and nothing was written now."""
    destination: UUID | None = None
    """To be woken, where the message shows that it was taken up."""


def accept(
    db: Database,
    inbound: Inbound,
    *,
    turn_id: UUID | None = None,
    max_in_flight: int = MANY,
    reject_busy: bool = False,
) -> Accepted:
    """Store a message and the turn that answers it; the caller wakes the thread afterwards.

    Raises Refused: 404 for a thread that must exist and does not, 409 for an event key that belongs to another thread
    or a busy thread (`reject_busy`), 429 when `max_in_flight` turns of the adapter are open; and Unavailable. It may
    be repeated with the same event key whatever became of the first try.
    """
    params = parameters(inbound, turn_id or uuid7(), max_in_flight)
    if reject_busy:
        with db.transaction() as connection:
            found = connection.execute(compiled(statement_of(inbound)), params).first()
            # The thread's row is locked by now, so that of two messages at once only one finds it free.
            if found is not None and found.open_turns > 1:
                raise Refused("this thread is busy with an earlier message; try again when it is done", status=409)
    else:
        found = written(db, statement_of(inbound), params)
    meters.count("messages_total", adapter=inbound.adapter, outcome="accepted" if found is not None else "repeated")
    if found is None:
        first = accepted_before(db, inbound, params)
        tracing.accepted(first.trace, first.thread_id, first.turn_id, fresh=False)
        return first
    woken = found.destination if inbound.progress else None
    tracing.accepted(params["trace"], found.thread_id, params["turn_id"], fresh=True)
    return Accepted(params["turn_id"], found.thread_id, inbound.key, params["trace"], False, woken)


def statement_of(inbound: Inbound) -> str:
    return ACCEPT_AND_SHOW if inbound.progress else ACCEPT


def accept_run(db: Database, inbound: Inbound, run: UUID, job: Mapping[str, Any]) -> Accepted | None:
    """Store the message and the turn of a job's run that was claimed; None where it has its turn already.

    `job` is what the turn keeps of it, `{run, name, kind, model}`. Raises Unavailable; then the run is taken up again.
    """
    params = {**parameters(inbound, uuid7(), MANY), "job": dumps(job), "run": run}
    found = db.one(ACCEPT_RUN, params)
    if found is None:
        return None
    tracing.accepted(params["trace"], found.thread_id, params["turn_id"], fresh=True)
    return Accepted(params["turn_id"], found.thread_id, inbound.key, params["trace"], duplicate=False)


def written(db: Database, statement: str, params: dict[str, Any]) -> Row[Any] | None:
    try:
        return db.one(statement, params)
    except Unavailable:
        # A pooled connection that Postgres closed on a restart is found out by using it. The receipt makes it safe to
        # try once more, over a new connection: if the first try was committed, this one is a duplicate of it.
        found = db.one(statement, params)
        if found is not None:
            return found
    return db.one(STORED, params)


def parameters(inbound: Inbound, turn_id: UUID, max_in_flight: int) -> dict[str, Any]:
    trace = secrets.token_hex(16)
    noted = event("message_accepted", trace=trace, turn=turn_id, adapter=inbound.adapter, actor=inbound.actor)
    files: list[Mapping[str, Any]] = [{"id": str(uuid7()), **file} for file in inbound.attachments]
    return {
        "adapter": inbound.adapter,
        "event_key": inbound.event_key,
        "turn_id": turn_id,
        "thread_id": uuid7(),
        "message_id": uuid7(),
        "agent": inbound.agent,
        "team": inbound.team,
        "key": inbound.key,
        "channel": inbound.channel,
        "actor": storable(inbound.actor),
        "text": storable(inbound.text),
        "data": dumps(inbound.data),
        "reply": dumps(inbound.reply),
        "command": None if inbound.command is None else storable(inbound.command),
        "job": None,
        "sender": dumps(inbound.sender),
        **({} if inbound.progress is None else shown(*inbound.progress)),
        "trace": trace,
        "files": dumps(files),
        "has_files": bool(files),
        "events": encoded([noted]),
        "create_thread": inbound.create_thread,
        "max_in_flight": max_in_flight,
    }


def shown(address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"address": address, "progress": dumps(body), "place_id": uuid7(), "delivery_id": uuid7()}


def accepted_before(db: Database, inbound: Inbound, params: dict[str, Any]) -> Accepted:
    """Why nothing was written: a duplicate, an unknown thread, or too much in flight."""
    first = db.one(FIRST, params)
    if first:
        if not inbound.create_thread and first.key != inbound.key:
            raise Refused("this eventId belongs to another thread", status=409)
        return Accepted(first.turn_id, first.thread_id, first.key, first.trace, duplicate=True)
    if not inbound.create_thread and not db.one(THREAD_EXISTS, params):
        raise Refused(f"there is no thread {inbound.key!r}; leave threadId out to start one", status=404)
    raise Refused("too many turns are in flight; try again later", status=429, retry_after=1.0)
