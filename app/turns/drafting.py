"""The reply while the model still writes it, as one message that is changed again and again.

The message is a delivery like any other, so that whoever goes on with the turn finds it, and the reply takes its place.
Its changes are not: each is gone with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from app.clock import uuid7
from app.errors import HeyfleetError
from app.jsonb import dumps
from app.leases import Lease
from app.ports import Adapter
from app.results import Failed, Retry
from app.traffic import Outbound
from app.turns.facts import Facts, TurnFacts
from app.turns.services import TurnServices

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two changes."""
KIND = "draft"
WORKING = " …"
"""Behind what is not the end yet."""

# Fenced by the lane's token; the turn has one draft, whoever begins it.
STAGE = """
    WITH lane AS (SELECT id FROM thread WHERE id = :thread AND lease_token = :token),
    place AS (
        INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
        SELECT :place, :adapter, :address, 1, 1, now() FROM lane
        WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE turn_id = :turn AND kind = 'draft')
        ON CONFLICT (adapter, address) DO UPDATE SET
            last_seq = destination.last_seq + 1, version = destination.version + 1, wake_at = now()
        RETURNING id, last_seq
    )
    INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
    SELECT :delivery, place.id, place.last_seq, :turn, 'draft', CAST(:body AS jsonb), 'pending' FROM place
    ON CONFLICT (turn_id, kind) DO NOTHING
    RETURNING destination_id"""

STANDS = "SELECT sent FROM delivery WHERE turn_id = :turn AND kind = 'draft' AND state = 'sent'"


@dataclass(slots=True)
class Draft:
    """Of one turn, in the hands of the process that works on it."""

    s: TurnServices
    facts: Facts
    turn: TurnFacts
    lease: Lease
    address: str
    shown_at: float = 0.0
    reference: str = ""
    """What the other side calls the message, once it is there."""
    begun: bool = False
    over: bool = False

    def show(self, text: str) -> None:
        """What the model has said so far. Best effort, and never in the way of the answer."""
        if self.over or not text.strip() or time.monotonic() - self.shown_at < EVERY or self.lease.is_set():
            return
        self.shown_at = time.monotonic()
        try:
            self._show(f"{text.rstrip()}{WORKING}")
        except HeyfleetError as error:
            log.warning("draft_not_shown", error=error.message)
        except Exception:
            # A defect in an adapter: the answer itself is what counts.
            log.exception("draft_not_shown")

    def _show(self, text: str) -> None:
        body = {"thread": self.facts.key, "run": str(self.turn.id), "status": "running", "text": text}
        if "answers" in self.turn.reply:
            body["answers"] = self.turn.reply["answers"]
        if not self.begun:
            self._begin(body)
        if not self.reference:
            row = self.s.db.one(STANDS, turn=self.turn.id)
            self.reference = row.sent[0] if row is not None and row.sent else ""
            return
        change = Outbound("draft", self.address, KIND, body, 1, replaces=[self.reference])
        self._change(self.s.adapter(self.facts.adapter), change)

    def _begin(self, body: dict[str, Any]) -> None:
        params = {
            "thread": self.facts.thread,
            "token": self.facts.token,
            "turn": self.turn.id,
            "adapter": self.facts.adapter,
            "address": self.address,
            "place": uuid7(),
            "delivery": uuid7(),
            "body": dumps(body),
        }
        row = self.s.db.one(STAGE, params)
        self.begun = True
        if row is not None:
            self.s.deliver(row.destination_id)

    def _change(self, adapter: Adapter, change: Outbound) -> None:
        """Where the limits leave room for it: the reply itself must not have to wait for its drafts."""
        if self.s.limits.take(adapter.name, adapter.limits(change)):
            return
        result = adapter.send(change)
        # Somebody took the message away: the reply will be one of its own.
        self.over = isinstance(result, Failed)
        if isinstance(result, Retry) and result.pauses is not None and result.after is not None:
            self.s.limits.pause(adapter.name, result.pauses, result.after)


def draft_of(s: TurnServices, facts: Facts, turn: TurnFacts, lease: Lease) -> Callable[[str], None] | None:
    """What is called with the text so far; None where nobody is to see it before it is whole."""
    adapter = s.adapter(facts.adapter)
    match adapter.drafts:
        case "shown":
            return lambda text: s.publish_draft(turn.id, text)
        case "edited" if turn.job is None:
            address = adapter.address(turn.reply, facts.key)
            return Draft(s, facts, turn, lease, address).show if address is not None else None
        case _:
            return None
