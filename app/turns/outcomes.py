"""How a turn goes on or ends, as what is to be committed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.audit import event
from app.clock import uuid7
from app.config.messages import Messages
from app.errors import Transient
from app.ports import Adapter, Tool
from app.results import Answer, CallRequest
from app.states import CallState, TurnState
from app.turns.commit import Outcome, Reply
from app.turns.facts import Facts, TurnFacts
from app.turns.next import Ask, Give

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 3600.0
"""What a model server may ask for at most: a turn must not sleep for years over a slip of its clock."""


def answered(
    facts: Facts, action: Ask, answer: Answer, took: float, *, adapter: Adapter, messages: Messages
) -> Outcome:
    """The step that ends the turn: its text is the reply."""
    turn = action.turn
    text = answer.text.strip() or messages.empty_reply
    return Outcome(
        state=TurnState.DONE,
        step_count=turn.step_count + 1,
        worked_ms=worked(action, took),
        steps=[step_row(turn, answer, took)],
        entries=entries(facts, answer),
        absorbed=[steer.id for steer in action.steers],
        answer=text,
        replies=replies(facts, turn, action.steers, adapter, TurnState.DONE, text),
        events=[finished(turn, TurnState.DONE, steps=turn.step_count + 1)],
    )


def called(
    facts: Facts, action: Ask, answer: Answer, took: float, *, tools: Mapping[str, Tool], runtime: str, scope_key: str
) -> Outcome:
    """The step that asked for calls: they are committed with it, and the turn waits for their results."""
    turn = action.turn
    calls = [call_row(ordinal, request, tools.get(request.tool)) for ordinal, request in enumerate(answer.calls)]
    for_runner = [call for call in calls if call["state"] == CallState.QUEUED]
    for_worker = [call for call in calls if call["state"] == CallState.RUNNING]
    return Outcome(
        state=TurnState.WAITING if for_runner else TurnState.RUNNING,
        step_count=turn.step_count + 1,
        open_calls=len(for_runner) + len(for_worker),
        worked_ms=worked(action, took),
        hold=bool(for_worker) or not for_runner,
        steps=[step_row(turn, answer, took)],
        entries=entries(facts, answer),
        calls=calls,
        runtime=runtime,
        scope_key=scope_key,
        absorbed=[steer.id for steer in action.steers],
    )


def retried(action: Ask, error: Transient, took: float, *, jitter: float) -> Outcome:
    """The model failed and may not fail later: give the lane back until then. `jitter` is between 0 and 1."""
    turn = action.turn
    attempt = turn.failed_attempts + 1
    backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1)) * (0.5 + jitter / 2)
    wait = max(backoff, min(error.retry_after or 0.0, LONGEST_RETRY_AFTER))
    return Outcome(
        state=TurnState.WAITING,
        step_count=turn.step_count,
        failed_attempts=attempt,
        worked_ms=turn.worked_ms + round(took * 1000),
        wake_in=wait,
        events=[
            event(
                "model_retry",
                trace=turn.trace,
                turn=turn.id,
                attempt=attempt,
                wait_seconds=round(wait, 3),
                error=error.message,
                detail=error.detail,
            )
        ],
    )


def failed(facts: Facts, turn: TurnFacts, reason: str, detail: str, *, adapter: Adapter, messages: Messages) -> Outcome:
    """The turn can't go on: its sender is told why in a line, the operator gets the details."""
    return ended(facts, turn, TurnState.FAILED, messages.failed.format(reason=reason), adapter, f"{reason} {detail}")


def given_up(facts: Facts, action: Give, *, adapter: Adapter, messages: Messages, timeout: float) -> Outcome:
    """The turn was cancelled or has used up what it may."""
    turn = action.turn
    match action.up:
        case "cancelled":
            return ended(facts, turn, TurnState.CANCELLED, messages.cancelled.format(who=turn.cancel_by), adapter, None)
        case "max_steps":
            text = messages.max_steps.format(steps=turn.step_count)
        case "turn_timeout":
            text = messages.turn_timeout.format(minutes=round(timeout / 60))
    return ended(facts, turn, TurnState.FAILED, text, adapter, action.up)


def ended(facts: Facts, turn: TurnFacts, state: TurnState, text: str, adapter: Adapter, error: str | None) -> Outcome:
    return Outcome(
        state=state,
        step_count=turn.step_count,
        worked_ms=turn.worked_ms,
        answer=text,
        error=error,
        replies=replies(facts, turn, (), adapter, state, text),
        events=[finished(turn, state, steps=turn.step_count, error=error, cancelled_by=turn.cancel_by)],
    )


def replies(
    facts: Facts, turn: TurnFacts, steers: Sequence[TurnFacts], adapter: Adapter, state: TurnState, text: str
) -> list[Reply]:
    """One delivery for the turn and for each message that it took in on the way, where they have an address."""
    asked: list[tuple[UUID, Mapping[str, Any]]] = [(turn.id, turn.reply)]
    asked += [(UUID(absorbed["id"]), absorbed["reply"]) for absorbed in facts.absorbed]
    asked += [(steer.id, steer.reply) for steer in steers]
    found: list[Reply] = []
    for asker, reply in asked:
        address = adapter.address(reply, facts.key)
        if address is not None:
            body = {"thread": facts.key, "run": str(asker), "status": state.value, "text": text}
            found.append(Reply(asker, address, body))
    return found


def entries(facts: Facts, answer: Answer) -> list[dict[str, Any]]:
    after = facts.entries[-1].seq + 1 if facts.entries else 1
    return [
        {"seq": after, "kind": "request", "body": answer.request},
        {"seq": after + 1, "kind": "response", "body": answer.response},
    ]


def step_row(turn: TurnFacts, answer: Answer, took: float) -> dict[str, Any]:
    return {
        "n": turn.step_count + 1,
        "model": answer.model,
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "cost": answer.usage.cost,
        "took_ms": round(took * 1000, 3),
    }


def call_row(ordinal: int, request: CallRequest, tool: Tool | None) -> dict[str, Any]:
    """A call as it is stored. One that can't be run has its result at once; a trusted one starts with the commit."""
    row: dict[str, Any] = {
        "id": str(uuid7()),
        "ordinal": ordinal,
        "tool_call_id": request.tool_call_id,
        "tool": request.tool,
        "args": request.args,
        "place": tool.place if tool else "worker",
        "idempotent": tool.idempotent if tool else True,
        "result": None,
    }
    if tool is None:
        return {**row, "state": CallState.FAILED, "result": f"There is no tool named {request.tool}."}
    if request.problem:
        return {**row, "state": CallState.FAILED, "result": request.problem}
    return {**row, "state": CallState.QUEUED if tool.place == "runner" else CallState.RUNNING}


def worked(action: Ask, took: float) -> int:
    """Milliseconds of work so far: model requests and calls, not the waits between them."""
    # Before its first step a turn has no calls: those were an earlier turn's work.
    in_calls = sum(call.seconds for call in action.results) if action.turn.step_count else 0.0
    return action.turn.worked_ms + round((took + in_calls) * 1000)


def finished(turn: TurnFacts, state: TurnState, **data: Any) -> dict[str, Any]:
    return event("turn_finished", trace=turn.trace, turn=turn.id, state=state.value, **data)
