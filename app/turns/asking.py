"""From what the model asked for to rows: what is run, what people are asked about, what is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import structlog

from app.approvals import card_kind, new_code
from app.audit import event
from app.bypasses import COVERING
from app.clock import uuid7
from app.config.adapters import Permissions
from app.config.messages import Messages
from app.leases import Lease, insist
from app.policy.people import nobody_can
from app.ports import Adapter, Tool
from app.questions import shown_arguments, visible
from app.results import CallRequest, Verdict
from app.states import CallState
from app.turns.commit import Reply
from app.turns.facts import Facts, TurnFacts
from app.turns.services import TurnServices

log = structlog.get_logger()

NOBODY = "A person would have to approve this call, and nobody is configured who may: it was not run."


@dataclass(frozen=True, slots=True)
class Judged:
    """One call that was asked for, and what is to be done about it."""

    request: CallRequest
    tool: Tool | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Terms:
    """How people are asked."""

    expires_in: float
    permissions: Permissions
    messages: Messages
    adapter: Adapter
    bypass: str | None
    """The code of the bypass by which this turn's actor is not asked."""


@dataclass(slots=True)
class Calls:
    """What a commit writes of them."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    questions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    cards: list[Reply] = field(default_factory=list[Reply])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def in_state(self, *states: CallState) -> int:
        return sum(row["state"] in states for row in self.rows)


def judge_calls(requests: Sequence[CallRequest], tools: Mapping[str, Tool]) -> list[Judged]:
    return [Judged(request, tools.get(request.tool), verdict_on(request, tools)) for request in requests]


def verdict_on(request: CallRequest, tools: Mapping[str, Tool]) -> Verdict:
    tool = tools.get(request.tool)
    if tool is None or request.problem:
        return Verdict("allow")  # nothing is run
    try:
        return tool.judge(request.args)
    except Exception as error:
        # A policy that can't be read, or an author's `confirm` that fails: no answer is no permission.
        log.exception("call_not_judged", tool=request.tool)
        return Verdict("block", f"whether it may be run can't be told ({type(error).__name__})")


def terms_for(
    s: TurnServices, facts: Facts, turn: TurnFacts, judged: Sequence[Judged], lease: Lease, also: Collection[str] = ()
) -> Terms:
    """Whether there is a bypass is only looked up where somebody would be asked.

    A bypass is one actor's: it is of no use where the turn has read what others said (`also`, and before).
    """
    settings, found = s.settings, None
    alone = {turn.actor, *also, *(absorbed["actor"] for absorbed in facts.absorbed)} == {turn.actor}
    if alone and any(call.verdict.answer == "ask" for call in judged):
        where = {"adapter": facts.adapter, "team": facts.team, "channel": facts.channel, "thread": facts.thread}
        found = insist(s.db, COVERING, {**where, "actor": turn.actor}, lease)
    return Terms(
        settings.approval.expires_in,
        settings.permissions_of(facts.adapter),
        settings.messages,
        s.adapter(facts.adapter),
        found.code if found else None,
    )


def calls_of(facts: Facts, turn: TurnFacts, judged: Sequence[Judged], terms: Terms) -> Calls:
    """The rows of a step's calls, with the questions and cards that go with them. Pure."""
    found = Calls()
    for ordinal, call in enumerate(judged):
        row = call_row(ordinal, call)
        add(found, facts, turn, row, call, terms)
        found.rows.append(row)
    return found


def call_row(ordinal: int, call: Judged) -> dict[str, Any]:
    """A call as it is stored. One that can't be run has its result at once; a trusted one starts with the commit."""
    request, tool = call.request, call.tool
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


def add(found: Calls, facts: Facts, turn: TurnFacts, row: dict[str, Any], call: Judged, terms: Terms) -> None:
    """Hold a call that may not simply be run."""
    if row["result"] is not None:
        return
    what = {
        "trace": turn.trace,
        "turn": turn.id,
        "call": row["id"],
        "tool": row["tool"],
        "adapter": facts.adapter,
        "requester": turn.actor,
    }
    match call.verdict.answer:
        case "allow":
            return
        case "block":
            row.update(state=CallState.BLOCKED, result=f"Not run, it is blocked: {call.verdict.reason}.")
            found.events.append(event("call_blocked", **what))
        case "ask" if terms.bypass:
            found.events.append(event("approval_bypassed", **what, bypass=terms.bypass))
        case "ask" if nobody_can(terms.permissions):
            row.update(state=CallState.DENIED, result=NOBODY)
            found.events.append(event("approval_denied", **what, by="heyfleet", via="heyfleet", why="no approver"))
        case "ask":
            row.update(state=CallState.AWAITING_APPROVAL)
            question = question_of(row, call.verdict, terms)
            found.questions.append(question)
            found.events.append(event("approval_requested", **what, approval=question["code"]))
            found.cards += card_of(facts, turn, row, question, terms)
        case _:
            assert_never(call.verdict.answer)


def question_of(row: Mapping[str, Any], verdict: Verdict, terms: Terms) -> dict[str, Any]:
    return {
        "id": str(uuid7()),
        "code": new_code(),
        "call": row["id"],
        "reason": verdict.reason,
        "details": verdict.details,
        "expires_in": terms.expires_in,
    }


def card_of(
    facts: Facts, turn: TurnFacts, row: Mapping[str, Any], question: Mapping[str, Any], terms: Terms
) -> list[Reply]:
    """The question as a delivery, where the adapter delivers anything there."""
    address = terms.adapter.address(turn.reply, facts.key)
    if address is None:
        return []
    text = terms.messages.approval_request.format(
        id=question["code"],
        requester=visible(turn.actor),
        tool=row["tool"],
        arguments=shown_arguments(row["tool"], row["args"]),
        reason=visible("\n".join(filter(None, (question["reason"], question["details"])))),
        minutes=-int(-terms.expires_in // 60),
    )
    body = {
        "thread": facts.key,
        "run": str(turn.id),
        "status": "pending_approval",
        "text": text,
        "approval": {
            "id": question["code"],
            "tool": row["tool"],
            "arguments": row["args"],
            "reason": question["reason"],
            "details": question["details"],
            "requester": turn.actor,
            "state": "pending",
        },
    }
    return [Reply(turn.id, address, body, card_kind(question["id"]))]
