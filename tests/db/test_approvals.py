"""Approvals: asked with a step, answered once, and no in every doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app import approvals, bypasses
from app.approvals import Decided
from app.control.desk import Answered, Order, answer, lapse, revoke
from app.db import Database
from app.errors import Refused, Unavailable
from app.policy.people import Person
from app.results import Failed, Retry, Verdict
from app.states import ApprovalState
from tests.db.doubles import NoteAdapter, ScriptedModel, TrustedTool, bash, call
from tests.db.processes import together
from tests.db.rows import assert_settled, expire, pump, rows, value
from tests.db.stations import Runner, Worker

Make = Callable[..., Any]

RISKY = "rm -rf build"
ASK = Verdict("ask", "Pay 3?", "to bob")
APPROVALS = """
    SELECT approval.state, decided_by, decided_via FROM approval JOIN call ON call.id = call_id ORDER BY ordinal"""
CALLS = "SELECT tool, state, result FROM call ORDER BY ordinal"


def order(name: str = "grace", **more: Any) -> Order:
    return Order(Person(name, **more), "note", "note")


def asked(w: Worker, turn: Any = None) -> list[str]:
    """The codes of what waits for an answer."""
    return [row.code for row in approvals.pending(w.db)]


def grown_old(db: Database) -> None:
    """What time does to commands whose processes died."""
    db.rows("UPDATE turn SET created_at = created_at - interval '1 minute' WHERE command IS NOT NULL")
    db.rows("UPDATE thread SET wake_at = now() WHERE wake_at IS NOT NULL")


def decided(w: Worker, decision: Any, name: str = "grace", **more: Any) -> Answered:
    (code,) = asked(w)
    return answer(w.desk, order(name), code, decision, **more)


def told(worker: Worker, nth: int) -> list[str]:
    return [getattr(new, "content", "") or getattr(new, "text", "") for new in worker.model.prompts[nth].new]


# --- asking


def test_a_step_that_needs_an_approval_waits_for_people_and_holds_no_worker(
    worker: Make, runner: Make, db: Database
) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    accepted = w.say()
    w.advance(accepted.thread_id)
    assert rows(db, "SELECT wake_at FROM sandbox") == [(None,)], "no runner is woken for nothing"
    pump(w, r)
    assert rows(db, "SELECT state, open_calls FROM turn") == [("waiting", 1)]
    assert rows(db, "SELECT lease_owner, wake_at FROM thread") == [(None, None)]
    assert r.runtime.opened == []
    (row,) = approvals.pending(db)
    assert (row.adapter, row.requester, row.tool, row.args) == ("note", "ada", "bash", {"command": RISKY})
    assert row.reason == "rm: it deletes folders without asking"
    assert 1795 < row.remaining.total_seconds() < 1801
    (card,) = w.adapter.sends
    assert (card.address, card.body["status"]) == ("t", "pending_approval")
    assert card.body["approval"]["id"] == row.code
    assert card.body["approval"]["arguments"] == {"command": RISKY}
    for part in (row.code, "ada", RISKY, "rm: it deletes folders without asking", "30 min"):
        assert part in card.body["text"]
    event = rows(db, "SELECT trace, turn_id, data FROM event WHERE kind = 'approval_requested'")
    assert event == [
        (
            accepted.trace,
            accepted.turn_id,
            {
                "call": str(row.call_id),
                "tool": "bash",
                "adapter": "note",
                "requester": "ada",
                "approval": row.code,
            },
        )
    ]


def test_an_approved_command_runs_and_its_turn_goes_on(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    found = decided(w, "approve")
    assert (found.decided.won, found.decided.state, found.decided.by) == (True, "approved", "grace")
    pump(w, r)
    assert told(w, 1) == [RISKY]
    assert rows(db, APPROVALS) == [("approved", "grace", "note")]
    assert [sent.body["status"] for sent in w.adapter.sends] == ["pending_approval", "running", "done"]
    news = w.adapter.sends[1].body
    assert news["text"] == f"grace approved {found.asked.code} (bash)."
    assert news["approval"] == {**w.adapter.sends[0].body["approval"], "state": "approved", "decidedBy": "grace"}
    assert value(db, "SELECT actor FROM turn") == "ada", "an approval never changes whose the turn is"
    assert_settled(db)


def test_a_denied_command_does_not_run_and_the_model_is_told_by_whom(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY), bash("fine")])), runner()
    w.say()
    pump(w, r)
    assert rows(db, "SELECT state, open_calls FROM turn") == [("waiting", 1)]
    decided(w, "deny")
    pump(w, r)
    assert told(w, 1) == ["grace denied this call, so it was not run.", "fine"]
    assert rows(db, CALLS)[0][:2] == ("bash", "denied")
    assert_settled(db)


def test_a_trusted_tool_waits_for_its_approval_too(worker: Make, runner: Make, db: Database) -> None:
    pay = TrustedTool("pay", lambda *_: "paid", verdict=ASK)
    look = TrustedTool("look", lambda *_: "seen")
    w, r = worker(model=ScriptedModel([call("pay", sum=3), call("look")]), tools={"pay": pay, "look": look}), runner()
    w.say()
    pump(w, r)
    assert (len(pay.runs), len(look.runs)) == (0, 1), "what need not be asked about is not held up"
    assert "Pay 3?\nto bob" in w.adapter.sends[0].body["text"]
    decided(w, "approve")
    pump(w, r)
    assert told(w, 1) == ["paid", "seen"]
    assert len(pay.runs) == 1
    assert_settled(db)


def test_a_worker_that_dies_with_an_approved_call_does_not_run_it_twice(worker: Make, db: Database) -> None:
    pay = TrustedTool("pay", verdict=ASK)
    w: Worker = worker(model=ScriptedModel([call("pay")]), tools={"pay": pay})
    accepted = w.say()
    pump(w)
    decided(w, "approve")
    db.rows("UPDATE call SET state = 'running', started_at = now()")  # begun by a process that is gone
    pump(w)
    assert pay.runs == []
    assert "nobody knows" in told(w, 1)[0]
    assert value(db, "SELECT state FROM turn WHERE id = :id", id=accepted.turn_id) == "done"


def test_several_questions_of_one_step_are_answered_one_by_one(worker: Make, runner: Make, db: Database) -> None:
    """An answer to one card never touches another."""
    w, r = worker(model=ScriptedModel([bash(f"rm -rf {n}") for n in "abc"])), runner()
    w.say()
    pump(w, r)
    first, second, third = asked(w)
    answer(w.desk, order(), second, "deny")
    assert rows(db, APPROVALS)[::2] == [("pending", None, None)] * 2
    answer(w.desk, order(), third, "approve")
    pump(w, r)
    assert value(db, "SELECT state FROM turn") == "waiting"
    answer(w.desk, order(), first, "approve")
    pump(w, r)
    results = told(w, 1)
    assert results[1] == "grace denied this call, so it was not run."
    assert results[2] == "rm -rf c"
    assert results[0] == "rm -rf c rm -rf a"
    assert_settled(db)


def test_blocked_calls_have_their_answer_at_once(worker: Make, db: Database) -> None:
    pay = TrustedTool("pay", verdict=Verdict("block", "not on Sundays"))
    w: Worker = worker(model=ScriptedModel([bash("reboot"), call("pay")]), tools={"pay": pay})
    w.say()
    pump(w)
    assert told(w, 1) == [
        "Not run, it is blocked: reboot: it turns the machine off.",
        "Not run, it is blocked: not on Sundays.",
    ]
    assert rows(db, "SELECT DISTINCT state FROM call") == [("blocked",)]
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'call_blocked'") == 2
    assert pay.runs == []
    assert_settled(db)


def test_long_arguments_are_cut_and_named_by_their_hash(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf " + "x" * 5000)]))
    w.say()
    pump(w)
    text = w.adapter.sends[0].body["text"]
    assert "3007 more characters; sha256 of the whole: " in text
    assert len(text) < 2500


# --- no, in every doubt


def test_nobody_answers_in_time(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    w.sweeper.sweep()
    assert value(db, "SELECT state FROM approval") == "pending"
    db.rows("UPDATE approval SET expires_at = now()")
    late = decided(w, "approve")
    assert (late.decided.won, late.decided.state) == (False, "expired")
    assert value(db, "SELECT state FROM call") == "awaiting_approval"
    w.sweeper.sweep()
    pump(w, r)
    assert told(w, 1) == ["Nobody answered in time, so this call was not run."]
    assert rows(db, APPROVALS) == [("expired", "heyfleet", "heyfleet")]
    assert w.adapter.sends[1].body["approval"]["state"] == "expired"
    assert_settled(db)


def test_a_card_that_can_not_be_delivered_is_a_no(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)]), adapter=NoteAdapter(Retry("busy"), Failed("gone"))), runner()
    w.say()
    pump(w, r)
    w.sweeper.sweep()
    assert value(db, "SELECT state FROM approval") == "pending", "it may still be delivered"
    for table in ("delivery SET due_at", "destination SET wake_at"):
        db.rows(f"UPDATE {table} = now()")
    pump(w, r)
    w.sweeper.sweep()
    pump(w, r)
    assert told(w, 1) == ["The question could not be delivered to anyone who may answer it, so this call was not run."]
    assert rows(db, APPROVALS) == [("denied", "heyfleet", "heyfleet")]
    assert_settled(db)


@pytest.mark.parametrize("people", [{"approvers": {"users": []}}, {"admins": {}, "approvers": {}}])
def test_without_anybody_who_may_answer_it_is_a_no_at_once(
    worker: Make, runner: Make, db: Database, people: dict[str, Any]
) -> None:
    adapters = [{"kind": "local", "name": "note", "permissions": people}]
    w, r = worker(model=ScriptedModel([bash(RISKY)]), adapters=adapters), runner()
    w.say()
    pump(w, r)
    assert told(w, 1) == ["A person would have to approve this call, and nobody is configured who may: it was not run."]
    assert rows(db, "SELECT count(*) FROM approval") == [(0,)]
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'approval_denied'") == 1
    assert_settled(db)


def test_an_adapter_that_was_taken_out_of_the_config_has_no_approvers(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]), adapters=[{"kind": "local", "name": "another"}])
    w.say()
    pump(w)
    assert value(db, "SELECT state FROM call") == "denied"


def test_a_policy_that_can_not_be_told_is_a_no(worker: Make, db: Database) -> None:
    def broken(_: Any) -> Verdict:
        raise OSError("the list can't be read")

    pay = TrustedTool("pay", verdict=broken)
    w: Worker = worker(model=ScriptedModel([call("pay")]), tools={"pay": pay})
    w.say()
    pump(w)
    assert told(w, 1) == ["Not run, it is blocked: whether it may be run can't be told (OSError)."]
    assert pay.runs == []


@pytest.mark.parametrize("change", ['args = \'{"command": "rm -rf /home"}\'', "tool = 'write'"])
def test_a_call_that_was_changed_can_not_be_approved(worker: Make, runner: Make, db: Database, change: str) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    db.rows(f"UPDATE call SET {change}")
    with pytest.raises(Refused, match="the call is not the one any more") as refused:
        decided(w, "approve")
    assert refused.value.status == 409
    pump(w, r)
    assert r.runtime.opened == []
    assert value(db, "SELECT state FROM approval") == "pending"
    decided(w, "deny")
    pump(w, r)
    assert_settled(db)


def test_a_database_that_is_away_decides_nothing(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    w.say()
    pump(w)
    (row,) = approvals.pending(db)
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", name="away", pool_size=1)
    with pytest.raises(Unavailable):
        approvals.decide(away, row, approvals.Decision(ApprovalState.APPROVED, "grace", "note", ""))
    assert value(db, "SELECT state FROM approval") == "pending"


# --- who may


@pytest.mark.parametrize(
    ("name", "people", "approve", "deny"),
    [
        ("grace", {}, True, True),
        ("ada", {}, True, True),
        ("grace", {"approvers": {"users": ["grace"]}}, True, True),
        ("ada", {"approvers": {"users": ["grace"]}}, False, True),
        ("eve", {"approvers": {"users": ["grace"]}}, False, False),
        ("eve", {"approvers": {"users": ["grace"]}, "admins": {"users": ["eve"]}}, True, True),
        ("grace", {"admins": {"users": ["eve"]}}, False, False),
    ],
)
def test_who_may_answer(
    worker: Make, db: Database, name: str, people: dict[str, Any], approve: bool, deny: bool
) -> None:
    adapters = [{"kind": "local", "name": "note", "permissions": people}]
    w: Worker = worker(model=ScriptedModel(rule=[bash(RISKY)]), adapters=adapters, task={"max_steps": 1})
    for decision, may in (("approve", approve), ("deny", deny)):
        accepted = w.say(thread=decision)
        w.advance(accepted.thread_id)
        (row,) = approvals.pending_of(db, accepted.turn_id)
        if may:
            assert answer(w.desk, order(name), row.code, decision).decided.won  # type: ignore[arg-type]
            continue
        with pytest.raises(Refused, match="only approvers") as refused:
            answer(w.desk, order(name), row.code, decision)  # type: ignore[arg-type]
        assert refused.value.status == 403
        data = value(db, "SELECT data FROM event WHERE kind = 'approval_refused' ORDER BY created_at DESC LIMIT 1")
        assert (data["by"], data["requester"], data["approval"]) == (name, "ada", row.code)


def test_the_requester_may_be_barred_from_approving_and_never_from_denying(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]), approval={"allow_self_approval": False})
    w.say()
    pump(w)
    for person in (order("ada"), Order(Person("ada", operator=True), "cli", None)):
        with pytest.raises(Refused, match="nobody may approve what they asked for themselves"):
            answer(w.desk, person, asked(w)[0], "approve")
    assert decided(w, "deny", "ada").decided.won


def test_an_approval_of_another_adapter_is_as_if_it_were_not(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    w.say()
    pump(w)
    (code,) = asked(w)
    with pytest.raises(Refused, match="there is no approval") as refused:
        answer(w.desk, Order(Person("grace"), "other", "other"), code, "approve")
    assert refused.value.status == 404
    assert answer(w.desk, order(), code.upper(), "approve").decided.won, "people type as they like"


# --- one decision


def answer_together(barrier: Any, database_url: str, redis_url: str, code: str, name: str, decision: Any) -> Any:
    w = Worker(database_url, redis_url)
    try:
        barrier.wait()
        found = answer(w.desk, order(name), code, decision)
        return found.decided.won, found.decided.state.value, found.decided.by
    finally:
        w.close()


def test_of_fifty_answers_at_once_from_as_many_processes_one_wins_and_all_learn_which(
    worker: Make, runner: Make, db: Database, database_url: str, redis_url: str
) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY), bash("rm -rf other")])), runner()
    w.say()
    pump(w, r)
    code, other = asked(w)
    each = [(database_url, redis_url, code, f"person {n}", "approve" if n % 2 else "deny") for n in range(50)]
    found = together(answer_together, *each)
    winners = [(state, by) for won, state, by in found if won]
    assert len(winners) == 1
    assert {(state, by) for _, state, by in found} == set(winners), "the others are told who decided, and what"
    assert asked(w) == [other]
    assert value(db, "SELECT count(*) FROM event WHERE kind IN ('approval_approved', 'approval_denied')") == 1
    assert value(db, "SELECT count(*) FROM delivery WHERE kind LIKE 'approval_outcome:%'") == 1
    assert value(db, "SELECT open_calls FROM turn") == (2 if winners[0][0] == "approved" else 1)
    answer(w.desk, order(), other, "deny")
    pump(w, r)
    assert len([line for sandbox in r.runtime.opened for line in sandbox.lines]) == (winners[0][0] == "approved")
    assert_settled(db)


def test_an_answer_that_is_carried_out_again_is_still_the_one_that_won(worker: Make, db: Database) -> None:
    """The process that took the order died after the decision: whoever finds the order tells what holds."""
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    w.say()
    pump(w)
    (code,) = asked(w)
    first = answer(w.desk, order(), code, "approve", bypass=True)
    again = answer(w.desk, order(), code, "approve", bypass=True)
    assert (first.decided.won, again.decided.won) == (True, True)
    assert again.grant == first.grant is not None
    assert not answer(w.desk, order(), code, "deny").decided.won
    assert not answer(w.desk, Order(Person("grace"), "cli", None), code, "approve").decided.won
    assert len(bypasses.listed(db)) == 1


# --- while people are asked


def test_a_late_message_does_not_take_the_lane_from_a_call_that_runs_here(
    worker: Make, runner: Make, db: Database
) -> None:
    pay = TrustedTool("pay", lambda *_: "paid")
    w, r = worker(tools={"pay": pay}), runner()
    accepted = w.say()

    def step(*_: Any) -> Any:
        w.say("are you there?")
        return [call("pay"), bash(RISKY)]

    w.model.script = [step]
    w.advance(accepted.thread_id)
    pump(w, r)
    assert len(pay.runs) == 1
    assert rows(db, CALLS)[0] == ("pay", "done", "paid")
    assert value(db, "SELECT state FROM turn WHERE seq = 2") == "done", "turned away"
    decided(w, "deny")
    pump(w, r)
    assert_settled(db)


@pytest.mark.parametrize("verb", ["approve", "deny", "cancel"])
def test_an_order_whose_process_died_is_carried_out_by_the_next(
    worker: Make, runner: Make, db: Database, verb: str
) -> None:
    """It is about the very turn before it: it must not wait for that to end."""
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    accepted = w.say()
    pump(w, r)
    about = accepted.turn_id.hex[-8:] if verb == "cancel" else asked(w)[0]
    ordered = w.say(f"{verb} {about}", command=f"{verb} {about}", reply={"to": "order"})
    pump(w, r)
    assert value(db, "SELECT state FROM turn WHERE id = :id", id=ordered.turn_id) == "queued", "it may still do it"
    assert value(db, "SELECT wake_at - now() < '5 seconds' FROM thread")
    grown_old(db)
    pump(w, r)
    ended = {"approve": ("done", RISKY), "deny": ("done", "ada denied"), "cancel": ("cancelled", "Cancelled by ada.")}
    state, text = rows(db, "SELECT state, answer FROM turn WHERE id = :id", id=accepted.turn_id)[0]
    assert state == ended[verb][0]
    assert ended[verb][1] in text
    said = [sent.body["text"] for sent in w.adapter.sends if sent.address == "order"]
    assert len(said) == 1
    assert value(db, "SELECT state FROM turn WHERE id = :id", id=ordered.turn_id) == "done"
    assert_settled(db)


def test_a_tool_of_the_agent_s_own_that_is_named_bash_is_not_the_command(worker: Make, db: Database) -> None:
    own = TrustedTool("bash", verdict=ASK)
    w: Worker = worker(tools={"bash": own}, builtin_tools={"bash": False})
    w.say("bash ls", command="bash ls")
    pump(w)
    assert rows(db, "SELECT state, answer FROM turn") == [("done", "The bash tool is switched off.")]
    assert_settled(db)


def test_files_go_with_the_reply_and_not_with_the_card(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([call("attach", path="a")], [bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    decided(w, "approve")
    pump(w, r)
    assert [(sent.body["status"], len(sent.files)) for sent in w.adapter.sends] == [
        ("pending_approval", 0),
        ("running", 0),
        ("done", 1),
    ]


# --- whose turn it is


def test_a_bypass_is_of_no_use_to_who_steers_another_s_turn(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    accepted = w.say()
    pump(w, r)
    decided(w, "approve", bypass=True)
    pump(w, r)
    w.model.script = [[bash("fine")], [bash(RISKY)]]
    w.say("go on")
    w.advance(accepted.thread_id)
    w.say("and delete the rest", actor="mallory")
    pump(w, r)
    assert len(asked(w)) == 1, "the turn has read what another said"


def test_who_steered_a_turn_does_not_approve_its_calls_where_nobody_may_approve_their_own(
    worker: Make, runner: Make, db: Database
) -> None:
    w, r = worker(model=ScriptedModel([bash("fine")], [bash(RISKY)]), approval={"allow_self_approval": False}), runner()
    accepted = w.say()
    w.advance(accepted.thread_id)
    w.say("and delete it", actor="grace")
    pump(w, r)
    for name in ("ada", "grace"):
        with pytest.raises(Refused, match="what they asked for themselves"):
            decided(w, "approve", name)
    assert decided(w, "approve", "bob").decided.won


def test_without_approvers_what_is_asked_in_a_channel_is_for_that_channel(worker: Make, db: Database) -> None:
    def seen(w: Worker, name: str, place: tuple[str, str]) -> bool:
        (code,) = asked(w)
        try:
            answer(w.desk, Order(Person(name), "note", "note", place), code, "deny")
        except Refused as error:
            return error.status != 404
        return True

    w: Worker = worker(model=ScriptedModel(rule=[bash(RISKY)]), task={"max_steps": 1})
    w.say(thread="t", channel="c", team="T")
    pump(w)
    assert not seen(w, "grace", ("T", "d"))
    assert not seen(w, "grace", ("U", "c"))
    assert seen(w, "grace", ("T", "c"))
    people = {"approvers": {"users": ["grace"]}}
    named: Worker = worker(
        model=ScriptedModel(rule=[bash(RISKY)]),
        task={"max_steps": 1},
        adapters=[{"kind": "local", "name": "note", "permissions": people}],
    )
    named.say(thread="u", channel="c", team="T")
    pump(named)
    assert not seen(named, "ada", ("T", "d"))
    assert seen(named, "grace", ("T", "d")), "named approvers answer from anywhere"


def test_commands_are_not_found_in_the_history(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(), runner()
    for text in ("bash echo sesame", "approvals"):
        w.say(text, command=text)
        grown_old(db)
        pump(w, r)
    w.say("what about sesame?")
    w.model.script = [[call("history", query="sesame")], [call("history", query="approval")]]
    pump(w, r)
    assert told(w, 1)[0].endswith("ada: what about sesame?")
    assert told(w, 1)[0].count("sesame") == 1
    assert told(w, 2) == ["Nothing was found."]


def test_a_chore_that_fails_does_not_keep_lanes_asleep(worker: Make, db: Database) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    w: Worker = worker()
    w.sweeper.chores = [broken]
    w.say()
    db.rows("UPDATE thread SET wake_at = now() - interval '1 minute'")
    assert w.sweeper.sweep() == 1


# --- more while people are asked


def test_new_messages_are_turned_away_while_people_are_asked(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    (code,) = asked(w)
    late = w.say("and then?", reply={"to": "late"})
    again = w.say("hello?")
    pump(w, r)
    said = w.services.settings.messages.pending_approval_reject.format(ids=code)
    assert rows(db, "SELECT state, answer FROM turn WHERE seq > 1") == [("done", said), ("done", said)]
    assert [(sent.address, sent.body["run"]) for sent in w.adapter.sends[1:]] == [
        ("late", str(late.turn_id)),
        ("t", str(again.turn_id)),
    ]
    decided(w, "approve")
    pump(w, r)
    assert told(w, 1) == [RISKY], "the model hears nothing of them"
    assert_settled(db)


def test_a_turn_that_waits_for_an_approval_is_cancelled_at_once(worker: Make, runner: Make, db: Database) -> None:
    pay = TrustedTool("pay", verdict=ASK)
    w, r = worker(model=ScriptedModel([bash(RISKY), call("pay")]), tools={"pay": pay}), runner()
    accepted = w.say()
    pump(w, r)
    codes = asked(w)
    w.cancel(accepted.turn_id)
    pump(w, r)
    assert rows(db, "SELECT state, answer FROM turn") == [("cancelled", "Cancelled by eve.")]
    assert rows(db, APPROVALS) == [("cancelled", "eve", "heyfleet")] * 2
    assert rows(db, "SELECT DISTINCT state FROM call") == [("cancelled",)]
    texts = [sent.body["text"] for sent in w.adapter.sends[2:]]
    assert texts[-1] == "Cancelled by eve.", "the closing message comes last, and once"
    assert sorted(texts[:-1]) == sorted(
        f"{code} ({tool}) needs no answer any more: eve cancelled it."
        for code, tool in zip(codes, ("bash", "pay"), strict=True)
    )
    late = answer(w.desk, order(), codes[0], "approve")
    assert (late.decided.won, late.decided.state, late.decided.by) == (False, "cancelled", "eve")
    assert r.runtime.opened == []
    assert_settled(db)


def test_waiting_survives_everything_and_goes_on_elsewhere(worker: Make, runner: Make, db: Database) -> None:
    first: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    accepted = first.say()
    pump(first)
    expire(db, "thread", accepted.thread_id)
    first.close()
    second, r = worker(), runner()
    decided(second, "approve")
    pump(second, r)
    assert told(second, 0) == [RISKY]
    assert_settled(db)


# --- bypasses


def bypassed(w: Worker, r: Runner, **columns: Any) -> bool:
    """Whether a further risky command of somebody is run without asking. The question is answered with no."""
    before = value(w.db, "SELECT count(*) FROM approval")
    w.model.script = [[bash(RISKY)]]
    w.say(**columns)
    pump(w, r)
    for code in asked(w):
        answer(w.desk, order(), code, "deny")
    pump(w, r)
    return bool(value(w.db, "SELECT count(*) FROM approval") == before)


@pytest.mark.parametrize(
    ("scope", "same"),
    [
        ("thread", {"here"}),
        ("channel", {"here", "other thread"}),
        ("user", {"here", "other thread", "other channel"}),
        ("adapter", {"here", "other thread", "other channel", "other team"}),
    ],
)
def test_a_bypass_holds_for_its_actor_in_its_scope(
    worker: Make, runner: Make, db: Database, scope: str, same: set[str]
) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)]), approval={"bypass": {"scope": scope}}), runner()
    where: dict[str, dict[str, Any]] = {
        "here": {"thread": "t", "channel": "c", "team": "T"},
        "other thread": {"thread": "u", "channel": "c", "team": "T"},
        "other channel": {"thread": "v", "channel": "d", "team": "T"},
        "other team": {"thread": "t", "channel": "c", "team": "U"},
    }
    w.say(**where["here"])
    pump(w, r)
    found = decided(w, "approve", bypass=True)
    assert found.grant is not None
    pump(w, r)
    assert {name for name, columns in where.items() if bypassed(w, r, **columns)} == same
    assert not bypassed(w, r, **where["here"], actor="bob"), "it is bound to its actor"
    used = rows(db, "SELECT data FROM event WHERE kind = 'approval_bypassed'")
    assert len(used) == len(same)
    assert {data["bypass"] for (data,) in used} == {found.grant.code}
    assert_settled(db)


def test_a_bypass_never_lifts_a_block(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)], [bash("reboot")])), runner()
    w.say()
    pump(w, r)
    decided(w, "approve", bypass=True)
    pump(w, r)
    assert rows(db, "SELECT state FROM call ORDER BY step_n") == [("done",), ("blocked",)]


@pytest.mark.parametrize(("wanted", "held"), [(None, 300), (60.0, 60), (86_400.0, 900)])
def test_a_bypass_is_capped(worker: Make, db: Database, wanted: float | None, held: int) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    w.say()
    pump(w)
    decided(w, "approve", bypass=True, bypass_seconds=wanted)
    (row,) = bypasses.listed(db)
    assert held - 5 < row.remaining.total_seconds() <= held
    assert (row.actor, row.granted_by, row.scope) == ("ada", "grace", "thread")


def test_a_bypass_ends_by_time_and_by_revoking(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY)])), runner()
    w.say()
    pump(w, r)
    decided(w, "approve", bypass=True)
    pump(w, r)
    assert bypassed(w, r)
    db.rows("UPDATE bypass SET expires_at = now()")
    assert not bypassed(w, r)
    db.rows("UPDATE bypass SET expires_at = now() + interval '1 minute'")
    assert bypassed(w, r)
    (row,) = bypasses.listed(db)
    revoke(w.desk, order("ada"), row.code)
    assert not bypassed(w, r)
    assert bypasses.listed(db) == []
    with pytest.raises(Refused, match="has ended already"):
        revoke(w.desk, order(), row.code)
    revoke(w.desk, order("ada"), row.code)
    noted = rows(db, "SELECT trace, data FROM event WHERE kind = 'bypass_revoked'")
    assert [(data["by"], data["requester"]) for _, data in noted] == [("ada", "ada")]
    assert noted[0][0] == value(db, "SELECT trace FROM turn ORDER BY created_at LIMIT 1")


def test_a_denial_or_an_answer_that_came_too_late_grants_nothing(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    w.say()
    pump(w)
    (code,) = asked(w)
    assert answer(w.desk, order(), code, "deny", bypass=True).grant is None
    assert answer(w.desk, order(), code, "approve", bypass=True).grant is None
    assert bypasses.listed(db) == []


def test_strangers_revoke_nothing(worker: Make, db: Database) -> None:
    adapters = [{"kind": "local", "name": "note", "permissions": {"approvers": {"users": ["grace"]}}}]
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]), adapters=adapters)
    w.say()
    pump(w)
    grant = decided(w, "approve", bypass=True).grant
    assert grant
    with pytest.raises(Refused, match="only approvers may revoke this"):
        revoke(w.desk, order("eve"), grant.code)
    revoke(w.desk, order("grace"), grant.code)


# --- audit


def test_the_story_of_an_approval_is_told_in_order(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(RISKY), bash("rm -rf b")])), runner()
    accepted = w.say()
    pump(w, r)
    first, second = asked(w)
    answer(w.desk, order(), first, "approve", bypass=True)
    answer(w.desk, order("bob"), second, "deny")
    pump(w, r)
    story = rows(
        db,
        "SELECT kind, data FROM event WHERE trace = :trace ORDER BY created_at, id",
        trace=accepted.trace,
    )
    kinds = [kind for kind, _ in story if not kind.startswith("delivery")]
    assert kinds[:1] == ["message_accepted"]
    assert kinds[1:3] == ["approval_requested"] * 2
    assert set(kinds[3:5]) == {"approval_approved", "bypass_granted"}
    assert kinds[5:] == ["approval_denied", "call_done", "turn_finished"]
    for kind, data in story:
        if kind in ("approval_approved", "approval_denied"):
            assert {"requester", "by", "via", "adapter", "approval", "tool", "call"} <= data.keys()


def test_lapsing_wakes_what_goes_on(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash(RISKY)]))
    accepted = w.say()
    pump(w)
    db.rows("UPDATE approval SET expires_at = now()")
    (found,) = approvals.lapse(db, w.settings.messages)
    destination = value(db, "SELECT id FROM destination")
    assert found == Decided(True, ApprovalState.EXPIRED, "heyfleet", thread=accepted.thread_id, destination=destination)
    lapse(w.desk)
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'approval_expired'") == 1
