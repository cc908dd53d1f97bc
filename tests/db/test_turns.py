"""The way of a turn through the database: steers, calls, retries, failures, compaction, drain."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.clock import uuid7
from app.db import Database, compiled
from app.errors import ContextOverflow, Permanent, Transient
from app.inbox import ACCEPT, parameters
from app.ports import Executed, ToolResult, UserText
from app.results import Retry
from app.states import TurnState
from app.turns import facts
from app.turns.facts import take
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, TrustedTool, WaitingModel, bash, call
from tests.db.interleaving import wait_until
from tests.db.rows import assert_settled, expire, pump, rows, value
from tests.db.stations import Worker, inbound, say

Make = Callable[..., Any]


def turns(db: Database) -> list[tuple[Any, ...]]:
    return rows(db, "SELECT state, answer FROM turn ORDER BY created_at, seq")


def told(worker: Worker, nth: int) -> list[str]:
    """What the nth request told the model that it had not seen yet."""
    return [new.text if isinstance(new, UserText) else new.content for new in worker.model.prompts[nth].new]


def test_what_a_turn_leaves_behind(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel("hi there"))
    accepted = w.say("hello")
    w.advance(accepted.thread_id)
    assert_settled(db)
    assert turns(db) == [("done", "hi there")]
    assert rows(db, "SELECT seq, kind, format, turn_id FROM entry ORDER BY seq") == [
        (1, "request", 1, accepted.turn_id),
        (2, "response", 1, accepted.turn_id),
    ]
    step = rows(db, "SELECT n, model, input_tokens, output_tokens, cost::float FROM step")
    assert step == [(1, "scripted", 10, 5, 0.25)]
    assert rows(db, "SELECT direction, actor, text FROM message ORDER BY id") == [
        ("in", "ada", "hello"),
        ("out", "default", "hi there"),
    ]
    body = {"thread": "t", "run": str(accepted.turn_id), "status": "done", "text": "hi there"}
    assert rows(db, "SELECT seq, kind, body, state, turn_id FROM delivery") == [
        (1, "reply", body, "sent", accepted.turn_id)
    ]
    kinds = ["message_accepted", "turn_finished", "delivery_sent"]
    assert [row[0] for row in rows(db, "SELECT kind FROM event ORDER BY id")] == kinds
    assert rows(db, "SELECT DISTINCT trace FROM event") == [(accepted.trace,)]


def test_a_reply_without_an_address_is_only_stored(worker: Make, db: Database) -> None:
    w: Worker = worker()
    w.advance(w.say(reply={}).thread_id)
    assert turns(db) == [("done", "re: hello")]
    assert value(db, "SELECT count(*) FROM delivery") == 0
    assert_settled(db)


def test_the_next_turn_sees_the_transcript(worker: Make, db: Database) -> None:
    w: Worker = worker()
    for text in ("one", "two"):
        w.advance(w.say(text).thread_id)
    assert [len(prompt.transcript) for prompt in w.model.prompts] == [0, 2]
    assert told(w, 1) == ["two"]
    assert value(db, "SELECT count(*) FROM entry") == 4


# --- one at a time, in order


def test_one_turn_of_a_thread_is_active(db: Database) -> None:
    """By the index, whatever any code does."""
    first, second = say(db), say(db)
    db.rows("UPDATE turn SET state = 'running' WHERE id = :id", id=first.turn_id)
    with pytest.raises(IntegrityError, match="uq_turn_one_active"):
        db.rows("UPDATE turn SET state = 'running' WHERE id = :id", id=second.turn_id)


def test_turns_run_in_the_order_in_which_they_were_accepted(worker: Make, db: Database) -> None:
    w: Worker = worker(task={"busy": "follow_up"})
    said = [w.say(f"m{n}") for n in range(4)]
    for _ in said:
        w.advance(said[0].thread_id)
    assert [told(w, n) for n in range(4)] == [["m0"], ["m1"], ["m2"], ["m3"]]
    assert [delivery.body["run"] for delivery in w.adapter.sends] == [str(each.turn_id) for each in said]
    assert_settled(db)


# --- steers


def test_messages_that_wait_are_given_to_the_turn_that_starts(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel("both"))
    said = [w.say("one"), w.say("two", reply={"to": "elsewhere"})]
    w.advance(said[0].thread_id)
    assert told(w, 0) == ["one", "two"]
    assert rows(db, "SELECT state, answer, absorbed_by FROM turn ORDER BY seq") == [
        ("done", "both", None),
        ("done", None, said[0].turn_id),
    ]
    assert [(sent.address, sent.body["run"], sent.body["text"]) for sent in w.adapter.sends] == [
        ("t", str(said[0].turn_id), "both"),
        ("elsewhere", str(said[1].turn_id), "both"),
    ]
    assert_settled(db)


def test_a_steer_between_two_steps_is_told_beside_the_results(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash("one")])), runner()
    accepted = w.say()
    w.advance(accepted.thread_id)
    steer = w.say("wait")
    w.advance(accepted.thread_id)
    assert len(w.model.prompts) == 1, "it waits for the call"
    pump(w, r)
    assert told(w, 1) == ["one", "wait"]
    assert rows(db, "SELECT absorbed_by FROM turn ORDER BY seq") == [(None,), (accepted.turn_id,)]
    assert {sent.body["run"] for sent in w.adapter.sends} == {str(accepted.turn_id), str(steer.turn_id)}
    assert_settled(db)


def test_a_steer_absorbed_at_an_earlier_step_gets_the_reply_too(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash("one")], [bash("two")], "the end")), runner()
    accepted = w.say()
    w.advance(accepted.thread_id)
    w.say("wait")
    pump(w, r)
    assert [sent.body["text"] for sent in w.adapter.sends] == ["the end", "the end"]
    assert_settled(db)


def test_a_steer_that_comes_during_the_last_step_is_the_next_turn(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(lambda *_: (say(db, "late"), "first")[1]))
    accepted = w.say("early")
    w.advance(accepted.thread_id)
    assert turns(db) == [("done", "first"), ("queued", None)]
    pump(w)
    assert turns(db) == [("done", "first"), ("done", "re: late")]
    assert told(w, 1) == ["late"]
    assert_settled(db)


def test_with_follow_up_nothing_is_absorbed(worker: Make, db: Database) -> None:
    w: Worker = worker(task={"busy": "follow_up"})
    for text in ("one", "two"):
        w.say(text)
    pump(w)
    assert turns(db) == [("done", "re: one"), ("done", "re: two")]
    assert_settled(db)


def test_a_cancelled_steer_is_not_given_to_the_turn(worker: Make, db: Database) -> None:
    w: Worker = worker()
    w.say("one")
    w.cancel(w.say("two").turn_id)
    pump(w)
    assert told(w, 0) == ["one"]
    assert turns(db) == [("done", "re: one"), ("cancelled", "Cancelled by eve.")]
    assert_settled(db)


# --- calls


def test_calls_of_every_kind_in_one_step(worker: Make, runner: Make, db: Database) -> None:
    pay = TrustedTool("pay", lambda ctx, args: f"paid {args['sum']} for {ctx.actor}")
    asked = [bash("one"), call("pay", sum=3), call("nope"), call("history", query="hello")]
    w, r = worker(model=ScriptedModel(asked), tools={"pay": pay}), runner()
    accepted = w.say("hello")
    w.advance(accepted.thread_id)
    assert rows(db, "SELECT state, open_calls FROM turn") == [("waiting", 1)]
    pump(w, r)
    results = w.model.prompts[1].new
    assert all(isinstance(result, ToolResult) for result in results)
    texts = told(w, 1)
    assert texts[:3] == ["one", "paid 3 for ada", "There is no tool named nope."]
    assert texts[3].endswith("ada: hello")
    ids = [result.tool_call_id for result in results if isinstance(result, ToolResult)]
    assert ids == [each.tool_call_id for each in asked]
    assert_settled(db)


def test_a_step_whose_calls_all_fail_at_once_goes_on_at_once(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([call("nope"), call("no")], "well then"))
    w.advance(w.say().thread_id)
    assert turns(db) == [("done", "well then")]
    assert_settled(db)


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_trusted_call_whose_process_died(worker: Make, db: Database, idempotent: bool) -> None:
    pay = TrustedTool("pay", idempotent=idempotent)
    w: Worker = worker(tools={"pay": pay})
    accepted = w.say()
    died: Worker = worker(model=ScriptedModel([call("pay")]), tools={"pay": TrustedTool("pay", die)})
    died.services.persona("default").tools["pay"].idempotent = idempotent  # type: ignore[misc]
    with pytest.raises(Died):
        died.advance(accepted.thread_id)
    assert rows(db, "SELECT state, place FROM call") == [("running", "worker")]
    expire(db, "thread", accepted.thread_id)
    pump(w)
    assert len(pay.runs) == (1 if idempotent else 0)
    if idempotent:
        assert told(w, 0) == ["ok"]
    else:
        assert "nobody knows whether it took effect" in told(w, 0)[0]
    assert value(db, "SELECT state FROM call") == ("done" if idempotent else "interrupted")
    assert_settled(db)


class Died(BaseException):
    """The process is gone from here on, as far as the code under test can tell."""


def draining(worker: Worker, step: Any) -> Callable[..., Any]:
    """A step during which the worker is told to stop."""

    def run(*_: Any) -> Any:
        worker.draining.set()
        return step

    return run


def die(*_: Any) -> str:
    raise Died


def test_a_finished_step_is_not_paid_for_again(worker: Make, db: Database) -> None:
    """The process dies after the step's commit; the next one goes on with the calls' results."""
    pay = TrustedTool("pay", idempotent=True)
    died: Worker = worker(model=ScriptedModel([call("history", query="x")], lambda *_: die()), tools={"pay": pay})
    accepted = died.say()
    with pytest.raises(Died):
        died.advance(accepted.thread_id)
    expire(db, "thread", accepted.thread_id)
    w: Worker = worker()
    pump(w)
    assert [len(prompt.transcript) for prompt in w.model.prompts] == [2]
    assert rows(db, "SELECT n FROM step ORDER BY n") == [(1,), (2,)]
    assert value(db, "SELECT count(*) FROM call") == 1
    assert_settled(db)


def test_a_trusted_call_that_was_not_begun_when_the_worker_drains_is_run_there(worker: Make, db: Database) -> None:
    """It is marked running with its step's commit: given back now, it would look as if it had begun."""
    pay = TrustedTool("pay")
    w: Worker = worker(tools={"pay": pay})
    w.model.script = [draining(w, [call("pay")])]
    w.advance(w.say().thread_id)
    other: Worker = worker(tools={"pay": pay})
    pump(other)
    assert len(pay.runs) == 1
    assert rows(db, "SELECT state FROM call") == [("done",)]
    assert_settled(db)


# --- limits and cancellation


def test_max_steps_ends_the_turn(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(rule=[call("nope")]), task={"max_steps": 3})
    w.advance(w.say().thread_id)
    assert turns(db) == [("failed", "I stopped after 3 steps without reaching an end.")]
    assert len(w.model.prompts) == 3
    assert w.adapter.sends[0].body["status"] == "failed"
    assert_settled(db)


@pytest.mark.parametrize("end", ["max_steps", "cancelled", "cancelled while it runs", "failed"])
def test_calls_that_a_turn_left_unanswered_are_answered_by_the_next(
    worker: Make, runner: Make, db: Database, end: str
) -> None:
    """A provider refuses a transcript in which a call has no result: the thread would fail for ever."""
    scripts: dict[str, list[Any]] = {
        "max_steps": [[call("nope"), bash("one")]],
        "cancelled": [[call("nope"), bash("one")]],
        "cancelled while it runs": [[call("nope"), bash("one")]],
        "failed": [[call("nope"), bash("one")], Permanent("no")],
    }
    w, r = worker(model=ScriptedModel(*scripts[end]), task={"max_steps": 1 if end == "max_steps" else 9}), runner()
    first = w.say()
    w.advance(first.thread_id)
    if end == "cancelled":
        w.cancel(first.turn_id)
    elif end == "cancelled while it runs":
        db.rows("UPDATE call SET state = 'running' WHERE tool = 'bash'")
        w.cancel(first.turn_id)
        pump(w)
    if end != "cancelled while it runs":
        pump(w, r)
    db.rows("UPDATE call SET finished_at = started_at + interval '1 hour' WHERE finished_at IS NOT NULL")
    w.say("go on")
    w.advance(first.thread_id)
    assert turns(db)[-1][0] == "done"
    nope, one, said = told(w, -1)
    assert nope == "There is no tool named nope."
    assert one == ("one" if end in ("max_steps", "failed") else "(no result: the turn was ended before)")
    assert said == "go on"
    assert value(db, "SELECT worked_ms FROM turn WHERE seq = 2") < 1_000_000, "an earlier turn's calls are not its work"
    w.say("and on")
    w.advance(first.thread_id)
    assert told(w, -1) == ["and on"]


def test_working_time_ends_the_turn_and_waiting_does_not(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash()], [bash()]), task={"turn_timeout": "10m"}), runner()
    w.say()
    pump(w)
    db.rows("UPDATE turn SET created_at = created_at - interval '1 day', started_at = started_at - interval '1 day'")
    db.rows("UPDATE call SET created_at = created_at - interval '1 day'")
    w.advance(value(db, "SELECT id FROM thread"))
    assert value(db, "SELECT state FROM turn") == "waiting"
    r.work(value(db, "SELECT id FROM sandbox"))
    db.rows("UPDATE call SET started_at = started_at - interval '11 minutes' WHERE state = 'done'")
    pump(w)
    assert len(w.model.prompts) == 2, "time is counted once a step is committed"
    pump(w, r)
    assert turns(db) == [("failed", "I stopped after 10 minutes of work without reaching an end.")]
    assert_settled(db)


@pytest.mark.parametrize("then", ["a command", "a retry"])
def test_a_cancellation_that_comes_during_a_step_is_acted_on_at_once(worker: Make, db: Database, then: str) -> None:
    """Nobody may come for the command, and the retry may be far off."""
    w: Worker = worker()
    accepted = w.say()

    def step(*_: Any) -> Any:
        w.cancel(accepted.turn_id)
        return [bash()] if then == "a command" else Transient("busy", retry_after=3600)

    w.model.script = [step]
    w.advance(accepted.thread_id)
    assert value(db, "SELECT wake_at <= now() FROM thread")
    w.advance(accepted.thread_id)
    assert turns(db) == [("cancelled", "Cancelled by eve.")]


def test_who_cancels_a_message_that_was_taken_in_cancels_the_turn(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("one")]))
    r = runner()
    accepted = w.say("do it")
    w.advance(accepted.thread_id)
    steer = w.say("and this")
    r.work(value(db, "SELECT id FROM sandbox"))

    w.model.script = [[bash("two")]]
    w.advance(accepted.thread_id)
    assert value(db, "SELECT absorbed_by FROM turn WHERE id = :id", id=steer.turn_id) == accepted.turn_id
    assert w.cancel(steer.turn_id) == accepted.thread_id
    w.advance(accepted.thread_id)
    assert value(db, "SELECT state FROM turn WHERE id = :id", id=accepted.turn_id) == "cancelled"
    assert value(db, "SELECT cancel_by FROM turn WHERE id = :id", id=accepted.turn_id) == "eve"
    assert w.cancel(steer.turn_id) is None, "it has ended"
    pump(w, r)
    assert_settled(db)


def test_what_the_model_made_of_a_message_that_was_cancelled_meanwhile_is_dropped(worker: Make, db: Database) -> None:
    """It has seen it, and may be about to do what is not wanted any more: it is asked again, without it."""
    w: Worker = worker(model=ScriptedModel(Transient("busy", retry_after=0.0)))
    accepted = w.say("do it")
    w.advance(accepted.thread_id)
    steer = w.say("and delete it all")
    kept = w.say("and be quick")

    def cancel_and_go_on(*_: Any) -> Any:
        assert w.cancel(steer.turn_id) == accepted.thread_id
        w.say("one more")
        return [bash("delete it all")]

    w.model.script = [cancel_and_go_on]
    db.rows("UPDATE turn SET retry_at = now() WHERE retry_at IS NOT NULL")
    pump(w)
    assert told(w, 1) == ["do it", "and delete it all", "and be quick"]
    assert told(w, 2) == ["do it", "and be quick", "one more"]
    assert rows(db, "SELECT 1 FROM call") == []
    assert turns(db)[1] == ("cancelled", "Cancelled by eve.")
    assert value(db, "SELECT absorbed_by FROM turn WHERE id = :id", id=kept.turn_id) == accepted.turn_id
    assert value(db, "SELECT count(*) FROM step") == 1
    assert_settled(db)


def test_a_queued_message_is_cancelled_at_once_while_another_turn_is_worked_on(worker: Make, db: Database) -> None:
    w: Worker = worker(task={"busy": "follow_up"})
    first = w.say("one")
    second = w.say("two", reply={"to": "elsewhere"})
    held = facts.take(w.db, w.keeper, first.thread_id)
    assert held
    w.cancel(second.turn_id)
    assert turns(db) == [("running", None), ("cancelled", "Cancelled by eve.")]
    w.deliver(value(db, "SELECT id FROM destination WHERE address = 'elsewhere'"))
    assert [(sent.address, sent.body["status"], sent.body["text"]) for sent in w.adapter.sends] == [
        ("elsewhere", "cancelled", "Cancelled by eve.")
    ]
    facts.give_back(w.db, held.facts, "now")
    pump(w)
    assert_settled(db)


def test_a_reply_that_is_not_sent_yet_is_withdrawn(worker: Make, db: Database) -> None:
    w: Worker = worker(adapter=NoteAdapter(Retry("busy", after=3600)))
    accepted = w.say()
    pump(w)
    assert rows(db, "SELECT state FROM delivery") == [("pending",)]
    assert w.cancel(accepted.turn_id) == accepted.thread_id
    assert w.cancel(accepted.turn_id) is None
    db.rows("UPDATE destination SET wake_at = now()")
    pump(w)
    assert rows(db, "SELECT kind, state, error FROM delivery ORDER BY seq") == [
        ("reply", "failed", "withdrawn: cancelled by eve"),
        ("cancelled", "sent", None),
    ]
    assert w.adapter.sends[-1].body["text"] == "Cancelled by eve."
    assert turns(db) == [("done", "re: hello")]


def test_the_replies_to_messages_that_were_taken_in_are_withdrawn_too(worker: Make, db: Database) -> None:
    w: Worker = worker(adapter=NoteAdapter(Retry("busy", after=3600), Retry("busy", after=3600)))
    accepted = w.say("one", reply={"to": "a"})
    w.say("two", reply={"to": "b"})
    pump(w)
    assert w.cancel(accepted.turn_id) == accepted.thread_id
    db.rows("UPDATE destination SET wake_at = now()")
    pump(w)
    said = sorted((sent.address, sent.body["text"]) for sent in w.adapter.sends[2:])
    assert said == [("a", "Cancelled by eve."), ("b", "Cancelled by eve.")]
    assert value(db, "SELECT count(*) FROM delivery WHERE kind = 'reply' AND state = 'failed'") == 2


def test_a_reply_that_was_sent_can_not_be_cancelled(worker: Make, db: Database) -> None:
    w: Worker = worker()
    accepted = w.say()
    pump(w)
    assert w.cancel(accepted.turn_id) is None
    assert len(w.adapter.sends) == 1


@pytest.mark.parametrize("at", ["queued", "waiting for a call", "waiting for a retry"])
def test_cancelling_a_turn_that_nobody_works_on(worker: Make, runner: Make, db: Database, at: str) -> None:
    scripts: dict[str, list[Any]] = {
        "queued": [],
        "waiting for a call": [[bash()]],
        "waiting for a retry": [Transient("busy", retry_after=3600)],
    }
    w, r = worker(model=ScriptedModel(*scripts[at])), runner()
    accepted = w.say()
    if at != "queued":
        w.advance(accepted.thread_id)
    assert w.cancel(accepted.turn_id, "eve") == accepted.thread_id
    assert w.cancel(accepted.turn_id, "bob") is None, "it is flagged already"
    pump(w, r)
    assert turns(db) == [("cancelled", "Cancelled by eve.")]
    assert r.runtime.opened == []
    assert w.cancel(accepted.turn_id) is None, "it is finished"
    pump(w, r)
    assert_settled(db)
    event = rows(db, "SELECT trace, thread_id, turn_id, data FROM event WHERE kind = 'cancel_requested'")
    data = {"adapter": "note", "requester": "ada", "by": "eve", "via": "cli", "state": at.partition(" ")[0]}
    assert event == [(accepted.trace, accepted.thread_id, accepted.turn_id, data)]


def test_a_command_that_runs_is_stopped_when_its_turn_is_cancelled(worker: Make, runner: Make, db: Database) -> None:
    began = threading.Event()

    def run(_: str, cancel: Any) -> Executed:
        began.set()
        return Executed("", -9, "cancelled" if cancel.wait(30) else "timeout")

    w, r = worker(model=ScriptedModel([bash()])), runner(runtime=NoteRuntime(run))
    accepted = w.say()
    w.advance(accepted.thread_id)
    r.keeper.start()
    work = threading.Thread(target=r.work, args=(value(db, "SELECT id FROM sandbox"),))
    work.start()
    assert began.wait(30)
    w.cancel(accepted.turn_id)
    w.advance(accepted.thread_id)
    work.join(30)
    assert turns(db) == [("cancelled", "Cancelled by eve.")]
    assert value(db, "SELECT state FROM call") == "cancelled"
    pump(w, r)
    assert_settled(db)


# --- failures


def test_a_model_that_is_busy_is_asked_again_later(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(Transient("busy", retry_after=100), "at last"))
    accepted = w.say()
    w.advance(accepted.thread_id)
    row = "SELECT state, failed_attempts, retry_at - now() BETWEEN '95 s' AND '101 s' FROM turn"
    assert rows(db, row) == [("waiting", 1, True)]
    assert rows(db, "SELECT lease_owner, wake_at = (SELECT retry_at FROM turn) FROM thread") == [(None, True)]
    w.advance(accepted.thread_id)
    db.rows("UPDATE thread SET wake_at = now()")
    w.advance(accepted.thread_id)
    assert len(w.model.prompts) == 1, "not before its time, whoever wakes the lane"
    assert rows(db, "SELECT wake_at = (SELECT retry_at FROM turn) FROM thread") == [(True,)]
    db.rows("UPDATE turn SET retry_at = now()")
    db.rows("UPDATE thread SET wake_at = now()")
    w.advance(accepted.thread_id)
    assert rows(db, "SELECT state, answer, failed_attempts FROM turn") == [("done", "at last", 0)]
    assert_settled(db)


def test_a_message_does_not_cut_a_retry_short_and_is_taken_in_then(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(Transient("busy", retry_after=100), "at last"))
    accepted = w.say("one")
    w.advance(accepted.thread_id)
    w.say("two")
    w.advance(accepted.thread_id)
    assert len(w.model.prompts) == 1
    db.rows("UPDATE turn SET retry_at = now() WHERE state = 'waiting'")
    db.rows("UPDATE thread SET wake_at = now()")
    w.advance(accepted.thread_id)
    assert told(w, 1) == ["one", "two"]
    assert_settled(db)


def test_a_model_that_stays_busy_fails_the_turn(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(rule=Transient("busy", detail="HTTP 503")), task={"model_attempts": 3})
    w.say()
    for _ in range(5):
        db.rows("UPDATE turn SET retry_at = now() WHERE retry_at IS NOT NULL")
        db.rows("UPDATE thread SET wake_at = now()")
        pump(w)
    assert len(w.model.prompts) == 3
    assert rows(db, "SELECT state, answer, error FROM turn") == [
        ("failed", "Something went wrong: busy", "busy HTTP 503")
    ]
    assert w.adapter.sends[0].body["status"] == "failed"
    assert_settled(db)


@pytest.mark.parametrize("error", [Permanent("no such model", detail="HTTP 404"), ContextOverflow("too long")])
def test_what_does_not_pass_fails_at_once(worker: Make, db: Database, error: Exception) -> None:
    w: Worker = worker(model=ScriptedModel(error))
    w.advance(w.say().thread_id)
    assert turns(db) == [("failed", f"Something went wrong: {error}")]
    assert_settled(db)


def test_a_defect_of_ours_does_not_wedge_the_thread(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(ZeroDivisionError("by zero"), "again"))
    accepted = w.say()
    w.advance(accepted.thread_id)
    assert rows(db, "SELECT state, failed_attempts FROM turn") == [("waiting", 1)]
    assert value(db, "SELECT data ->> 'detail' FROM event WHERE kind = 'model_retry'") == "ZeroDivisionError('by zero')"
    db.rows("UPDATE turn SET retry_at = now()")
    db.rows("UPDATE thread SET wake_at = now()")
    w.advance(accepted.thread_id)
    assert turns(db) == [("done", "again")]


@pytest.mark.parametrize("poison", ["a\0b", "\ud800", "\udfff\ud800", "😀"])
def test_whatever_a_model_says_can_be_stored(worker: Make, db: Database, poison: str) -> None:
    asked = [call("nope", **{poison: [poison, float("nan"), float("-inf")]}), call("no" + poison)]
    w: Worker = worker(model=ScriptedModel(asked, f"said {poison}"))
    w.advance(w.say().thread_id)
    assert value(db, "SELECT state FROM turn") == "done"
    assert value(db, "SELECT answer FROM turn").startswith("said ")
    assert_settled(db)


def test_a_failed_turn_leaves_the_thread_to_the_next(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(Permanent("no")), task={"busy": "follow_up"})
    w.say("one")
    w.say("two")
    pump(w)
    assert turns(db) == [("failed", "Something went wrong: no"), ("done", "re: two")]
    assert_settled(db)


# --- compaction


LONG = "x" * 12_000


def test_a_long_transcript_is_summarised(worker: Make, db: Database) -> None:
    model = ScriptedModel(LONG, "in short", "second", context_window=4000)
    w: Worker = worker(model=model)
    w.advance(w.say("first question").thread_id)
    w.advance(w.say("second question").thread_id)
    summarise, asked = w.model.prompts[1:]
    assert "Summarise the conversation" in summarise.system
    assert not summarise.transcript
    assert "first question" not in told(w, 1)[0], "only as much as fits, and that is its end"
    assert len(told(w, 1)[0]) <= 8010
    (summary,) = asked.transcript
    assert summary["parts"][0]["content"].startswith("in short\n\nThe latest part, word for word:\n")
    assert told(w, 2) == ["second question"]
    assert rows(db, "SELECT seq, kind FROM entry ORDER BY seq") == [
        (1, "request"),
        (2, "response"),
        (3, "summary"),
        (4, "request"),
        (5, "response"),
    ]
    assert value(db, "SELECT context_from FROM thread") == 3
    assert turns(db) == [("done", LONG), ("done", "second")]
    w.advance(w.say("third question").thread_id)
    assert len(w.model.prompts[-1].transcript) == 3, "the summary and what came since"
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'transcript_compacted'") == 1
    assert_settled(db)


def test_a_prompt_that_does_not_fit_is_compacted_and_tried_once_more(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel("one", ContextOverflow("too long"), "in short", "two"))
    w.advance(w.say().thread_id)
    w.advance(w.say().thread_id)
    assert turns(db) == [("done", "one"), ("done", "two")]
    assert len(w.model.prompts[-1].transcript) == 1
    assert_settled(db)


def test_a_prompt_that_fits_not_even_then_fails(worker: Make, db: Database) -> None:
    overflow = ContextOverflow("too long")
    w: Worker = worker(model=ScriptedModel("one", overflow, "in short", overflow))
    w.advance(w.say().thread_id)
    w.advance(w.say().thread_id)
    assert turns(db) == [("done", "one"), ("failed", "Something went wrong: too long")]
    pump(w)
    assert_settled(db)


def test_results_of_calls_that_were_summarised_are_told_as_text(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel(LONG, [bash("one")], "in short", "done", context_window=4000)), runner()
    w.advance(w.say().thread_id)
    w.model.context_window = 100_000
    w.say()
    pump(w)
    w.model.context_window = 4000
    pump(w, r)
    assert w.model.prompts[-1].new == [UserText("Result of bash:\none")]
    assert turns(db)[-1] == ("done", "done")
    assert_settled(db)


def test_a_process_that_dies_after_compaction_is_followed_by_one_that_has_the_summary(
    worker: Make, db: Database
) -> None:
    died: Worker = worker(model=ScriptedModel(LONG, "in short", lambda *_: die(), context_window=4000))
    died.advance(died.say().thread_id)
    accepted = died.say()
    with pytest.raises(Died):
        died.advance(accepted.thread_id)
    expire(db, "thread", accepted.thread_id)
    w: Worker = worker(model=ScriptedModel("again", context_window=4000))
    pump(w)
    assert [len(prompt.transcript) for prompt in w.model.prompts] == [1]
    assert_settled(db)


# --- drain


def test_a_worker_that_drains_stops_at_the_next_step_border(worker: Make, db: Database) -> None:
    w: Worker = worker()
    w.model.script = [draining(w, [call("nope")])]
    accepted = w.say()
    w.advance(accepted.thread_id)
    assert len(w.model.prompts) == 1
    assert rows(db, "SELECT state, step_count FROM turn") == [("running", 1)]
    assert rows(db, "SELECT lease_owner, wake_at <= now() FROM thread") == [(None, True)]
    other: Worker = worker()
    pump(other)
    assert len(other.model.prompts) == 1
    assert_settled(db)


def test_a_worker_told_to_stop_gives_the_lane_back_where_it_stands(worker: Make, db: Database) -> None:
    model = WaitingModel()
    w: Worker = worker(model=model)
    accepted = w.say()
    work = threading.Thread(target=w.advance, args=(accepted.thread_id,))
    work.start()
    assert model.asked.wait(30)
    w.draining.set()
    w.keeper.stop_all()
    work.join(30)
    assert rows(db, "SELECT lease_owner, wake_at <= now() FROM thread") == [(None, True)]
    assert value(db, "SELECT state FROM turn") == TurnState.RUNNING
    w.advance(accepted.thread_id)
    assert not model.prompts, "a worker that drains takes no lane"
    pump(worker())
    assert_settled(db)


def test_facts_are_not_older_than_the_lane(worker: Make, db: Database) -> None:
    """What was accepted while the taker waited for the row is in the facts that it works with."""
    w: Worker = worker()
    accepted = w.say("one")
    held: list[Any] = []
    taking = threading.Thread(target=lambda: held.append(take(w.db, w.keeper, accepted.thread_id)))
    with db.transaction() as connection:
        connection.execute(compiled(ACCEPT), parameters(inbound("two"), uuid7(), 2**31))
        taking.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = :name"
        wait_until(lambda: value(db, waits, name=f"heyfleet {w.name}"))
    taking.join(30)
    texts = [turn.messages[0]["text"] for turn in held[0].facts.turns]
    assert texts == ["one", "two"]


# --- a worker that does not have the adapter: the fleet is being given another configuration


def other_adapter(name: str) -> NoteAdapter:
    adapter = NoteAdapter()
    adapter.name = name
    return adapter


def test_a_turn_is_left_to_the_workers_that_have_its_adapter(worker: Make, db: Database) -> None:
    w: Worker = worker(adapter=other_adapter("another"))
    accepted = w.say()
    w.advance(accepted.thread_id)
    assert w.model.prompts == []
    assert value(db, "SELECT wake_at - now() BETWEEN '4 s' AND '5 s' FROM thread")
    db.rows("UPDATE thread SET wake_at = now()")
    has_it: Worker = worker()
    has_it.advance(accepted.thread_id)
    assert [sent.body["text"] for sent in has_it.adapter.sends] == ["re: hello"]
    assert_settled(db)


def test_a_turn_whose_adapter_nobody_has_fails_without_a_model_request(worker: Make, db: Database) -> None:
    w: Worker = worker(adapter=other_adapter("another"))
    accepted = w.say(reply={})
    db.rows("UPDATE turn SET created_at = now() - interval '10 minutes'")
    w.advance(accepted.thread_id)
    why = "no adapter is named note: it was taken out of the configuration"
    assert rows(db, "SELECT state, error FROM turn") == [("failed", why)]
    assert w.model.prompts == []
    assert_settled(db)
