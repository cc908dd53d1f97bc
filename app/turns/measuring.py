"""What is counted of turns, once it is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app import meters
from app.leases import Lease
from app.states import CallState
from app.turns import spans
from app.turns.commit import Committed, Outcome, commit
from app.turns.facts import CallFacts, Facts, TurnFacts
from app.turns.services import TurnServices

ENDED_AT_ONCE = (CallState.BLOCKED.value, CallState.DENIED.value, CallState.FAILED.value)
UNKNOWN = "unknown"
"""In place of a name that a model made up: each would be a figure of its own."""


def began(facts: Facts) -> None:
    """The lane was taken; the current turn may be one for which nothing was done yet."""
    turn = facts.current
    if turn is not None and turn.begins:
        meters.observe("turn_start_seconds", turn.age(facts.now), adapter=facts.adapter)


def commit_and_count(
    s: TurnServices, facts: Facts, turn: TurnFacts, outcome: Outcome, lease: Lease
) -> Committed | None:
    """See `app.turns.commit.commit`."""
    found = commit(s.db, facts, turn, outcome, lease)
    if found is not None:
        committed(facts, turn, outcome)
    return found


def committed(facts: Facts, turn: TurnFacts, outcome: Outcome) -> None:
    if outcome.final:
        meters.count("turns_total", adapter=facts.adapter, state=outcome.state.value)
        meters.observe("turn_seconds", facts.since(turn.accepted_at), adapter=facts.adapter)
        spans.ended(facts, turn, outcome)
    for step in outcome.steps:
        answered(step)
    for call in outcome.calls:
        if call["state"] in ENDED_AT_ONCE:
            known = call["state"] != CallState.FAILED.value
            meters.count("calls_total", tool=call["tool"] if known else UNKNOWN, state=call["state"])


def answered(step: Mapping[str, object]) -> None:
    """A model request, as its row has it."""
    model = str(step["model"])
    meters.count("steps_total", model=model, outcome="answered")
    meters.observe("step_seconds", number(step["took_ms"]) / 1000, model=model)


def number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def results(calls: Sequence[CallFacts], ended: Sequence[Mapping[str, str]]) -> None:
    """Calls of trusted tools, with how each ended."""
    names = {str(call.id): call.tool for call in calls}
    for result in ended:
        meters.count("calls_total", tool=names[result["id"]], state=result["state"])


def request_failed(model: str, *, again: bool) -> None:
    meters.count("steps_total", model=model, outcome="retried" if again else "failed")


def model_of(s: TurnServices, facts: Facts, turn: TurnFacts) -> str:
    """Its name, as far as the configuration has it: a request to it has just failed."""
    named = turn.job["model"] if turn.job else None
    agent = s.settings.agents.get(facts.agent)
    return named or (agent.model if agent else UNKNOWN)
