"""Every state, and every move between states: code, CHECK constraints, tests and docs are made from these tables."""

from __future__ import annotations

from enum import StrEnum


class TurnState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CallState(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    DENIED = "denied"


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"


class JobState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"


class JobRunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class OccurrenceOutcome(StrEnum):
    """What became of one due time of a job. Never changes."""

    RAN = "ran"
    LATE = "late"
    SKIPPED = "skipped"


TURN_MOVES: dict[TurnState, frozenset[TurnState]] = {
    # queued to done: absorbed as a steer by the turn that was running, turned away, or a command that was obeyed.
    TurnState.QUEUED: frozenset({TurnState.RUNNING, TurnState.DONE, TurnState.CANCELLED}),
    TurnState.RUNNING: frozenset({TurnState.WAITING, TurnState.DONE, TurnState.FAILED, TurnState.CANCELLED}),
    TurnState.WAITING: frozenset({TurnState.RUNNING, TurnState.DONE, TurnState.FAILED, TurnState.CANCELLED}),
    TurnState.DONE: frozenset(),
    TurnState.FAILED: frozenset(),
    TurnState.CANCELLED: frozenset(),
}

CALL_MOVES: dict[CallState, frozenset[CallState]] = {
    CallState.AWAITING_APPROVAL: frozenset({CallState.QUEUED, CallState.DENIED, CallState.CANCELLED}),
    CallState.QUEUED: frozenset({CallState.RUNNING, CallState.CANCELLED}),
    # running to queued: an idempotent call whose process died.
    CallState.RUNNING: frozenset(
        {CallState.DONE, CallState.FAILED, CallState.INTERRUPTED, CallState.CANCELLED, CallState.QUEUED}
    ),
    CallState.DONE: frozenset(),
    CallState.FAILED: frozenset(),
    CallState.INTERRUPTED: frozenset(),
    CallState.CANCELLED: frozenset(),
    CallState.BLOCKED: frozenset(),
    CallState.DENIED: frozenset(),
}

APPROVAL_MOVES: dict[ApprovalState, frozenset[ApprovalState]] = {
    ApprovalState.PENDING: frozenset(
        {ApprovalState.APPROVED, ApprovalState.DENIED, ApprovalState.EXPIRED, ApprovalState.CANCELLED}
    ),
    ApprovalState.APPROVED: frozenset(),
    ApprovalState.DENIED: frozenset(),
    ApprovalState.EXPIRED: frozenset(),
    ApprovalState.CANCELLED: frozenset(),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.FAILED}),
    # sending to pending: a retry that is safe.
    DeliveryState.SENDING: frozenset(
        {DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.AMBIGUOUS, DeliveryState.PENDING}
    ),
    DeliveryState.SENT: frozenset(),
    # An operator may ask for another try of what ended badly.
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING}),
    DeliveryState.AMBIGUOUS: frozenset({DeliveryState.PENDING}),
}

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.ACTIVE: frozenset({JobState.PAUSED}),
    JobState.PAUSED: frozenset({JobState.ACTIVE}),
}

JOB_RUN_MOVES: dict[JobRunState, frozenset[JobRunState]] = {
    JobRunState.QUEUED: frozenset({JobRunState.RUNNING, JobRunState.SKIPPED}),
    # running to skipped: its thread waits for people, so that the turn was turned away.
    JobRunState.RUNNING: frozenset({JobRunState.DONE, JobRunState.FAILED, JobRunState.SKIPPED}),
    JobRunState.DONE: frozenset(),
    JobRunState.FAILED: frozenset(),
    JobRunState.SKIPPED: frozenset(),
}

OPEN_TURNS = (TurnState.QUEUED, TurnState.RUNNING, TurnState.WAITING)
ACTIVE_TURNS = (TurnState.RUNNING, TurnState.WAITING)
OPEN_RUNS = (JobRunState.QUEUED, JobRunState.RUNNING)
OPEN_CALLS = (CallState.QUEUED, CallState.RUNNING)


def sql_list(states: tuple[StrEnum, ...] | type[StrEnum]) -> str:
    """The states as the inside of an SQL `IN (…)`: `'queued', 'running'`."""
    return ", ".join(f"'{state.value}'" for state in states)
