"""What now? A pure function of the facts: the one place that decides how a turn goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Literal
from uuid import UUID

from app.control.commands import recall
from app.states import CallState, TurnState
from app.turns.facts import CallFacts, Facts, TurnFacts

ELSEWHERE_SECONDS = 600
"""That a turn waits for a process that has its adapter: a fleet may take that long to get a new configuration."""
LOOK_AGAIN_SECONDS = 5


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
class Fetch:
    """These files came with what the model is to be asked about, and are still where people put them."""

    turn: TurnFacts
    files: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Begin:
    """These calls of trusted tools were approved: mark them as running here, and run them."""

    turn: TurnFacts
    calls: Sequence[CallFacts]


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
class Obey:
    """The turn is a control command, which no model sees."""

    turn: TurnFacts
    command: str


@dataclass(frozen=True, slots=True)
class Give:
    """End the turn without a model's reply. `pending_approval`: an earlier one waits for people; `no_adapter`: nobody
    could be told anything."""

    turn: TurnFacts
    up: Literal["cancelled", "max_steps", "turn_timeout", "pending_approval", "no_adapter"]


Action = Rest | Fetch | Ask | Begin | RunTools | Interrupt | Obey | Give


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may use up."""

    max_steps: int
    turn_timeout_ms: float
    steer: bool
    """Whether messages that come while a turn runs are given to it."""


def decide(facts: Facts, limits: Limits, *, mine: Set[UUID] = frozenset(), served: bool = True) -> Action:
    """The next action for the thread's oldest open turn.

    `mine` are the calls that this very process has begun under this lease: any other trusted call that is
    `running` began in a process that is gone. `served`: this process has the thread's adapter.
    """
    action = on_turn(facts, limits, mine)
    if not served:
        action = unserved(facts, action)
    young = [other.obey_at for other in facts.turns if other.obey_at is not None]
    if isinstance(action, Rest) and young:
        return Rest(min([*young, *([action.wake_at] if action.wake_at else [])], key=datetime.fromisoformat))
    return action


def unserved(facts: Facts, action: Action) -> Action:
    """What is done where this process does not know the adapter: while the fleet is given another configuration, some
    of its processes do and others don't. So the turn is left to those that do, for a while."""
    turn = facts.current
    if isinstance(action, Rest) or turn is None:
        return action
    if facts.now - turn.accepted_at < timedelta(seconds=ELSEWHERE_SECONDS):
        return Rest((facts.now + timedelta(seconds=LOOK_AGAIN_SECONDS)).isoformat())
    return Give(turn, "no_adapter") if isinstance(action, Fetch | Ask | Obey) else action


def on_turn(facts: Facts, limits: Limits, mine: Set[UUID]) -> Action:
    turn = facts.current
    if turn is None or turn.obey_at is not None:
        return Rest()
    if turn.cancel_by is not None:
        return Give(turn, "cancelled")
    # What was begun here comes first: whatever gives the lane back would leave it as if this process had died.
    calls = on_calls(facts, turn, mine) if turn.command is None else None
    if calls is not None:
        return calls
    later = [other for other in facts.turns[1:] if other.command is None]
    aside = on_others(facts, later)
    if aside is not None:
        return aside
    if turn.state == TurnState.WAITING and turn.retry_at is not None:
        return Rest(wake_at=turn.retry_at)
    if turn.open_calls:
        return Rest()
    if turn.command is not None:
        return Obey(turn, turn.command)
    # What a job asks for has an outcome, a model and a prompt of its own: it is not mixed with what people ask for.
    steers = [other for other in later if other.job is None] if turn.job is None else []
    return on_model(facts, turn, steers, limits)


def on_others(facts: Facts, later: Sequence[TurnFacts]) -> Action | None:
    """What must not wait for the current turn's end: it may be about that very turn."""
    for other in facts.turns[1:]:
        command = recall(other.command) if other.command else None
        if command is not None and command.at_once and other.obey_at is None:
            return Obey(other, str(other.command))
    return Give(later[0], "pending_approval") if facts.asked and later else None


def on_calls(facts: Facts, turn: TurnFacts, mine: Set[UUID]) -> Action | None:
    """What the last step's calls need here and now."""
    approved = [call for call in facts.calls if call.place == "worker" and call.state == CallState.QUEUED]
    if approved:
        return Begin(turn, approved)
    here = [call for call in facts.calls if call.place == "worker" and call.state == CallState.RUNNING]
    orphans = [call for call in here if call.id not in mine]
    if orphans:
        return Interrupt(turn, orphans)
    return RunTools(turn, here) if here else None


def on_model(facts: Facts, turn: TurnFacts, later: Sequence[TurnFacts], limits: Limits) -> Action:
    """The next step, if the turn may have one."""
    if turn.step_count >= limits.max_steps:
        return Give(turn, "max_steps")
    if turn.worked_ms >= limits.turn_timeout_ms:
        return Give(turn, "turn_timeout")
    steers = later if limits.steer else of_one_album(turn, later)
    files = [file for said in [turn, *steers] for file in said.files if file.get("source")]
    return Fetch(turn, files) if files else Ask(turn, facts.calls, steers)


def of_one_album(turn: TurnFacts, later: Sequence[TurnFacts]) -> Sequence[TurnFacts]:
    """Pictures that were sent with it at once: messages of their own, but one thing that was said."""
    album = turn.reply.get("album")
    return list(takewhile(lambda other: other.reply.get("album") == album, later)) if album else []
