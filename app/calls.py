"""Calls that run in sandboxes. A sandbox is a lane: its holder claims calls, runs them, and commits how they ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app import meters
from app.audit import encoded, event
from app.db import Database
from app.errors import LeaseLost
from app.jsonb import dumps, storable
from app.leases import Lease, insist
from app.sandbox_lane import (
    BEGIN_MORE,
    FIND_STARVED,
    FINISH,
    GIVE_BACK,
    INBOX_FILES,
    SEED_SLOTS,
    SETTLE,
    TAKE_AND_BEGIN,
)
from app.states import CallState

INTERRUPTED = (
    "The runner died while this command ran: nobody knows whether it took effect. Check before you run it again."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where calls are run: which runner, and within which limits."""

    runner: str
    workspace: str | None
    """The workspace folder's id, for runtimes that keep their files in one."""
    max_concurrent: int
    side_by_side: int
    ttl: float


@dataclass(frozen=True, slots=True)
class Begun:
    """One claimed call."""

    id: UUID
    turn: UUID
    thread: UUID
    tool: str
    args: Mapping[str, Any]
    trace: str
    cancelled: bool
    files: bool
    """Whether files came with the thread's messages."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sandbox's lane, and the calls to run now."""

    token: int
    seen: int
    runtime: str
    scope_key: str
    generation: int
    snapshot: bytes | None
    """The stored state, unless the holder has this generation open already."""
    calls: Sequence[Begun]
    orphans: bool
    """Calls that a dead runner left running; to be settled first."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one call ended."""

    call: Begun
    state: CallState
    result: str
    files: Sequence[Mapping[str, str]] = ()
    """To be sent with the reply, each `{id, name, media_type, data}` with `data` in base64."""


@dataclass(frozen=True, slots=True)
class Starved:
    """A sandbox that has calls and no holder."""

    id: UUID
    runtime: str
    workspace: str | None
    runner: str | None
    """The live runner that its files tie it to."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What the database said of a finish."""

    released: bool
    generation: int
    threads: Sequence[UUID]
    """Threads whose turns have all their results now."""
    starved: Starved | None
    """Another sandbox that may have waited for the slot."""


def take(db: Database, sandbox: UUID, place: Place, *, owner: str, warm_generation: int) -> Claim | None:
    """Take a sandbox's lane and begin its next calls; None where there is nothing to do or somebody else does it."""
    params = {**begin_params(sandbox, place, warm_generation), "owner": owner, "workspace": place.workspace}
    row = db.one(TAKE_AND_BEGIN, params)
    return claim_of(row) if row else None


def begin_more(db: Database, sandbox: UUID, token: int, place: Place, *, warm_generation: int) -> Claim:
    """Begin the next calls of a lane that is held. Raises LeaseLost."""
    row = db.one(BEGIN_MORE, begin_params(sandbox, place, warm_generation), token=token)
    if row is None:
        raise LeaseLost(f"sandbox {sandbox} was taken over by another process")
    return claim_of(row)


def finish(
    db: Database, sandbox: UUID, claim: Claim, ended: Sequence[Ended], lease: Lease, *, snapshot: bytes | None
) -> Finished:
    """Commit how calls ended and, where `snapshot` is given, what became of the sandbox.

    Raises LeaseLost: then nothing was written.
    """
    results = [{"id": str(end.call.id), "state": end.state.value, "result": storable(end.result)} for end in ended]
    files = [{"turn_id": str(end.call.turn), **file} for end in ended for file in end.files]
    events = [
        event(
            f"call_{end.state.value}",
            trace=end.call.trace,
            turn=end.call.turn,
            call=str(end.call.id),
            tool=end.call.tool,
        )
        for end in ended
    ]
    params = {
        "sandbox": sandbox,
        "token": claim.token,
        "seen": claim.seen,
        "changed": snapshot is not None,
        "snapshot": snapshot,
        "results": dumps(results),
        "files": dumps(files),
        "events": encoded(events),
        "tried": [sandbox],
    }
    row = insist(db, FINISH, params, lease)
    if row is None:
        raise LeaseLost(f"sandbox {sandbox} was taken over by another process")
    for call in ended:
        meters.count("calls_total", tool=call.call.tool, state=call.state.value)
    return Finished(row.released, row.generation, uuids(row.threads), starved_of(row))


def starved(db: Database, place: Place, tried: Collection[UUID]) -> Starved | None:
    """The sandbox that was woken first, but for those `tried`; None where no slot is free for it."""
    row = db.one(FIND_STARVED, max_concurrent=place.max_concurrent, tried=list(tried))
    return starved_of(row) if row else None


def settle(db: Database, sandbox: UUID, claim: Claim) -> list[UUID]:
    """Decide the calls that a dead runner left running: idempotent ones run again, the others are interrupted.

    Returns the threads whose turns have all their results now. Raises LeaseLost.
    """
    row = db.one(SETTLE, sandbox=sandbox, token=claim.token, text=INTERRUPTED, events=encoded([]))
    if row is None:
        raise LeaseLost(f"sandbox {sandbox} was taken over by another process")
    return uuids(row.threads)


def give_back(db: Database, sandbox: UUID, claim: Claim) -> None:
    """Let go of a lane with nothing begun."""
    db.rows(GIVE_BACK, sandbox=sandbox, token=claim.token, seen=claim.seen)


def inbox_files(db: Database, turn: UUID, known: Iterable[UUID]) -> Sequence[Row[Any]]:
    """The files that came with the thread's messages so far, but for the `known` ones: `id`, `name`, `body`."""
    return db.rows(INBOX_FILES, turn=turn, known=list(known))


def seed_slots(db: Database, count: int) -> None:
    """Make sure that the fleet has at least `count` slots."""
    db.rows(SEED_SLOTS, count=count)


def begin_params(sandbox: UUID, place: Place, warm_generation: int) -> dict[str, Any]:
    return {
        "sandbox": sandbox,
        "runner": place.runner,
        "max_concurrent": place.max_concurrent,
        "side_by_side": place.side_by_side,
        "ttl": place.ttl,
        "warm_generation": warm_generation,
    }


def claim_of(row: Row[Any]) -> Claim:
    calls = [
        Begun(
            UUID(call["id"]),
            UUID(call["turn"]),
            UUID(call["thread"]),
            call["tool"],
            call["args"],
            call["trace"],
            call["cancelled"],
            call["files"],
        )
        for call in row.calls or ()
    ]
    return Claim(
        row.lease_token, row.seen, row.runtime, row.scope_key, row.generation, row.snapshot, calls, row.orphans
    )


def starved_of(row: Row[Any]) -> Starved | None:
    found = row.starved
    return Starved(UUID(found["id"]), found["runtime"], found["workspace"], found["runner"]) if found else None


def uuids(values: Sequence[str] | None) -> list[UUID]:
    return [UUID(value) for value in values or ()]
