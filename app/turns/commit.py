"""The writes of a turn. Each is one statement, fenced by the lane's token: zero rows means that the lane was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.audit import encoded
from app.clock import uuid7
from app.db import Database
from app.errors import LeaseLost, Unavailable
from app.jsonb import dumps, storable
from app.leases import Lease, insist
from app.states import CallState, JobRunState, TurnState
from app.turns.facts import Facts, TurnFacts
from app.turns.statements import BEGIN, COMMIT, COMMIT_IN_FULL, RESULTS, STANDS, STILL_QUEUED

OPEN_STATES = (CallState.QUEUED, CallState.AWAITING_APPROVAL)


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
    kind: str = "reply"


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
    questions: Sequence[Mapping[str, Any]] = ()
    """Approvals to be asked for, each `{id, code, call, reason, details, expires_in}`."""
    ends_approvals: bool = False
    """Pending ones end with the turn."""
    skips_run: bool = False
    """A job's run that came to nothing, for the reason in `error`."""
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


def commit(db: Database, facts: Facts, turn: TurnFacts, outcome: Outcome, lease: Lease) -> Committed | None:
    """Write an outcome. Raises LeaseLost when another process has the lane: nothing was written then.

    None, and nothing written, where the turn itself or a message that it takes in was cancelled meanwhile. Where the
    connection breaks, the outcome is unknown: it is looked up, and written again only if it is not there.
    """
    params = parameters(facts, turn, outcome)
    statement = COMMIT_IN_FULL if outcome.questions or outcome.ends_approvals or turn.job else COMMIT
    while True:
        try:
            row = db.one(statement, params)
        except Unavailable:
            found = insist(db, STANDS, {"turn": turn.id, "thread": facts.thread, "token": facts.token}, lease)
            if found and stands(found, outcome):
                # Whom to wake is not known any more: the sweeper sees it, and the thread is looked at again.
                return Committed(facts.version, True, (), None, None)
            continue
        if row is None:
            now = insist(db, STILL_QUEUED, params, lease)
            if now is None:
                raise LeaseLost(f"thread {facts.thread} was taken over by another process")
            if now.cancelled or len(now.queued) < len(params["fresh"]):
                return None
            params["unchanged"] = now.version
            continue
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


def begin(db: Database, facts: Facts, turn: TurnFacts, calls: Sequence[UUID], lease: Lease) -> list[UUID]:
    """Mark calls of trusted tools as running; those that are. Raises LeaseLost."""
    params = {"thread": facts.thread, "token": facts.token, "turn": turn.id, "calls": list(calls)}
    row = insist(db, BEGIN, params, lease)
    if row is None:
        raise LeaseLost(f"thread {facts.thread} was taken over by another process")
    return list(row.begun)


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
    aside = facts.current is not None and turn.id != facts.current.id
    fresh = [*outcome.absorbed, *([turn.id] if aside else [])]
    return {
        "thread": facts.thread,
        "token": facts.token,
        "seen": facts.version,
        # What was cancelled must neither be taken in nor be answered as if it were not: nothing may have come between.
        "unchanged": facts.version if fresh or (outcome.final and turn.cancel_by is None) else None,
        "fresh": fresh,
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
        "questions": dumps(list(outcome.questions)),
        "actor": turn.actor,
        "trace": turn.trace,
        "use_sandbox": any(call["place"] == "runner" and call["state"] in OPEN_STATES for call in outcome.calls),
        "wakes": wakes_sandbox(outcome),
        "sandbox": uuid7(),
        "runtime": outcome.runtime,
        "scope_key": outcome.scope_key,
        "absorbed": list(outcome.absorbed),
        "message": uuid7(),
        "answer": None if outcome.answer is None else storable(outcome.answer),
        "error": None if outcome.error is None else storable(outcome.error),
        "run_state": run_state(outcome).value,
        "run_error": run_error(turn, outcome),
        "destinations": dumps(destinations),
        "deliveries": dumps(deliveries),
        "events": encoded(outcome.events),
    }


def run_state(outcome: Outcome) -> JobRunState:
    """How the run of a job ends with its turn."""
    if outcome.skips_run:
        return JobRunState.SKIPPED
    return JobRunState.DONE if outcome.state == TurnState.DONE else JobRunState.FAILED


def run_error(turn: TurnFacts, outcome: Outcome) -> str | None:
    cancelled = f"cancelled by {turn.cancel_by}" if outcome.state == TurnState.CANCELLED else None
    error = outcome.error or cancelled
    return None if error is None else storable(error)


def wakes_sandbox(outcome: Outcome) -> bool:
    """Whether a runner has something to do at once."""
    return any(call["place"] == "runner" and call["state"] == CallState.QUEUED for call in outcome.calls)


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
            "kind": reply.kind,
            "body": dict(reply.body),
        }
        for index, reply in enumerate(replies)
    ]
    return destinations, deliveries
