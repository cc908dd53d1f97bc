"""What now? A pure function of the facts: the one place that decides how a turn goes on."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from app.states import CallState, TurnState
from app.turns.facts import CallFacts, Facts, TurnFacts


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do: give the lane back until `wake_at` (ISO time), or until something comes."""

    wake_at: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Make the next model request, with the messages of `steers` beside the current turn's own news."""

    turn: TurnFacts
    results: Sequence[CallFacts]
    steers: Sequence[TurnFacts]


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these trusted tools here."""

    turn: TurnFacts
    calls: Sequence[CallFacts]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """These calls ran in a process that is gone: nobody knows how they ended. Idempotent ones run again."""

    turn: TurnFacts
    calls: Sequence[CallFacts]


@dataclass(frozen=True, slots=True)
class Give:
    """End the turn without a model's reply."""

    turn: TurnFacts
    up: Literal["cancelled", "max_steps", "turn_timeout"]


Action = Rest | Ask | RunTools | Interrupt | Give


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may use up."""

    max_steps: int
    turn_timeout_ms: float
    steer: bool
    """Whether messages that come while a turn runs are given to it."""


def decide(facts: Facts, limits: Limits, *, mine: Set[UUID] = frozenset()) -> Action:
    """The next action for the thread's oldest open turn.

    `mine` are the calls that this very process has begun under this lease: any other trusted call that is
    `running` began in a process that is gone.
    """
    turn = facts.current
    if turn is None:
        return Rest()
    if turn.cancel_by is not None:
        return Give(turn, "cancelled")
    if turn.state == TurnState.WAITING and turn.retry_at is not None:
        return Rest(wake_at=turn.retry_at)
    here = [call for call in facts.calls if call.place == "worker" and call.state == CallState.RUNNING]
    orphans = [call for call in here if call.id not in mine]
    if orphans:
        return Interrupt(turn, orphans)
    if here:
        return RunTools(turn, here)
    if turn.open_calls:
        return Rest()
    if turn.step_count >= limits.max_steps:
        return Give(turn, "max_steps")
    if turn.worked_ms >= limits.turn_timeout_ms:
        return Give(turn, "turn_timeout")
    steers = facts.turns[1:] if limits.steer else ()
    return Ask(turn, facts.calls, [steer for steer in steers if steer.cancel_by is None])
