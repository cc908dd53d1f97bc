"""Control commands on the way of a turn: `bash` and `new` in the thread's order, and what a web process left undone."""

from __future__ import annotations

from collections.abc import Mapping

from app.control.commands import Command, recall
from app.control.desk import Desk, Order
from app.control.obey import obey
from app.leases import Lease, insist
from app.policy.people import Person
from app.ports import Tool
from app.results import CallRequest
from app.states import CallState, TurnState
from app.turns.asking import calls_of, judge_calls, terms_for
from app.turns.commit import Outcome
from app.turns.context import NO_RESULT
from app.turns.facts import Facts, TurnFacts
from app.turns.next import Obey
from app.turns.outcomes import answered_at_once
from app.turns.services import TurnServices

RESULT = "SELECT result FROM call WHERE turn_id = :turn AND step_n = 1 AND ordinal = 0"


def obeyed(
    s: TurnServices, facts: Facts, action: Obey, tools: Mapping[str, Tool], lease: Lease, scope_key: str
) -> Outcome:
    """What is to be committed of a command."""
    turn, adapter = action.turn, s.adapter(facts.adapter)
    command = recall(action.command)
    match command:
        case Command("bash", line) if turn.step_count == 0:
            return ordered(s, facts, turn, CallRequest("", "bash", {"command": line}), tools, lease, scope_key)
        case Command("bash"):
            row = insist(s.db, RESULT, {"turn": turn.id}, lease)
            text = row.result if row and row.result is not None else NO_RESULT
            return answered_at_once(facts, turn, text or s.settings.messages.empty_reply, adapter)
        case Command("new"):
            text = s.settings.messages.fresh_start
            return answered_at_once(facts, turn, text, adapter, context_from=facts.next_entry)
        case Command():
            person = Person(turn.actor, turn.sender.get("groups", ()), bool(turn.sender.get("bot")))
            order = Order(person, facts.adapter, facts.adapter, (facts.team, facts.channel))
            desk = Desk(s.db, s.wakes, s.settings, s.adapters)
            return answered_at_once(facts, turn, obey(desk, order, command, facts.thread), adapter)
        case None:
            # Stored by a version that knows more commands than this one.
            text = s.settings.messages.unknown_id.format(id=action.command, command="heyfleet")
            return answered_at_once(facts, turn, text, adapter)


def ordered(
    s: TurnServices,
    facts: Facts,
    turn: TurnFacts,
    request: CallRequest,
    tools: Mapping[str, Tool],
    lease: Lease,
    scope_key: str,
) -> Outcome:
    """One call, under the same policy and approvals as the model's."""
    # An agent may have a tool of its own by this name, which no runner can run.
    if request.tool not in tools or tools[request.tool].place != "runner":
        return answered_at_once(facts, turn, s.settings.messages.no_bash, s.adapter(facts.adapter))
    judged = judge_calls([request], tools)
    calls = calls_of(facts, turn, judged, terms_for(s, facts, turn, judged, lease))
    open_calls = calls.in_state(CallState.QUEUED, CallState.AWAITING_APPROVAL)
    return Outcome(
        state=TurnState.WAITING if open_calls else TurnState.RUNNING,
        step_count=1,
        worked_ms=turn.worked_ms,
        open_calls=open_calls,
        hold=not open_calls,
        calls=calls.rows,
        questions=calls.questions,
        runtime=s.settings.runtime.name,
        scope_key=scope_key,
        replies=calls.cards,
        events=calls.events,
    )
