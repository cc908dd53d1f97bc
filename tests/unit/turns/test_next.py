"""What a turn does next: a table of the cases, and what holds of every decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from app.states import OPEN_CALLS, CallState, TurnState
from app.turns.facts import CallFacts, Facts, TurnFacts
from app.turns.next import Action, Ask, Begin, Give, Interrupt, Limits, Obey, Rest, RunTools, decide
from tests.unit.turns.facts_made import AT, a_call, a_turn, some_facts

LIMITS = Limits(max_steps=5, turn_timeout_ms=1000, steer=True)
STILL_OPEN = (*OPEN_CALLS, CallState.AWAITING_APPROVAL)
SOON = "2030-01-01T00:00:00+00:00"
WORKS = {"place": "worker", "state": CallState.RUNNING, "result": None}


def test_no_turn_is_rest_until_something_comes() -> None:
    assert decide(some_facts(), LIMITS) == Rest(None)


def test_a_new_turn_asks_the_model() -> None:
    turn = a_turn()
    assert decide(some_facts(turn), LIMITS) == Ask(turn, [], [])


def test_calls_that_an_earlier_turn_left_are_not_waited_for() -> None:
    turn, call = a_turn(), a_call(state=CallState.RUNNING, result=None)
    assert decide(some_facts(turn, calls=[call]), LIMITS) == Ask(turn, [call], [])


def test_results_are_given_to_the_next_step() -> None:
    turn, calls = a_turn(step_count=1), [a_call(), a_call(ordinal=1, state=CallState.INTERRUPTED)]
    assert decide(some_facts(turn, calls=calls), LIMITS) == Ask(turn, calls, [])


def test_a_retry_rests_until_its_time() -> None:
    assert decide(some_facts(a_turn(state=TurnState.WAITING, retry_at=SOON)), LIMITS) == Rest(SOON)


def test_waiting_with_every_result_there_goes_on() -> None:
    """The last call ended while the holder ran its trusted tools: nobody else will wake this thread."""
    turn, calls = a_turn(state=TurnState.WAITING, step_count=1), [a_call()]
    assert decide(some_facts(turn, calls=calls), LIMITS) == Ask(turn, calls, [])


@pytest.mark.parametrize("state", list(OPEN_CALLS))
def test_open_calls_elsewhere_are_waited_for(state: CallState) -> None:
    turn = a_turn(state=TurnState.WAITING, open_calls=1, step_count=1)
    facts = some_facts(turn, calls=[a_call(state=state, result=None), a_call(ordinal=1)])
    assert decide(facts, LIMITS) == Rest(None)


def test_trusted_calls_of_this_process_are_run_here() -> None:
    call = a_call(**WORKS)
    turn = a_turn(open_calls=1, step_count=1)
    assert decide(some_facts(turn, calls=[call]), LIMITS, mine={call.id}) == RunTools(turn, [call])


def test_trusted_calls_of_a_process_that_is_gone_are_interrupted() -> None:
    mine, theirs = a_call(**WORKS), a_call(ordinal=1, **WORKS)
    turn = a_turn(open_calls=2, step_count=1)
    assert decide(some_facts(turn, calls=[mine, theirs]), LIMITS, mine={mine.id}) == Interrupt(turn, [theirs])


@pytest.mark.parametrize(
    ("columns", "up"),
    [
        ({"step_count": 5}, "max_steps"),
        ({"step_count": 6}, "max_steps"),
        ({"worked_ms": 1000}, "turn_timeout"),
        ({"step_count": 5, "worked_ms": 1000}, "max_steps"),
        ({"step_count": 5, "cancel_by": "eve"}, "cancelled"),
        ({"open_calls": 2, "state": TurnState.WAITING, "cancel_by": "eve"}, "cancelled"),
        ({"state": TurnState.WAITING, "retry_at": SOON, "cancel_by": ""}, "cancelled"),
    ],
)
def test_giving_up(columns: dict[str, Any], up: str) -> None:
    action = decide(some_facts(a_turn(**columns)), LIMITS)
    assert isinstance(action, Give)
    assert action.up == up


@pytest.mark.parametrize("columns", [{"step_count": 4}, {"worked_ms": 999}])
def test_just_below_the_limits_goes_on(columns: dict[str, Any]) -> None:
    assert isinstance(decide(some_facts(a_turn(**columns)), LIMITS), Ask)


@pytest.mark.parametrize("columns", [{"step_count": 5}, {"worked_ms": 5000}])
def test_a_limit_waits_for_calls_that_still_run(columns: dict[str, Any]) -> None:
    turn = a_turn(state=TurnState.WAITING, open_calls=1, **columns)
    assert decide(some_facts(turn, calls=[a_call(state=CallState.RUNNING, result=None)]), LIMITS) == Rest(None)


def test_steers_are_the_messages_that_came_since_in_order() -> None:
    first, last = (a_turn(seq=n, state=TurnState.QUEUED) for n in (2, 4))
    turn, command = a_turn(seq=1), a_turn(seq=3, state=TurnState.QUEUED, command="new")
    assert decide(some_facts(turn, first, command, last), LIMITS) == Ask(turn, [], [first, last])


ASKED = [{"id": "1", "code": "abc", "tool": "bash"}]


def test_whoever_comes_while_people_are_asked_is_turned_away() -> None:
    turn = a_turn(state=TurnState.WAITING, step_count=1, open_calls=1)
    late, command = a_turn(seq=3, state=TurnState.QUEUED), a_turn(seq=2, state=TurnState.QUEUED, command="new")
    waits = [a_call(state=CallState.AWAITING_APPROVAL, result=None)]
    assert decide(some_facts(turn, command, late, calls=waits, asked=ASKED), LIMITS) == Give(late, "pending_approval")
    assert decide(some_facts(turn, command, calls=waits, asked=ASKED), LIMITS) == Rest()
    assert decide(some_facts(turn, late, calls=waits), LIMITS) == Rest(), "nobody is asked any more"


def test_an_approved_trusted_call_is_begun_here() -> None:
    turn = a_turn(state=TurnState.WAITING, step_count=1, open_calls=2)
    approved = a_call(place="worker", state=CallState.QUEUED, result=None)
    others = [a_call(state=CallState.QUEUED, result=None), a_call(place="worker")]
    assert decide(some_facts(turn, calls=[approved, *others]), LIMITS) == Begin(turn, [approved])


def test_a_command_is_obeyed_and_no_model_is_asked() -> None:
    turn = a_turn(command="new")
    assert decide(some_facts(turn, a_turn(seq=2)), LIMITS) == Obey(turn, "new")
    waits = a_turn(command="bash ls", state=TurnState.WAITING, open_calls=1)
    assert decide(some_facts(waits), LIMITS) == Rest()
    assert decide(some_facts(a_turn(command="bash ls", cancel_by="eve")), LIMITS).up == "cancelled"  # type: ignore[union-attr]


def test_without_steering_the_others_wait_their_turn() -> None:
    turn, other = a_turn(seq=1), a_turn(seq=2, state=TurnState.QUEUED)
    assert decide(some_facts(turn, other), Limits(5, 1000, steer=False)) == Ask(turn, [], [])


# --- of every decision


@st.composite
def situations(draw: st.DrawFn) -> tuple[Facts, Limits, set[UUID]]:
    """Facts as the database can give them: `open_calls` counts the open calls, and only a turn without any is
    to be tried again later."""
    drawn: list[dict[str, Any]] = draw(st.lists(calls_of_a_step, max_size=4))
    calls = [a_call(**columns, ordinal=n) for n, columns in enumerate(drawn)]
    still_open = [call for call in calls if call.state in STILL_OPEN]
    asked = ASKED if any(call.state == CallState.AWAITING_APPROVAL for call in calls) else []
    state = draw(st.sampled_from([TurnState.RUNNING, TurnState.WAITING]))
    retry = SOON if state == TurnState.WAITING and not still_open and draw(st.booleans()) else None
    current = a_turn(
        state=state,
        open_calls=len(still_open),
        retry_at=retry,
        step_count=draw(st.integers(0, 6)),
        worked_ms=draw(st.sampled_from([0, 999, 1000, 10**9])),
        cancel_by=draw(st.sampled_from([None, None, "eve"])),
    )
    commands = draw(st.lists(st.sampled_from([None, "new"]), max_size=3))
    others = [a_turn(seq=n, state=TurnState.QUEUED, command=said) for n, said in enumerate(commands, 2)]
    here = [call.id for call in calls if call.place == "worker" and call.state == CallState.RUNNING]
    mine = set(draw(st.lists(st.sampled_from(here), unique=True))) if here else set[UUID]()
    facts = some_facts(current, *others, calls=calls, asked=asked)
    return facts, Limits(5, 1000, steer=draw(st.booleans())), mine | {uuid4()}


calls_of_a_step = st.fixed_dictionaries(
    {"place": st.sampled_from(["runner", "worker"]), "state": st.sampled_from(list(CallState))}
)


def running_here(facts: Facts) -> list[CallFacts]:
    return [call for call in facts.calls if call.place == "worker" and call.state == CallState.RUNNING]


def decided(situation: tuple[Facts, Limits, set[UUID]]) -> tuple[Facts, TurnFacts, Limits, set[UUID], Action]:
    facts, limits, mine = situation
    action = decide(facts, limits, mine=mine)
    event(type(action).__name__)
    assert facts.current
    return facts, facts.current, limits, mine, action


@given(situations())
def test_the_model_is_asked_only_with_every_result_at_hand(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    facts, turn, limits, _, action = decided(situation)
    if isinstance(action, Ask):
        assert turn.open_calls == 0
        # Before a turn's first step the calls are what an earlier one left: it waits for none of them.
        assert all(call.state not in STILL_OPEN for call in facts.calls) or turn.step_count == 0
        assert action.results == facts.calls
        assert turn.cancel_by is None
        assert turn.step_count < limits.max_steps
        assert turn.worked_ms < limits.turn_timeout_ms
        assert turn.retry_at is None


@given(situations())
def test_a_cancelled_turn_always_ends(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    _, turn, _, _, action = decided(situation)
    assert (turn.cancel_by is not None) == (isinstance(action, Give) and action.up == "cancelled")


@given(situations())
def test_nobody_is_kept_waiting_behind_a_question(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    facts, turn, _, _, action = decided(situation)
    late = [other for other in facts.turns[1:] if other.command is None]
    if facts.asked and late and turn.cancel_by is None and not isinstance(action, Begin | Interrupt | RunTools):
        assert action == Give(late[0], "pending_approval")


@given(situations())
def test_what_runs_here_is_never_given_back_unfinished(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    """The next holder would take it for something whose process died."""
    facts, turn, _, _, action = decided(situation)
    if running_here(facts) and turn.cancel_by is None:
        assert isinstance(action, Begin | Interrupt | RunTools)


def test_a_command_is_left_to_the_process_that_accepted_it_for_a_while() -> None:
    young = a_turn(seq=2, state=TurnState.QUEUED, command="approve abcdefg2", obey_at=SOON)
    turn = a_turn(state=TurnState.WAITING, step_count=1, open_calls=1)
    waits = [a_call(state=CallState.AWAITING_APPROVAL, result=None)]
    assert decide(some_facts(turn, young, calls=waits, asked=ASKED), LIMITS) == Rest(SOON)
    assert decide(some_facts(young), LIMITS) == Rest(SOON)
    later = "2031-01-01T00:00:00+00:00"
    retries = a_turn(state=TurnState.WAITING, retry_at=later)
    assert decide(some_facts(retries, young), LIMITS) == Rest(SOON)


def test_an_order_about_the_current_turn_does_not_wait_for_its_end() -> None:
    turn = a_turn(state=TurnState.WAITING, step_count=1, open_calls=1)
    order = a_turn(seq=3, state=TurnState.QUEUED, command="approve abcdefg2")
    waits = [a_call(state=CallState.AWAITING_APPROVAL, result=None)]
    others = [a_turn(seq=2, state=TurnState.QUEUED, command="bash ls"), order]
    assert decide(some_facts(turn, *others, calls=waits, asked=ASKED), LIMITS) == Obey(order, "approve abcdefg2")


@given(situations())
def test_interrupted_is_exactly_what_runs_here_and_is_not_mine(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    facts, turn, _, mine, action = decided(situation)
    orphans = [call for call in running_here(facts) if call.id not in mine]
    if isinstance(action, Interrupt):
        assert action.calls == orphans != []
    elif turn.cancel_by is None and not isinstance(action, Begin):
        assert not orphans
    if isinstance(action, RunTools):
        assert action.calls == running_here(facts)
        assert {call.id for call in action.calls} <= mine


@given(situations())
def test_steers_come_only_where_steering_is_on(situation: tuple[Facts, Limits, set[UUID]]) -> None:
    facts, _, limits, _, action = decided(situation)
    if isinstance(action, Ask):
        wanted = [turn for turn in facts.turns[1:] if turn.command is None] if limits.steer else []
        assert list(action.steers) == wanted


@given(situations())
def test_rest_without_a_time_is_only_for_calls_that_somebody_else_ends(
    situation: tuple[Facts, Limits, set[UUID]],
) -> None:
    facts, turn, _, _, action = decided(situation)
    if action == Rest(None):
        assert any(
            call.state == CallState.AWAITING_APPROVAL or (call.place == "runner" and call.state in OPEN_CALLS)
            for call in facts.calls
        )
    elif isinstance(action, Rest):
        assert action.wake_at == turn.retry_at == SOON


# --- pictures that were sent at once


def test_pictures_of_one_album_are_one_thing_that_was_said_whatever_else_waits() -> None:
    album = {"reply": {"album": "7"}}
    first, second = a_turn(**album), a_turn(seq=2, state=TurnState.QUEUED, **album)
    other, late = a_turn(seq=3, state=TurnState.QUEUED), a_turn(seq=4, state=TurnState.QUEUED, **album)
    follow_up = Limits(max_steps=5, turn_timeout_ms=1000, steer=False)
    found = decide(some_facts(first, second, other, late), follow_up)
    assert found == Ask(first, [], [second]), "in their order: what was said in between is not overtaken"
    assert decide(some_facts(other, late), follow_up) == Ask(other, [], [])


# --- a process that does not have the thread's adapter


@pytest.mark.parametrize(
    "turn",
    [a_turn(), a_turn(command="new"), a_turn(cancel_by="bob"), a_turn(files=[{"id": "f", "source": {}}])],
    ids=["message", "command", "cancelled", "file"],
)
def test_a_young_turn_is_left_to_processes_that_have_its_adapter(turn: TurnFacts) -> None:
    found = decide(some_facts(turn), LIMITS, served=False)
    assert found == Rest((AT + timedelta(seconds=5)).isoformat())


def test_after_ten_minutes_it_ends_without_a_model_request() -> None:
    turn = a_turn(accepted_at=AT - timedelta(minutes=10))
    assert decide(some_facts(turn), LIMITS, served=False) == Give(turn, "no_adapter")


def test_what_waits_for_others_goes_on_waiting() -> None:
    turn = a_turn(state=TurnState.WAITING, retry_at=SOON)
    assert decide(some_facts(turn), LIMITS, served=False) == Rest(SOON)
