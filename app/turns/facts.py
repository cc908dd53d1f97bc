"""Taking a thread's lane, and everything that is known about its work, in one round trip."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.control.commands import recall
from app.db import Database
from app.errors import LeaseLost
from app.leases import Keeper, Lease, insist
from app.states import CallState, TurnState
from app.turns.lane import GIVE_BACK, GRACE_SECONDS, REREAD, TAKE_WITH_FACTS


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """One open turn and what was said to start it."""

    id: UUID
    seq: int
    state: TurnState
    actor: str
    trace: str
    reply: Mapping[str, Any]
    step_count: int
    open_calls: int
    failed_attempts: int
    worked_ms: int
    command: str | None
    """The control command that it is, as it was said; None: a message for the model."""
    obey_at: str | None
    """Of a command that the process which accepted it carries out itself: not before this (ISO) time, by which that
    process must have died."""
    cancel_by: str | None
    retry_at: str | None
    accepted_at: datetime
    """By the database's clock, as `Facts.now`."""
    messages: Sequence[Mapping[str, Any]]
    files: Sequence[Mapping[str, Any]]
    """What came with it, each `{id, name, media_type, size, text, problem, source}`; with a `source` it is to be
    fetched yet."""
    sender: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the adapter vouches for of its actor, `{groups, bot}`."""
    job: Mapping[str, Any] | None = None
    """Of a turn that a job's run started: `{run, name, kind, model}`."""
    started_at: datetime | None = None
    """When it was first worked on; None where that is now."""

    @property
    def begins(self) -> bool:
        """Whether nothing was done for it yet, and now something is."""
        return self.state == TurnState.RUNNING and not (self.step_count or self.failed_attempts or self.worked_ms)

    def age(self, now: datetime) -> float:
        """Seconds since it was accepted."""
        return (now - self.accepted_at).total_seconds()


@dataclass(frozen=True, slots=True)
class CallFacts:
    """One call of the transcript's last step."""

    id: UUID
    ordinal: int
    tool_call_id: str
    tool: str
    args: Mapping[str, Any]
    place: str
    idempotent: bool
    state: CallState
    result: str | None
    seconds: float
    """How long it ran."""


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """One stored transcript message."""

    seq: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a thread by the process that holds its lane."""

    thread: UUID
    token: int
    version: int
    """The lane's version as of these facts: a higher one means that something came since."""
    agent: str
    adapter: str
    team: str
    key: str
    channel: str
    turns: Sequence[TurnFacts]
    """Open ones, oldest first; the first is the current one."""
    absorbed: Sequence[Mapping[str, Any]]
    """Turns whose messages the current one was given, each `{id, reply, actor}`."""
    calls: Sequence[CallFacts]
    entries: Sequence[EntryFacts]
    asked: Sequence[Mapping[str, Any]]
    """Approvals that are waited for, each `{id, code, tool}`."""
    context_from: int
    """No transcript entry below this number is seen by the model."""
    now: datetime
    """When these were the facts."""
    read_at: float = field(default_factory=time.monotonic, compare=False)
    """When they were read, by this process's own clock."""

    def since(self, moment: datetime) -> float:
        """Seconds from then, by the database's clock, until this very moment."""
        return (self.now - moment).total_seconds() + time.monotonic() - self.read_at

    @property
    def current(self) -> TurnFacts | None:
        return self.turns[0] if self.turns else None

    @property
    def next_entry(self) -> int:
        """The number of the transcript's next entry."""
        return self.entries[-1].seq + 1 if self.entries else max(1, self.context_from)


@dataclass(frozen=True, slots=True)
class Held:
    """A thread's lane in this process's hands."""

    facts: Facts
    lease: Lease


def take(db: Database, keeper: Keeper, thread: UUID) -> Held | None:
    """Take the lane of a thread that has work and no holder; None where it has not, or somebody else was first."""
    while True:
        asked_at = time.monotonic()
        row = db.one(TAKE_WITH_FACTS, thread=thread, owner=keeper.owner, ttl=keeper.ttl)
        if row is None:
            return None
        facts = replace(facts_of(thread, row, row.started), read_at=asked_at)
        if row.version == row.seen + 1:
            turns = [facts.current.id] if facts.current else []
            return Held(facts, keeper.hold("thread", thread, row.lease_token, asked_at, turns))
        # Somebody wrote to the lane while we waited for its row: look again, with a snapshot that has it.
        give_back(db, facts, wake_at=row.now)


def reread(db: Database, facts: Facts, lease: Lease) -> Facts:
    """The facts as they are now, of a lane that is still held. Raises LeaseLost."""
    row = insist(db, REREAD, {"thread": facts.thread, "token": facts.token}, lease)
    if row is None:
        raise LeaseLost(f"thread {facts.thread} was taken over by another process")
    return facts_of(facts.thread, row, None)


def give_back(db: Database, facts: Facts, wake_at: Any) -> bool:
    """Let go of a lane with nothing to commit. True where there is work to be done at once."""
    row = db.one(GIVE_BACK, thread=facts.thread, token=facts.token, seen=facts.version, wake_at=wake_at)
    return bool(row and row.more)


def facts_of(thread: UUID, row: Row[Any], started: UUID | None) -> Facts:
    return Facts(
        thread=thread,
        token=row.lease_token,
        version=row.version,
        agent=row.agent,
        adapter=row.adapter,
        team=row.team,
        key=row.key,
        channel=row.channel,
        turns=[turn_of(turn, started, row.now) for turn in row.turns or ()],
        absorbed=row.absorbed or (),
        calls=[call_of(call) for call in row.calls or ()],
        entries=[EntryFacts(entry["seq"], entry["kind"], entry["body"]) for entry in row.entries or ()],
        asked=row.asked or (),
        context_from=row.context_from,
        now=row.now,
    )


def turn_of(row: Mapping[str, Any], started: UUID | None, now: datetime) -> TurnFacts:
    turn_id = UUID(row["id"])
    return TurnFacts(
        id=turn_id,
        seq=row["seq"],
        state=TurnState.RUNNING if turn_id == started else TurnState(row["state"]),
        actor=row["actor"],
        trace=row["trace"],
        reply=row["reply"],
        step_count=row["step_count"],
        open_calls=row["open_calls"],
        failed_attempts=row["failed_attempts"],
        worked_ms=row["worked_ms"],
        command=row["command"],
        obey_at=obey_at(row["command"], row["created_at"], now),
        cancel_by=row["cancel_by"],
        retry_at=row["retry_at"],
        accepted_at=datetime.fromisoformat(row["created_at"]),
        messages=row["messages"] or (),
        files=row["files"] or (),
        sender=row["sender"],
        job=row["job"],
        started_at=datetime.fromisoformat(row["started_at"]) if row["started_at"] else None,
    )


def obey_at(command: str | None, created_at: str, now: datetime) -> str | None:
    parsed = recall(command) if command else None
    if parsed is None or not parsed.at_once:
        return None
    due = datetime.fromisoformat(created_at) + timedelta(seconds=GRACE_SECONDS)
    return due.isoformat() if due > now else None


def call_of(row: Mapping[str, Any]) -> CallFacts:
    return CallFacts(
        id=UUID(row["id"]),
        ordinal=row["ordinal"],
        tool_call_id=row["tool_call_id"],
        tool=row["tool"],
        args=row["args"],
        place=row["place"],
        idempotent=row["idempotent"],
        state=CallState(row["state"]),
        result=row["result"],
        seconds=ran_for(row["started_at"], row["finished_at"]),
    )


def ran_for(started_at: str | None, finished_at: str | None) -> float:
    if not started_at or not finished_at:
        return 0.0
    return (datetime.fromisoformat(finished_at) - datetime.fromisoformat(started_at)).total_seconds()
