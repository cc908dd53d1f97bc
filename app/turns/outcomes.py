"""How a turn goes on or ends, as what is to be committed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.approvals import outcome_kind
from app.audit import event
from app.config.messages import Messages
from app.errors import Transient
from app.ports import Adapter
from app.results import Answer
from app.states import CallState, TurnState
from app.traffic import BESIDE
from app.turns.asking import Calls
from app.turns.commit import Outcome, Reply
from app.turns.facts import Facts, TurnFacts
from app.turns.next import Ask, Give

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
SILENT = "[SILENT]"
"""What a model answers a job that has nothing to say."""
LONGEST_RETRY_AFTER = 3600.0
"""What a model server may ask for at most: a turn must not sleep for years over a slip of its clock."""


def answered(
    facts: Facts, action: Ask, answer: Answer, took: float, *, adapter: Adapter, messages: Messages
) -> Outcome:
    """The step that ends the turn: its text is the reply."""
    turn = action.turn
    text = answer.text.strip() or messages.empty_reply
    silent = turn.job is not None and text == SILENT
    return Outcome(
        state=TurnState.DONE,
        step_count=turn.step_count + 1,
        worked_ms=worked(action, took),
        steps=[step_row(turn, answer, took)],
        entries=entries(facts, answer),
        absorbed=[steer.id for steer in action.steers],
        answer=text,
        replies=replies(facts, turn, action.steers, adapter, TurnState.DONE, text, quiet=silent),
        events=[finished(turn, TurnState.DONE, steps=turn.step_count + 1)],
    )


def called(
    facts: Facts, action: Ask, answer: Answer, took: float, *, calls: Calls, runtime: str, scope_key: str
) -> Outcome:
    """The step that asked for calls: they are committed with it, and the turn waits for their results and approvals."""
    turn = action.turn
    waiting = calls.in_state(CallState.QUEUED, CallState.AWAITING_APPROVAL)
    for_worker = calls.in_state(CallState.RUNNING)
    return Outcome(
        state=TurnState.WAITING if waiting else TurnState.RUNNING,
        step_count=turn.step_count + 1,
        open_calls=waiting + for_worker,
        worked_ms=worked(action, took),
        hold=bool(for_worker) or not waiting,
        steps=[step_row(turn, answer, took)],
        entries=entries(facts, answer),
        calls=calls.rows,
        questions=calls.questions,
        runtime=runtime,
        scope_key=scope_key,
        absorbed=[steer.id for steer in action.steers],
        replies=calls.cards,
        events=calls.events,
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
            return cancelled(facts, turn, adapter, messages)
        case "pending_approval" if turn.job is not None:
            why = "an earlier turn of its thread waits for an approval"
            events = [finished(turn, TurnState.CANCELLED, steps=0, error=why)]
            return Outcome(TurnState.CANCELLED, 0, 0, error=why, skips_run=True, events=events)
        case "pending_approval":
            codes = ", ".join(asked["code"] for asked in facts.asked)
            return answered_at_once(facts, turn, messages.pending_approval_reject.format(ids=codes), adapter)
        case "no_adapter":
            why = f"no adapter is named {facts.adapter}: it was taken out of the configuration"
            return ended(facts, turn, TurnState.FAILED, why, adapter, why)
        case "max_steps":
            text = messages.max_steps.format(steps=turn.step_count)
        case "turn_timeout":
            text = messages.turn_timeout.format(minutes=round(timeout / 60))
    return ended(facts, turn, TurnState.FAILED, text, adapter, action.up)


def cancelled(facts: Facts, turn: TurnFacts, adapter: Adapter, messages: Messages) -> Outcome:
    """The turn ends, and what it asked people about needs no answer any more."""
    outcome = ended(facts, turn, TurnState.CANCELLED, messages.cancelled.format(who=turn.cancel_by), adapter, None)
    if not facts.asked:
        return outcome
    address = adapter.address(turn.reply, facts.key)
    news: list[Reply] = []
    for asked in facts.asked if address else ():
        approval = {"id": asked["code"], "tool": asked["tool"], "state": "cancelled", "decidedBy": turn.cancel_by}
        text = messages.approval_cancelled.format(id=asked["code"], tool=asked["tool"], who=turn.cancel_by)
        body = {"thread": facts.key, "run": str(turn.id), "status": "cancelled", "text": text, "approval": approval}
        news.append(Reply(turn.id, str(address), body, outcome_kind(asked["id"])))
    # The closing message comes last.
    return replace(outcome, ends_approvals=True, replies=[*news, *outcome.replies])


def answered_at_once(facts: Facts, turn: TurnFacts, text: str, adapter: Adapter, **more: Any) -> Outcome:
    """A turn that needs no model: turned away, or a control command."""
    return Outcome(
        state=TurnState.DONE,
        step_count=turn.step_count,
        worked_ms=turn.worked_ms,
        answer=text,
        replies=[
            *replies_to([(turn.id, turn.reply)], facts, adapter, TurnState.DONE, text),
            *(progress_ends([(turn.id, turn.reply)], facts, adapter) if turn.command is None else ()),
        ],
        events=[finished(turn, TurnState.DONE, steps=turn.step_count)],
        **more,
    )


def ended(facts: Facts, turn: TurnFacts, state: TurnState, text: str, adapter: Adapter, error: str | None) -> Outcome:
    return Outcome(
        state=state,
        step_count=turn.step_count,
        worked_ms=turn.worked_ms,
        answer=text,
        error=error,
        replies=replies(facts, turn, (), adapter, state, text, quiet=state == TurnState.FAILED and unasked(turn)),
        events=[finished(turn, state, steps=turn.step_count, error=error, cancelled_by=turn.cancel_by)],
    )


def unasked(turn: TurnFacts) -> bool:
    """Nobody waits for it: a heartbeat's failure stands in its history, and not in every chat that it goes through."""
    return turn.job is not None and turn.job["kind"] == "heartbeat"


def replies(
    facts: Facts,
    turn: TurnFacts,
    steers: Sequence[TurnFacts],
    adapter: Adapter,
    state: TurnState,
    text: str,
    *,
    quiet: bool = False,
) -> list[Reply]:
    """One delivery for the turn (unless `quiet`) and for each message that it took in on the way, where they have an
    address and the adapter answers each."""
    taken_in = [(UUID(absorbed["id"]), absorbed["reply"]) for absorbed in facts.absorbed]
    taken_in += [(steer.id, steer.reply) for steer in steers]
    asked = [] if quiet else [(turn.id, turn.reply)]
    said = replies_to([*asked, *(taken_in if adapter.answers_each else [])], facts, adapter, state, text)
    return [*said, *progress_ends([(turn.id, turn.reply), *taken_in], facts, adapter)]


def progress_ends(asked: Sequence[tuple[UUID, Mapping[str, Any]]], facts: Facts, adapter: Adapter) -> Iterator[Reply]:
    """What shows of each message that the agent is at work on it is taken away."""
    for asker, reply in asked:
        body, address = adapter.progress(reply), adapter.address(reply, facts.key)
        if body is not None and address is not None:
            yield Reply(asker, address + BESIDE, body, "progress_end")


def replies_to(
    asked: Sequence[tuple[UUID, Mapping[str, Any]]], facts: Facts, adapter: Adapter, state: TurnState, text: str
) -> list[Reply]:
    found: list[Reply] = []
    for asker, reply in asked:
        address = adapter.address(reply, facts.key)
        if address is not None:
            body = {"thread": facts.key, "run": str(asker), "status": state.value, "text": text, **answering(reply)}
            found.append(Reply(asker, address, body))
    return found


def answering(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message that a delivery answers, where its adapter shows that."""
    return {"answers": reply["answers"]} if "answers" in reply else {}


def entries(facts: Facts, answer: Answer) -> list[dict[str, Any]]:
    after = facts.next_entry
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


def worked(action: Ask, took: float) -> int:
    """Milliseconds of work so far: model requests and calls, not the waits between them."""
    # Before its first step a turn has no calls: those were an earlier turn's work.
    in_calls = sum(call.seconds for call in action.results) if action.turn.step_count else 0.0
    return action.turn.worked_ms + round((took + in_calls) * 1000)


def finished(turn: TurnFacts, state: TurnState, **data: Any) -> dict[str, Any]:
    return event("turn_finished", trace=turn.trace, turn=turn.id, state=state.value, **data)
