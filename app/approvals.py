"""Approvals: asked for with a step's commit, decided once. Whoever is first wins; everybody else is told who was."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row

from app import meters, tracing
from app.audit import event
from app.bypasses import GRANT, Grant
from app.clock import uuid7
from app.closing import note
from app.config.messages import Messages
from app.db import Database, compiled
from app.errors import HeyfleetError, Refused
from app.jsonb import dumps, storable
from app.sandbox_lane import LIVE_RUNNER
from app.states import ApprovalState

log = structlog.get_logger()

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Of the codes by which people call approvals and bypasses: nothing that looks like something else."""
CODE_CHARACTERS = 8

# What is decided about: changed afterwards, it can't be run.
DIGEST = "encode(sha256(convert_to({0}.tool || ' ' || CAST({0}.args AS text), 'UTF8')), 'hex')"

FOUND = """
    SELECT approval.id, approval.code, approval.call_id, approval.turn_id, approval.thread_id, approval.adapter,
        approval.requester, approval.reason, approval.details, approval.state, approval.expires_at,
        approval.decided_by, approval.decided_via, approval.decided_at, approval.created_at, approval.digest,
        approval.expires_at - now() AS remaining, call.tool, call.args, call.sandbox_id, turn.trace,
        thread.team, thread.channel, thread.key,
        ARRAY(SELECT other.actor FROM turn AS other WHERE other.absorbed_by = turn.id) AS others
    FROM approval JOIN call ON call.id = approval.call_id JOIN turn ON turn.id = approval.turn_id
    JOIN thread ON thread.id = approval.thread_id"""

FIND = f"""{FOUND}
    WHERE (approval.code = :name OR approval.id = CAST(:id AS uuid))
        AND (CAST(:adapter AS text) IS NULL OR approval.adapter = :adapter)"""

PENDING = f"""{FOUND}
    WHERE approval.state = 'pending' AND (CAST(:adapter AS text) IS NULL OR approval.adapter = :adapter)
    ORDER BY approval.expires_at, call.ordinal LIMIT :limit"""

PENDING_OF = f"""{FOUND}
    WHERE approval.turn_id = :turn AND approval.state = 'pending' ORDER BY call.ordinal"""

LATEST = f"""{FOUND}
    ORDER BY approval.created_at DESC LIMIT :limit"""

# Locked in the order in which a turn's commit and a runner's finish lock them: a runner holds its sandbox before it
# rings a thread, a commit holds its thread before it touches approvals. NO KEY, as an UPDATE does: rows that refer to
# the thread may be written meanwhile (an event of an answer that holds the sandbox).
HOLD_SANDBOX = "SELECT 1 FROM sandbox WHERE id = :sandbox FOR NO KEY UPDATE"
HOLD_THREAD = "SELECT 1 FROM thread WHERE id = :thread FOR NO KEY UPDATE"

DECIDE = """
    UPDATE approval SET state = :state, decided_by = :by, decided_via = :via, decided_at = now()
    FROM call
    WHERE approval.id = :approval AND approval.state = 'pending'
        AND call.id = approval.call_id AND call.state = 'awaiting_approval' AND {when}
    RETURNING approval.id"""
IN_TIME = "approval.expires_at > clock_timestamp()"
WHEN = {
    ApprovalState.APPROVED: f"{IN_TIME} AND approval.digest = {DIGEST.format('call')}",
    ApprovalState.DENIED: IN_TIME,
    ApprovalState.EXPIRED: "approval.expires_at <= clock_timestamp()",
}

BEGIN_AGAIN = "UPDATE call SET state = 'queued' WHERE id = :call AND state = 'awaiting_approval'"
RING_SANDBOX = f"""
    WITH box AS (
        UPDATE sandbox SET version = version + 1, wake_at = now() WHERE id = :sandbox RETURNING id, runtime, runner_id)
    SELECT box.id, box.runtime, {LIVE_RUNNER} AS runner FROM box"""
RING_THREAD = "UPDATE thread SET version = version + 1, wake_at = now() WHERE id = :thread"
REFUSE = """
    WITH refused AS (
        UPDATE call SET state = 'denied', result = :result, finished_at = now()
        WHERE id = :call AND state = 'awaiting_approval' RETURNING turn_id)
    UPDATE turn SET open_calls = open_calls - 1 FROM refused WHERE turn.id = refused.turn_id"""

# The card's news go where the card went, after it.
UPDATE_CARD = """
    WITH card AS (SELECT destination_id, body FROM delivery WHERE turn_id = :turn AND kind = :card),
    place AS (
        UPDATE destination SET last_seq = last_seq + 1, version = version + 1, wake_at = now()
        FROM card WHERE destination.id = card.destination_id RETURNING destination.id, last_seq)
    INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
    SELECT :id, place.id, place.last_seq, :turn, :kind,
        jsonb_set(card.body, '{approval}', (card.body->'approval') || CAST(:outcome AS jsonb)) || CAST(:news AS jsonb),
        'pending'
    FROM card, place RETURNING destination_id"""

# Past their time, or asked in a card that reached nobody.
LAPSED = f"""{FOUND}
    LEFT JOIN delivery AS card ON card.turn_id = approval.turn_id AND card.kind = 'approval:' || approval.id
    WHERE approval.state = 'pending' AND (approval.expires_at <= now() OR card.state = 'failed')
    ORDER BY approval.expires_at LIMIT 100"""


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, by somebody of whom it is known that they may give it."""

    state: ApprovalState
    by: str
    via: str
    """The adapter by which it came, `cli`, or `heyfleet` itself."""
    text: str
    """What is said in chat of it."""
    result: str = ""
    """What the model is told in place of the call's result, where it is not run."""
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an answer."""

    won: bool
    """False: it came too late, and `state` and `by` are the ones that hold."""
    state: ApprovalState
    by: str
    again: bool = False
    """The same answer was carried out before: nothing was done now."""
    thread: UUID | None = None
    """To be woken, as are:"""
    sandbox: tuple[UUID, str, str | None] | None = None
    """Its id, runtime and live runner."""
    destination: UUID | None = None


def new_code() -> str:
    """Never a word: `deny requests` is a sentence."""
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARACTERS))
        if any(character.isdigit() for character in code):
            return code


def card_kind(approval: UUID | str) -> str:
    return f"approval:{approval}"


def outcome_kind(approval: UUID | str) -> str:
    return f"approval_outcome:{approval}"


def find(db: Database, name: str, adapter: str | None = None) -> Row[Any]:
    """The approval of this code or id. Raises Refused (404); an approval of another adapter is as if it were not."""
    known = name.isascii() and name.replace("-", "").isalnum()
    row = db.one(FIND, name=name.lower(), id=uuid_or_none(name), adapter=adapter) if known else None
    if row is None:
        raise Refused(f"there is no approval {name!r}", status=404)
    return row


def pending(db: Database, *, adapter: str | None = None, limit: int = 500) -> Sequence[Row[Any]]:
    """What waits for an answer, the one that lapses first first."""
    return db.rows(PENDING, adapter=adapter, limit=limit)


def pending_of(db: Database, turn: UUID) -> Sequence[Row[Any]]:
    """What this turn waits for, in the order in which it was asked."""
    return db.rows(PENDING_OF, turn=turn)


def latest(db: Database, limit: int = 50) -> Sequence[Row[Any]]:
    """Approvals in any state, newest first."""
    return db.rows(LATEST, limit=limit)


def decide(db: Database, asked: Row[Any], decision: Decision) -> Decided:
    """Let one answer win, in one transaction with everything that follows from it. `asked` is a row of `find`.

    Raises Refused (409) where the call is not the one any more that was asked about, and Unavailable: then nobody
    knows whether it was decided, and asking again tells.
    """
    approved = decision.state == ApprovalState.APPROVED
    to_runner = approved and asked.sandbox_id is not None

    def work(connection: Connection) -> Decided | None:
        hold = HOLD_SANDBOX if to_runner else HOLD_THREAD
        connection.execute(compiled(hold), {"sandbox": asked.sandbox_id, "thread": asked.thread_id})
        params = {"approval": asked.id, "state": decision.state.value, "by": decision.by, "via": decision.via}
        if connection.execute(compiled(DECIDE.format(when=when(decision))), params).first() is None:
            return None
        return follow(connection, asked, decision, to_runner=to_runner)

    decided = db.carried_out(work)
    if decided is not None:
        meters.count("approvals_total", state=decision.state.value)
        waited = asked.expires_at - asked.created_at - asked.remaining
        tracing.decided(asked.tool, decision.state.value, asked.trace, waited.total_seconds())
        return decided
    found = find(db, str(asked.id))
    if found.state == ApprovalState.PENDING and found.remaining.total_seconds() > 0:
        raise Refused(
            "the call is not the one any more that was asked about; nothing was decided: deny it, or let it lapse",
            status=409,
        )
    state = ApprovalState(found.state) if found.state != ApprovalState.PENDING else ApprovalState.EXPIRED
    # Carried out again by whoever found the order after its process had died, an answer is still the one that won.
    same = (found.state, found.decided_by, found.decided_via) == (decision.state, decision.by, decision.via)
    return Decided(same, state, found.decided_by or "heyfleet", again=same)


def when(decision: Decision) -> str:
    # A card that reached nobody is answered by no one, whatever the time.
    return "true" if decision.via == "heyfleet" and decision.state == ApprovalState.DENIED else WHEN[decision.state]


def follow(connection: Connection, asked: Row[Any], decision: Decision, *, to_runner: bool) -> Decided:
    """What a decision means to the call, its turn, the card and the audit trail."""
    approved = decision.state == ApprovalState.APPROVED
    sandbox = None
    if approved:
        connection.execute(compiled(BEGIN_AGAIN), {"call": asked.call_id})
    else:
        connection.execute(compiled(REFUSE), {"call": asked.call_id, "result": storable(decision.result)})
    if to_runner:
        box = connection.execute(compiled(RING_SANDBOX), {"sandbox": asked.sandbox_id}).one()
        sandbox = (box.id, box.runtime, box.runner)
    else:
        connection.execute(compiled(RING_THREAD), {"thread": asked.thread_id})
    if decision.grant:
        connection.execute(compiled(GRANT), decision.grant.row(asked, decision.by))
    news = {
        "turn": asked.turn_id,
        "card": card_kind(asked.id),
        "id": uuid7(),
        "kind": outcome_kind(asked.id),
        "outcome": dumps({"state": decision.state.value, "decidedBy": decision.by}),
        "news": dumps({"status": "running", "text": decision.text}),
    }
    card = connection.execute(compiled(UPDATE_CARD), news).first()
    note(connection, events_of(asked, decision))
    return Decided(
        True,
        decision.state,
        decision.by,
        thread=None if to_runner else asked.thread_id,
        sandbox=sandbox,
        destination=card.destination_id if card else None,
    )


def events_of(asked: Row[Any], decision: Decision) -> list[dict[str, Any]]:
    common: Mapping[str, Any] = {
        "trace": asked.trace,
        "thread": asked.thread_id,
        "turn": asked.turn_id,
        "approval": asked.code,
        "adapter": asked.adapter,
        "requester": asked.requester,
        "by": decision.by,
        "via": decision.via,
    }
    found = [event(f"approval_{decision.state.value}", **common, tool=asked.tool, call=str(asked.call_id))]
    if decision.grant:
        grant = decision.grant
        found.append(event("bypass_granted", **common, bypass=grant.code, scope=grant.scope, seconds=grant.seconds))
    return found


def lapse(db: Database, texts: Messages) -> list[Decided]:
    """Answer with no what nobody answered in time, and what was asked in a card that could not be delivered."""
    found = []
    for asked in db.rows(LAPSED):
        late = asked.remaining.total_seconds() <= 0
        decision = Decision(
            ApprovalState.EXPIRED if late else ApprovalState.DENIED,
            "heyfleet",
            "heyfleet",
            texts.approval_expired.format(id=asked.code, tool=asked.tool),
            "Nobody answered in time, so this call was not run."
            if late
            else "The question could not be delivered to anyone who may answer it, so this call was not run.",
        )
        try:
            found.append(decide(db, asked, decision))
        except HeyfleetError as error:
            # Tried again at the next look; the others must not wait for it.
            log.warning("approval_not_lapsed", approval=asked.code, error=error.message)
    return found


def uuid_or_none(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
