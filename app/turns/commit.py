"""The writes of a turn. Each is one statement, fenced by the lane's token: zero rows means that the lane was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.audit import encoded, insert_events
from app.clock import uuid7
from app.db import Database
from app.errors import LeaseLost, Unavailable
from app.jsonb import dumps, storable
from app.leases import Lease, insist
from app.sandbox_lane import LIVE_RUNNER, use_sandbox
from app.states import TurnState
from app.turns.facts import Facts, TurnFacts

ENTRY_FORMAT = 1
"""The serialised messages of pydantic-ai 2."""

# What a step leaves behind is committed whole or not at all: its transcript messages, its usage, its calls, the turn's
# new state and, where it was the last, the reply and the deliveries that carry it.
COMMIT = f"""
    WITH lane AS (
        UPDATE thread SET version = version + 1, last_active_at = now(),
            open_turns = open_turns - :closed,
            lease_owner = CASE WHEN :release THEN NULL ELSE lease_owner END,
            lease_until = CASE WHEN :release THEN NULL ELSE lease_until END,
            context_from = coalesce(CAST(:context_from AS bigint), context_from),
            wake_at = CASE
                WHEN NOT :release OR version <> :seen THEN now()
                WHEN :final AND open_turns > :closed THEN now()
                ELSE now() + make_interval(secs => CAST(:wake_in AS float)) END
        WHERE id = :thread AND lease_token = :token
        RETURNING id, version, wake_at <= now() AS more
    ), absorbed AS (
        UPDATE turn SET state = 'done', absorbed_by = :turn, started_at = now(), finished_at = now()
        FROM lane
        WHERE turn.thread_id = :thread AND turn.id = ANY(CAST(:absorbed AS uuid[])) AND turn.state = 'queued'
        RETURNING turn.cancel_by
    ), worked AS (
        UPDATE turn SET state = :state, step_count = :step_count, open_calls = :open_calls,
            failed_attempts = :failed_attempts, worked_ms = :worked_ms,
            retry_at = now() + make_interval(secs => CAST(:wake_in AS float)),
            answer = :answer, error = :error, finished_at = CASE WHEN :final THEN now() END,
            cancel_by = coalesce(turn.cancel_by, (SELECT max(cancel_by) FROM absorbed))
        FROM lane WHERE turn.id = :turn
    ), dropped AS (
        UPDATE call SET finished_at = now(), state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE 'interrupted' END
        FROM lane WHERE :final AND call.turn_id = :turn
            AND (call.state = 'queued' OR call.state = 'running' AND call.place = 'worker')
    ), stepped AS (
        INSERT INTO step (id, turn_id, n, model, input_tokens, output_tokens, cost, took_ms)
        SELECT s.id, :turn, s.n, s.model, s.input_tokens, s.output_tokens, s.cost, s.took_ms
        FROM lane, jsonb_to_recordset(CAST(:steps AS jsonb)) AS s (
            id uuid, n bigint, model text, input_tokens bigint, output_tokens bigint, cost numeric, took_ms float)
    ), said AS (
        INSERT INTO entry (thread_id, seq, turn_id, kind, format, body)
        SELECT lane.id, e.seq, :turn, e.kind, {ENTRY_FORMAT}, e.body
        FROM lane, jsonb_to_recordset(CAST(:entries AS jsonb)) AS e (seq bigint, kind text, body jsonb)
    ), box AS ({use_sandbox("lane WHERE :use_sandbox")}), asked AS (
        INSERT INTO call (id, turn_id, step_n, ordinal, tool_call_id, tool, args, place, idempotent, state, result,
            sandbox_id, started_at, finished_at)
        SELECT c.id, :turn, :step_count, c.ordinal, c.tool_call_id, c.tool, c.args, c.place, c.idempotent, c.state,
            c.result, CASE WHEN c.place = 'runner' AND c.state = 'queued' THEN box.id END,
            CASE WHEN c.state <> 'queued' THEN now() END, CASE WHEN c.result IS NOT NULL THEN now() END
        FROM lane LEFT JOIN box ON true, jsonb_to_recordset(CAST(:calls AS jsonb)) AS c (
            id uuid, ordinal bigint, tool_call_id text, tool text, args jsonb, place text, idempotent boolean,
            state text, result text)
    ), replied AS (
        INSERT INTO message (id, thread_id, turn_id, direction, actor, text)
        SELECT :message, lane.id, :turn, 'out', :agent, :answer FROM lane WHERE CAST(:answer AS text) IS NOT NULL
    ), places AS (
        INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
        SELECT p.id, :adapter, p.address, p.count, 1, now()
        FROM lane, jsonb_to_recordset(CAST(:destinations AS jsonb)) AS p (id uuid, address text, count bigint)
        ON CONFLICT (adapter, address) DO UPDATE SET
            last_seq = destination.last_seq + excluded.last_seq, version = destination.version + 1, wake_at = now()
        RETURNING id, address, last_seq
    ), staged AS (
        INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
        SELECT d.id, places.id, places.last_seq - d.from_last, d.turn_id, d.kind, d.body, 'pending'
        FROM places JOIN jsonb_to_recordset(CAST(:deliveries AS jsonb)) AS d (
            id uuid, address text, from_last bigint, turn_id uuid, kind text, body jsonb) USING (address)
    ), noted AS ({insert_events("lane", thread="lane.id")})
    SELECT lane.version, lane.more,
        (SELECT jsonb_agg(id) FROM places) AS destinations,
        box.id AS sandbox_id, {LIVE_RUNNER} AS runner
    FROM lane LEFT JOIN box ON true"""

STANDS = """
    SELECT turn.state, turn.step_count, turn.failed_attempts, thread.context_from
    FROM turn JOIN thread ON thread.id = turn.thread_id
    WHERE turn.id = :turn AND thread.id = :thread AND thread.lease_token = :token"""

RESULTS = f"""
    WITH lane AS (
        UPDATE thread SET version = version + 1 WHERE id = :thread AND lease_token = :token RETURNING id, version
    ), ended AS (
        UPDATE call SET state = r.state, result = r.result, finished_at = now()
        FROM lane, jsonb_to_recordset(CAST(:results AS jsonb)) AS r (id uuid, state text, result text)
        WHERE call.turn_id = :turn AND call.id = r.id AND call.state = 'running' RETURNING call.id
    ), unwanted AS (
        UPDATE call SET state = 'cancelled', finished_at = now()
        FROM ended WHERE call.parent_id = ended.id AND call.state = 'queued'
    ), worked AS (
        UPDATE turn SET open_calls = open_calls - (SELECT count(*) FROM ended),
            state = CASE WHEN open_calls = (SELECT count(*) FROM ended) THEN 'running' ELSE state END
        FROM lane WHERE turn.id = :turn
    ), noted AS ({insert_events("lane", thread="lane.id")})
    SELECT version FROM lane"""


@dataclass(frozen=True, slots=True)
class Committed:
    """What the database said of a commit."""

    version: int
    more: bool
    """The lane was given back and has work at once."""
    destinations: Sequence[UUID]
    sandbox: UUID | None
    runner: str | None
    """The live runner that has the sandbox, if any."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One delivery of a turn's outcome."""

    turn: UUID
    address: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that one commit of a turn writes."""

    state: TurnState
    step_count: int
    worked_ms: int
    open_calls: int = 0
    failed_attempts: int = 0
    wake_in: float | None = None
    """Seconds until the lane is to be worked on again, where nothing else wakes it."""
    hold: bool = False
    """Keep the lane: there is more to do here and now."""
    steps: Sequence[Mapping[str, Any]] = ()
    entries: Sequence[Mapping[str, Any]] = ()
    context_from: int | None = None
    calls: Sequence[Mapping[str, Any]] = ()
    runtime: str = ""
    scope_key: str = ""
    absorbed: Sequence[UUID] = ()
    answer: str | None = None
    error: str | None = None
    replies: Sequence[Reply] = ()
    events: Sequence[dict[str, Any]] = field(default=())

    @property
    def final(self) -> bool:
        return self.state in (TurnState.DONE, TurnState.FAILED, TurnState.CANCELLED)


def commit(db: Database, facts: Facts, turn: TurnFacts, outcome: Outcome, lease: Lease) -> Committed:
    """Write an outcome. Raises LeaseLost when another process has the lane: nothing was written then.

    Where the connection breaks, the outcome is unknown: it is looked up, and written again only if it is not there.
    """
    params = parameters(facts, turn, outcome)
    while True:
        try:
            row = db.one(COMMIT, params)
        except Unavailable:
            found = insist(db, STANDS, {"turn": turn.id, "thread": facts.thread, "token": facts.token}, lease)
            if found and stands(found, outcome):
                # Whom to wake is not known any more: the sweeper sees it, and the thread is looked at again.
                return Committed(facts.version, True, (), None, None)
            continue
        if row is None:
            raise LeaseLost(f"thread {facts.thread} was taken over by another process")
        places = [UUID(place) for place in row.destinations or ()]
        return Committed(row.version, row.more, places, row.sandbox_id, row.runner)


def stands(row: Row[Any], outcome: Outcome) -> bool:
    """Whether the turn is as the outcome leaves it; each outcome changes one of these."""
    written = (row.state, row.step_count, row.failed_attempts) == (
        outcome.state.value,
        outcome.step_count,
        outcome.failed_attempts,
    )
    return written and outcome.context_from in (None, row.context_from)


def commit_results(
    db: Database,
    facts: Facts,
    turn: TurnFacts,
    results: Sequence[Mapping[str, str]],
    events: Sequence[dict[str, Any]],
    lease: Lease,
) -> None:
    """Store what trusted tools returned, each `{id, state, result}`. Raises LeaseLost."""
    params = {
        "thread": facts.thread,
        "token": facts.token,
        "turn": turn.id,
        "results": dumps([{**result, "result": storable(result["result"])} for result in results]),
        "events": encoded(events),
    }
    if insist(db, RESULTS, params, lease) is None:
        raise LeaseLost(f"thread {facts.thread} was taken over by another process")


def parameters(facts: Facts, turn: TurnFacts, outcome: Outcome) -> dict[str, Any]:
    destinations, deliveries = staged(outcome.replies)
    return {
        "thread": facts.thread,
        "token": facts.token,
        "seen": facts.version,
        "agent": facts.agent,
        "adapter": facts.adapter,
        "turn": turn.id,
        "state": outcome.state.value,
        "final": outcome.final,
        "release": outcome.final or not outcome.hold,
        "closed": len(outcome.absorbed) + (1 if outcome.final else 0),
        "step_count": outcome.step_count,
        "open_calls": outcome.open_calls,
        "failed_attempts": outcome.failed_attempts,
        "worked_ms": outcome.worked_ms,
        "wake_in": outcome.wake_in,
        "steps": dumps([{"id": str(uuid7()), **step} for step in outcome.steps]),
        "entries": dumps(list(outcome.entries)),
        "context_from": outcome.context_from,
        "calls": dumps(list(outcome.calls)),
        "use_sandbox": any(call["place"] == "runner" and call["state"] == "queued" for call in outcome.calls),
        "sandbox": uuid7(),
        "runtime": outcome.runtime,
        "scope_key": outcome.scope_key,
        "absorbed": list(outcome.absorbed),
        "message": uuid7(),
        "answer": None if outcome.answer is None else storable(outcome.answer),
        "error": None if outcome.error is None else storable(outcome.error),
        "destinations": dumps(destinations),
        "deliveries": dumps(deliveries),
        "events": encoded(outcome.events),
    }


def staged(replies: Sequence[Reply]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Destinations with how many deliveries each gets, and the deliveries with their place from the end."""
    addresses = [reply.address for reply in replies]
    destinations = [
        {"id": str(uuid7()), "address": address, "count": addresses.count(address)}
        for address in dict.fromkeys(addresses)
    ]
    deliveries = [
        {
            "id": str(uuid7()),
            "address": reply.address,
            "from_last": addresses[index + 1 :].count(reply.address),
            "turn_id": str(reply.turn),
            "kind": "reply",
            "body": dict(reply.body),
        }
        for index, reply in enumerate(replies)
    ]
    return destinations, deliveries
