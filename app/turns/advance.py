"""The pump: works a thread's lane until nothing is left to do, one committed action after the other.

Woken by anything, any number of times; killed anywhere, it is taken up by the next process from the last commit.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from typing import assert_never
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from app.audit import event
from app.errors import Cancelled, ContextOverflow, HeyfleetError, LeaseLost, Transient, Unavailable
from app.leases import Lease
from app.ports import Prompt, Tool
from app.results import Answer
from app.states import CallState
from app.turns import compaction, measuring, outcomes
from app.turns.asking import calls_of, judge_calls, terms_for
from app.turns.commit import Committed, Outcome, begin, commit_results, wakes_sandbox
from app.turns.context import context_blocks, news, said_now
from app.turns.drafting import draft_of
from app.turns.facts import Facts, Held, TurnFacts, give_back, reread, take
from app.turns.fetching import fetch, images_of
from app.turns.next import Action, Ask, Begin, Fetch, Give, Interrupt, Limits, Obey, Rest, RunTools, decide
from app.turns.obeying import obeyed
from app.turns.reach import Bench
from app.turns.services import Persona, TurnServices
from app.turns.spans import asked, working
from app.turns.trusted import run_calls

log = structlog.get_logger()

INTERRUPTED = (
    "The process that ran this call died while it ran: nobody knows whether it took effect. "
    "Check before you do it again."
)


def advance(s: TurnServices, thread: UUID) -> None:
    """Take the thread's lane and go on with its turns; returns when there is nothing to do here and now."""
    held = take(s.db, s.keeper, thread)
    if held is None:
        return
    turn = held.facts.current
    measuring.began(held.facts)
    with bound_contextvars(thread=str(thread), turn=str(turn.id) if turn else None, trace=turn.trace if turn else None):
        try:
            with s.pace.slow(scheduled=turn is not None and turn.job is not None), working(held.facts):
                more, destinations = hold(s, held)
        except LeaseLost as error:
            log.warning("lane_lost", error=error.message)
            return
        finally:
            s.keeper.drop(held.lease)
    if more:
        s.wakes.thread(thread)
    # In this process, rather than through the queue: the replies of turns that waited long must not wait again for a
    # thread that is free of turns.
    for destination in destinations:
        s.deliver(destination)
    if turn is not None and turn.job is not None:
        s.admit()


Ended = tuple[bool, list[UUID]]
"""Whether the lane that was given back has more work, and the destinations that got deliveries."""


def hold(s: TurnServices, held: Held) -> Ended:
    """Work while the lane is held."""
    facts, mine = held.facts, set[UUID]()
    task = s.settings.task
    limits = Limits(task.max_steps, task.turn_timeout * 1000, task.busy == "steer")
    while True:
        action = decide(facts, limits, mine=mine, served=facts.adapter in s.adapters)
        # Trusted calls are marked running with their step's commit: given back before they ran, they would look as if
        # this process had died in the midst of them. Once it ends it has, and the next holder decides about them.
        if held.lease.stopped or (s.draining.is_set() and not isinstance(action, RunTools)):
            return give_back(s.db, facts, wake_at="now"), []
        done = act(s, facts, action, held.lease, mine)
        if done is not None:
            return done
        facts = reread(s.db, facts, held.lease)


def act(s: TurnServices, facts: Facts, action: Action, lease: Lease, mine: set[UUID]) -> Ended | None:
    """Do one thing and commit it; None where the lane is still held and there is more to do."""
    match action:
        case Rest(wake_at):
            return give_back(s.db, facts, wake_at), []
        case Interrupt(turn, calls):
            again = {call.id for call in calls if call.idempotent}
            mine |= again
            gone = [call.id for call in calls if call.id not in again]
            if gone:
                interrupt(s, facts, turn, gone, lease)
        case Fetch():
            fetch(s, facts, action, lease)
        case Begin(turn, calls):
            mine |= set(begin(s.db, facts, turn, [call.id for call in calls], lease))
        case RunTools(turn, calls):
            with s.pace.away():
                results = run_calls(bench_of(s, facts, turn, lease), turn, calls, tools_of(s, facts.agent))
            commit_results(s.db, facts, turn, results, [], lease)
            measuring.results(calls, results)
        case Give(turn):
            settings = s.settings
            outcome = outcomes.given_up(
                facts,
                action,
                adapter=s.adapter(facts.adapter),
                messages=settings.messages,
                timeout=settings.task.turn_timeout,
            )
            return ended(measuring.commit_and_count(s, facts, turn, outcome, lease))
        case Obey():
            return carry_out(s, facts, action, lease)
        case Ask():
            return ask(s, facts, action, lease, mine)
        case _:
            assert_never(action)
    return None


def tools_of(s: TurnServices, agent: str) -> Mapping[str, Tool]:
    """The agent's tools; none where it is not configured any more: then its calls fail, and their turn goes on."""
    try:
        return s.persona(agent, None).tools
    except HeyfleetError as error:
        log.warning("agent_without_tools", agent=agent, error=error.message)
        return {}


def carry_out(s: TurnServices, facts: Facts, action: Obey, lease: Lease) -> Ended | None:
    turn = action.turn
    try:
        outcome = obeyed(s, facts, action, tools_of(s, facts.agent), lease, scope_key(s.settings.scope, facts, turn))
    except (LeaseLost, Unavailable):
        raise
    except Exception:
        # A defect of ours must not wedge the thread. Not `failed`: the command may stand behind a turn that goes on.
        log.exception("command_failed", verb=action.command.partition(" ")[0])
        text = s.settings.messages.failed.format(reason="an internal error")
        outcome = outcomes.answered_at_once(facts, turn, text, s.adapter(facts.adapter))
    committed = measuring.commit_and_count(s, facts, turn, outcome, lease)
    if committed is None or outcome.hold:
        return None
    wake_runner(s, outcome, committed)
    return ended(committed)


def ended(committed: Committed | None) -> Ended | None:
    """None where nothing was committed, since something was cancelled meanwhile: the lane is still held."""
    return (committed.more, list(committed.destinations)) if committed else None


def interrupt(s: TurnServices, facts: Facts, turn: TurnFacts, calls: list[UUID], lease: Lease) -> None:
    results = [{"id": str(call), "state": CallState.INTERRUPTED.value, "result": INTERRUPTED} for call in calls]
    noted = [event("call_interrupted", trace=turn.trace, turn=turn.id, call=str(call)) for call in calls]
    commit_results(s.db, facts, turn, results, noted, lease)
    measuring.results([call for call in facts.calls if call.id in calls], results)


def ask(s: TurnServices, facts: Facts, action: Ask, lease: Lease, mine: set[UUID]) -> Ended | None:
    """One model request and its commit; None where the lane is still held and there is more to do."""
    try:
        facts, outcome = step(s, facts, action, lease)
    except Cancelled:
        if lease.lost:
            raise LeaseLost(f"the lease of thread {facts.thread} ran out") from None
        if lease.cancelled:
            return None
        return give_back(s.db, facts, wake_at="now"), []
    try:
        committed = measuring.commit_and_count(s, facts, action.turn, outcome, lease)
    except DBAPIError:
        # Postgres refuses this very outcome, and would each time: asking the model again and again would be paid for
        # without end, and the thread would stand still.
        log.exception("outcome_refused")
        adapter, messages = s.adapter(facts.adapter), s.settings.messages
        outcome = outcomes.failed(facts, action.turn, "an internal error", "", adapter=adapter, messages=messages)
        committed = measuring.commit_and_count(s, facts, action.turn, outcome, lease)
    if committed is None:
        # The turn is not wanted any more, or a message that the model has seen: what it made of that is not either.
        log.info("step_dropped")
        return None
    mine |= {UUID(call["id"]) for call in outcome.calls if call["state"] == CallState.RUNNING}
    wake_runner(s, outcome, committed)
    return None if outcome.hold else ended(committed)


def step(s: TurnServices, facts: Facts, action: Ask, lease: Lease) -> tuple[Facts, Outcome]:
    """Ask the model, and say what is to be committed of it, over which facts (compaction makes new ones).

    Raises Cancelled, LeaseLost and Unavailable.
    """
    started = time.monotonic()
    adapter, messages = s.adapter(facts.adapter), s.settings.messages
    try:
        persona = s.persona(facts.agent, action.turn.job["model"] if action.turn.job else None)
        facts, answer = answer_of(s, facts, action, persona, lease)
    except (Cancelled, LeaseLost, Unavailable):
        raise
    except Transient as error:
        return facts, later_or_never(s, facts, action, error, time.monotonic() - started)
    except HeyfleetError as error:
        turn = action.turn
        measuring.request_failed(measuring.model_of(s, facts, action.turn), again=False)
        return facts, outcomes.failed(facts, turn, error.message, error.detail, adapter=adapter, messages=messages)
    except Exception as error:
        # A defect of ours must not wedge the thread: it is tried again like any failure, and then the turn fails.
        log.exception("step_failed")
        surprise = Transient("an internal error", detail=repr(error))
        return facts, later_or_never(s, facts, action, surprise, time.monotonic() - started)
    took = time.monotonic() - started
    if not answer.calls:
        return facts, outcomes.answered(facts, action, answer, took, adapter=adapter, messages=messages)
    settings, judged = s.settings, judge_calls(answer.calls, persona.tools)
    terms = terms_for(s, facts, action.turn, judged, lease, [steer.actor for steer in action.steers])
    return facts, outcomes.called(
        facts,
        action,
        answer,
        took,
        calls=calls_of(facts, action.turn, judged, terms),
        runtime=settings.runtime.name,
        scope_key=scope_key(settings.scope, facts, action.turn),
    )


def answer_of(s: TurnServices, facts: Facts, action: Ask, persona: Persona, lease: Lease) -> tuple[Facts, Answer]:
    """One request, compacting the transcript before it where it has grown long, or once more where it did not fit."""
    if compaction.due(facts, persona, s.settings.task.compact_at):
        facts = compaction.compact(s, facts, action.turn, persona, lease)
    try:
        return facts, request(s, facts, action, persona, lease)
    except ContextOverflow:
        if not facts.entries or facts.entries[-1].kind == "summary":
            raise
    facts = compaction.compact(s, facts, action.turn, persona, lease)
    return facts, request(s, facts, action, persona, lease)


def request(s: TurnServices, facts: Facts, action: Ask, persona: Persona, lease: Lease) -> Answer:
    turn = action.turn
    summarised = bool(facts.entries) and facts.entries[-1].kind == "summary"
    images = images_of(s, said_now(action)) if persona.model.sees else {}
    prompt = Prompt(
        system=persona.system(context_blocks(facts, turn)),
        transcript=[entry.body for entry in facts.entries],
        new=news(action, summarised=summarised, images=images),
        tools=[tool.spec for tool in persona.tools.values()],
    )
    return asked(s, facts, turn, persona.model, prompt, lease, draft_of(s, facts, turn, lease))


def later_or_never(s: TurnServices, facts: Facts, action: Ask, error: Transient, took: float) -> Outcome:
    again = action.turn.failed_attempts + 1 < s.settings.task.model_attempts
    measuring.request_failed(measuring.model_of(s, facts, action.turn), again=again)
    if again:
        return outcomes.retried(action, error, took, jitter=random.random())
    adapter, messages = s.adapter(facts.adapter), s.settings.messages
    return outcomes.failed(facts, action.turn, error.message, error.detail, adapter=adapter, messages=messages)


def wake_runner(s: TurnServices, outcome: Outcome, committed: Committed) -> None:
    if committed.sandbox is not None and wakes_sandbox(outcome):
        s.wakes.sandbox(committed.sandbox, outcome.runtime, committed.runner)


def bench_of(s: TurnServices, facts: Facts, turn: TurnFacts, lease: Lease) -> Bench:
    settings = s.settings
    key = scope_key(settings.scope, facts, turn)
    return Bench(s, lease, facts.thread, facts.agent, settings.runtime.name, key)


def scope_key(scope: str, facts: Facts, turn: TurnFacts) -> str:
    """Which sandbox the turn works in, as a key that is safe in file names: who shares it is the scope's choice."""
    match scope:
        case "user":
            parts = [facts.adapter, facts.team, turn.actor]
        case "adapter":
            parts = [facts.adapter]
        case "agent":
            parts = []
        case _:
            parts = [facts.adapter, facts.team, facts.channel]
    return hashlib.sha256("\0".join([scope, *parts]).encode()).hexdigest()[:32]
