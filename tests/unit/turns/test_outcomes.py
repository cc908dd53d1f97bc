"""How a turn goes on or ends, as what is to be committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.adapters import Permissions
from app.config.messages import Messages
from app.errors import Transient
from app.policy.verdict import ALLOW
from app.ports import Drafts, InDoubt, ToolSpec
from app.results import Absent, Answer, CallRequest, Failed, Sent, Usage, Verdict
from app.states import CallState, TurnState
from app.tools.builtin import TOOLS
from app.traffic import Limit
from app.turns import outcomes
from app.turns.asking import Calls, Terms, calls_of, judge_calls
from app.turns.commit import Outcome, Reply, staged
from app.turns.facts import CallFacts
from app.turns.next import Ask, Give
from tests.unit.turns.facts_made import a_call, a_turn, an_entry, some_facts

MESSAGES = Messages()
BUILTIN = {tool.spec.name: tool for tool in TOOLS}


class Addressed:
    """An adapter that answers to the address that a reply names."""

    name = "addressed"
    in_doubt: InDoubt = "resend"
    drafts: Drafts = "none"
    answers_each = True

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:
        return f"{thread_key} {reply['to']}" if "to" in reply else None

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"message": reply["message"]} if "message" in reply else None

    def limits(self, delivery: Any) -> tuple[Limit, ...]:
        return ()

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        return b""

    def settle(self, delivery: Any) -> Absent:
        return Absent()

    def send(self, delivery: Any) -> Sent | Failed:
        return Sent()


class Trusted:
    spec = ToolSpec("pay", "", {"type": "object"})
    idempotent = False
    place = "worker"

    def judge(self, _: Mapping[str, Any]) -> Verdict:
        return ALLOW


def an_answer(*calls: CallRequest, text: str = "the answer") -> Answer:
    return Answer({"q": 1}, {"a": 1}, text, calls, Usage(10, 20, 0.5), "some/model")


def call(name: str, **columns: Any) -> CallRequest:
    return CallRequest(f"id-{name}", name, {"x": 1}, **columns)


# --- the reply


def test_the_answer_is_the_reply() -> None:
    turn = a_turn(step_count=2, worked_ms=100, reply={"to": "there"})
    facts = some_facts(turn, entries=[an_entry(7), an_entry(8)])
    action = Ask(turn, [a_call(seconds=0.25), a_call(seconds=0.5)], [])
    outcome = outcomes.answered(facts, action, an_answer(), 1.5, adapter=Addressed(), messages=MESSAGES)
    assert (outcome.state, outcome.final, outcome.hold) == (TurnState.DONE, True, False)
    assert outcome.step_count == 3
    assert outcome.worked_ms == 100 + 1500 + 750
    assert outcome.answer == "the answer"
    assert [(entry["seq"], entry["kind"], entry["body"]) for entry in outcome.entries] == [
        (9, "request", {"q": 1}),
        (10, "response", {"a": 1}),
    ]
    (step,) = outcome.steps
    assert step == {
        "n": 3,
        "model": "some/model",
        "input_tokens": 10,
        "output_tokens": 20,
        "cost": 0.5,
        "took_ms": 1500.0,
    }
    body = {"thread": "the-thread", "run": str(turn.id), "status": "done", "text": "the answer"}
    assert outcome.replies == [Reply(turn.id, "the-thread there", body)]
    assert [note["kind"] for note in outcome.events] == ["turn_finished"]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_answer_says_so(text: str) -> None:
    turn = a_turn()
    outcome = outcomes.answered(
        some_facts(turn), Ask(turn, [], []), an_answer(text=text), 0, adapter=Addressed(), messages=MESSAGES
    )
    assert outcome.answer == MESSAGES.empty_reply


def test_whoever_was_taken_in_gets_the_reply_too() -> None:
    """The turn itself, those that earlier steps took in, and those of this step, each under its own run's id."""
    turn = a_turn(reply={"to": "a"})
    earlier: dict[str, Any] = {"id": str(uuid4()), "reply": {"to": "b"}}
    silent: dict[str, Any] = {"id": str(uuid4()), "reply": {}}
    late = a_turn(seq=4, reply={"to": "a"})
    facts = some_facts(turn, late, absorbed=[earlier, silent])
    outcome = outcomes.answered(facts, Ask(turn, [], [late]), an_answer(), 0, adapter=Addressed(), messages=MESSAGES)
    assert outcome.absorbed == [late.id]
    assert [(reply.turn, reply.address) for reply in outcome.replies] == [
        (turn.id, "the-thread a"),
        (UUID(earlier["id"]), "the-thread b"),
        (late.id, "the-thread a"),
    ]
    assert [reply.body["run"] for reply in outcome.replies] == [str(turn.id), earlier["id"], str(late.id)]


def test_one_reply_for_all_who_were_taken_in_where_the_adapter_wants_it_so() -> None:
    """In a chat all of them read it."""
    adapter = Addressed()
    adapter.answers_each = False
    turn, late = a_turn(step_count=2, reply={"to": "a"}), a_turn(reply={"to": "a"})
    facts = some_facts(turn, late, absorbed=[{"id": str(uuid4()), "actor": "eve", "reply": {"to": "a"}}])
    outcome = outcomes.answered(facts, Ask(turn, [], [late]), an_answer(), 1, adapter=adapter, messages=MESSAGES)
    assert [reply.turn for reply in outcome.replies] == [turn.id]


@pytest.mark.parametrize("up", ["cancelled", "max_steps", "turn_timeout"])
def test_giving_up_tells_everyone_who_asked(up: Any) -> None:
    turn = a_turn(reply={"to": "a"}, cancel_by="eve", step_count=9, worked_ms=5)
    absorbed = {"id": str(uuid4()), "reply": {"to": "b"}}
    outcome = outcomes.given_up(
        some_facts(turn, absorbed=[absorbed]), Give(turn, up), adapter=Addressed(), messages=MESSAGES, timeout=1800
    )
    said = {
        "cancelled": "Cancelled by eve.",
        "max_steps": "I stopped after 9 steps without reaching an end.",
        "turn_timeout": "I stopped after 30 minutes of work without reaching an end.",
    }[up]
    assert outcome.state == (TurnState.CANCELLED if up == "cancelled" else TurnState.FAILED)
    assert outcome.final
    assert (outcome.answer, outcome.step_count, outcome.worked_ms) == (said, 9, 5)
    assert [(reply.address, reply.body["text"]) for reply in outcome.replies] == [
        ("the-thread a", said),
        ("the-thread b", said),
    ]
    assert {reply.body["status"] for reply in outcome.replies} == {outcome.state.value}


def test_a_failure_tells_the_sender_the_reason_and_the_operator_the_details() -> None:
    turn = a_turn(reply={"to": "a"})
    outcome = outcomes.failed(some_facts(turn), turn, "{no} money", "HTTP 402", adapter=Addressed(), messages=MESSAGES)
    assert (outcome.state, outcome.answer) == (TurnState.FAILED, "Something went wrong: {no} money")
    assert outcome.error == "{no} money HTTP 402"
    assert "402" not in outcome.replies[0].body["text"]


# --- calls


def calls_made(requests: Sequence[CallRequest], tools: Mapping[str, Any]) -> Calls:
    terms = Terms(1800, Permissions(), MESSAGES, Addressed(), None)
    turn = a_turn()
    return calls_of(some_facts(turn), turn, judge_calls(requests, tools), terms)


def test_rows_of_calls() -> None:
    """One for the sandbox, one trusted, one unknown, one whose arguments can't be used."""
    tools: dict[str, Any] = {**BUILTIN, "pay": Trusted()}
    turn = a_turn(step_count=1)
    requests = [call("bash"), call("pay"), call("nope"), call("read", problem="path is missing")]
    outcome = outcomes.called(
        some_facts(turn),
        Ask(turn, [], []),
        an_answer(*requests),
        0.5,
        calls=calls_made(requests, tools),
        runtime="virtual",
        scope_key="k",
    )
    shown = [(c["ordinal"], c["tool"], c["place"], c["idempotent"], c["state"], c["result"]) for c in outcome.calls]
    assert shown == [
        (0, "bash", "runner", False, CallState.QUEUED, None),
        (1, "pay", "worker", False, CallState.RUNNING, None),
        (2, "nope", "worker", True, CallState.FAILED, "There is no tool named nope."),
        (3, "read", "runner", True, CallState.FAILED, "path is missing"),
    ]
    assert [c["tool_call_id"] for c in outcome.calls] == ["id-bash", "id-pay", "id-nope", "id-read"]
    assert len({c["id"] for c in outcome.calls}) == 4
    assert (outcome.open_calls, outcome.state, outcome.hold) == (2, TurnState.WAITING, True)
    assert (outcome.step_count, outcome.failed_attempts, outcome.final) == (2, 0, False)
    assert outcome.answer is None
    assert not outcome.replies


@pytest.mark.parametrize(
    ("requests", "state", "open_calls", "hold"),
    [
        ([call("bash")], TurnState.WAITING, 1, False),
        ([call("bash"), call("nope")], TurnState.WAITING, 1, False),
        ([call("pay")], TurnState.RUNNING, 1, True),
        ([call("nope")], TurnState.RUNNING, 0, True),
        ([call("bash"), call("pay")], TurnState.WAITING, 2, True),
    ],
)
def test_the_lane_is_kept_while_there_is_something_to_do_here(
    requests: list[CallRequest], state: TurnState, open_calls: int, hold: bool
) -> None:
    turn = a_turn()
    tools: dict[str, Any] = {**BUILTIN, "pay": Trusted()}
    outcome = outcomes.called(
        some_facts(turn),
        Ask(turn, [], []),
        an_answer(*requests),
        0,
        calls=calls_made(requests, tools),
        runtime="v",
        scope_key="k",
    )
    assert (outcome.state, outcome.open_calls, outcome.hold) == (state, open_calls, hold)


# --- retries


def transient(after: float | None = None) -> Transient:
    return Transient("busy", detail="HTTP 503", retry_after=after)


def retried(attempts_before: int, jitter: float, after: float | None = None) -> Outcome:
    turn = a_turn(failed_attempts=attempts_before, worked_ms=7, step_count=3)
    return outcomes.retried(Ask(turn, [], []), transient(after), 0.25, jitter=jitter)


@given(st.integers(0, 200), st.floats(0, 1), st.none() | st.floats(0, 10_000))
def test_backoff_doubles_within_bounds_and_keeps_to_retry_after(
    attempts: int, jitter: float, after: float | None
) -> None:
    outcome = retried(attempts, jitter, after)
    longest = min(outcomes.LONGEST_BACKOFF, outcomes.FIRST_BACKOFF * 2.0 ** min(attempts, 60))
    # A provider that says "tomorrow" must not put a turn to sleep until then.
    named = min(after or 0, outcomes.LONGEST_RETRY_AFTER)
    assert outcome.wake_in is not None
    assert outcome.wake_in >= max(longest / 2, named)
    assert outcome.wake_in <= max(longest, named)
    assert (outcome.state, outcome.failed_attempts, outcome.step_count) == (TurnState.WAITING, attempts + 1, 3)
    assert not outcome.final
    assert not outcome.hold
    assert outcome.worked_ms == 7 + 250
    assert not outcome.steps
    assert not outcome.entries
    assert not outcome.absorbed


def test_jitter_spreads_the_retries() -> None:
    assert retried(3, 0.0).wake_in == 4.0
    assert retried(3, 1.0).wake_in == 8.0


def test_a_retry_is_noted_for_the_operator() -> None:
    (note,) = retried(1, 1.0, after=30).events
    assert note["kind"] == "model_retry"
    assert note["data"] == {"attempt": 2, "wait_seconds": 30.0, "error": "busy", "detail": "HTTP 503"}


# --- deliveries


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8))
def test_staged_deliveries_keep_the_order_of_the_replies(addresses: list[str]) -> None:
    """Numbers are given from the destination's last one: here each starts at 100."""
    replies = [Reply(uuid4(), address, {"n": n}) for n, address in enumerate(addresses)]
    destinations, deliveries = staged(replies)
    assert [place["address"] for place in destinations] == list(dict.fromkeys(addresses))
    last = {place["address"]: 100 + place["count"] for place in destinations}
    numbers: dict[str, list[tuple[int, int]]] = {}
    for delivery in deliveries:
        seq = last[delivery["address"]] - delivery["from_last"]
        numbers.setdefault(delivery["address"], []).append((seq, delivery["body"]["n"]))
    for address, found in numbers.items():
        assert [seq for seq, _ in found] == list(range(101, last[address] + 1))
        assert [n for _, n in found] == sorted(n for _, n in found)
    assert [delivery["turn_id"] for delivery in deliveries] == [str(reply.turn) for reply in replies]


def test_worked_time_counts_requests_and_calls_and_no_waiting() -> None:
    calls: list[CallFacts] = [a_call(seconds=1.25), a_call(seconds=0.0)]
    assert outcomes.worked(Ask(a_turn(worked_ms=10, step_count=1), calls, []), 0.5) == 10 + 1750
    assert outcomes.worked(Ask(a_turn(worked_ms=0), calls, []), 0.5) == 500, "calls of an earlier turn are not its work"
