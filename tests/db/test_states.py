"""The table of moves is what the code does: no other move is made, and none of it is made up.

Every test of this folder runs with a trigger that raises on a move that is not in the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError, ProgrammingError

from app import approvals, calls, redelivery
from app.control.desk import Order, answer, lapse
from app.db import Database
from app.errors import Permanent, Transient
from app.jobs import hands
from app.jobs.firing import fire_targets
from app.policy.people import Person
from app.results import Ambiguous, Failed, Retry
from app.states import ApprovalState, CallState, DeliveryState, JobRunState, JobState, TurnState
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, TrustedTool, bash, call
from tests.db.guards import MOVES, allowed_moves, unguarded
from tests.db.interleaving import Intrusion
from tests.db.rows import expire, pump, rows, value
from tests.db.schedules import HOUR, installed, job_of, pass_time, spec
from tests.db.stations import Runner, Worker, say

Make = Callable[..., Any]

FIRST = {
    ("call", "", "awaiting_approval"),
    ("call", "", "blocked"),
    ("call", "", "denied"),
    ("approval", "", "pending"),
    ("turn", "", "queued"),
    ("call", "", "queued"),
    ("call", "", "running"),
    ("call", "", "failed"),
    ("delivery", "", "pending"),
    ("job", "", "active"),
    ("job", "", "paused"),
    ("job_run", "", "queued"),
    ("job_run", "", "skipped"),
}


def every_end_of_a_turn(worker: Make, runner: Make, db: Database, database_url: str) -> None:
    pay = TrustedTool("pay")
    asked = [bash("one"), call("pay"), call("nope")]
    w: Worker = worker(model=ScriptedModel(asked), tools={"pay": pay}, task={"max_steps": 2, "model_attempts": 2})
    r: Runner = runner()
    w.say(thread="done")
    w.say(thread="done")
    pump(w, r)
    w.model.script = [Permanent("no")]
    pump_one(w, "failed")
    w.model.script = [Transient("busy"), Permanent("no")]
    pump_one(w, "failed while it waited")
    due(db)
    pump(w)
    w.model.script = [Transient("busy")]
    pump_one(w, "cancelled while it waited")
    w.cancel(value(db, "SELECT id FROM turn WHERE state = 'waiting'"))
    pump(w)
    w.cancel(w.say(thread="cancelled at once").turn_id)
    pump(w)
    for end in ("done", Permanent("no")):
        # The runner's result is the last to come, right before the holder looks again.
        w.model.script = [[bash("two"), call("pay")], end]
        accepted = w.say(thread=f"overtaken {end}")
        with Intrusion(4, "before", lambda: pump(w, r), database_url).on(w.db.engine):
            w.advance(accepted.thread_id)


def pump_one(worker: Worker, thread: str) -> None:
    worker.advance(worker.say(thread=thread).thread_id)


def due(db: Database) -> None:
    db.rows("UPDATE turn SET retry_at = now() WHERE retry_at IS NOT NULL")
    db.rows("UPDATE delivery SET due_at = now()")
    for table in ("thread", "destination"):
        db.rows(f"UPDATE {table} SET wake_at = now() WHERE wake_at IS NOT NULL")


def every_end_of_a_call(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(rule=[call("read", path="x"), bash("fails")]), task={"max_steps": 1})

    def fail(command: str, _: Any) -> None:
        raise Permanent(command)

    dead, r = runner(runner_id="dead", side_by_side=2), runner(runtime=NoteRuntime(fail))
    for thread in ("orphans", "cancelled", "cancelled while it runs"):
        pump_one(w, thread)
    sandboxes = dict(
        rows(
            db,
            "SELECT thread.key, sandbox_id FROM call JOIN turn ON turn.id = turn_id"
            " JOIN thread ON thread.id = thread_id",
        )
    )
    claims = {
        thread: calls.take(dead.db, sandboxes[thread], dead.place, owner="dead", warm_generation=-1)
        for thread in ("orphans", "cancelled while it runs")
    }
    for turn, key in rows(
        db, "SELECT turn.id, key FROM turn JOIN thread ON thread.id = thread_id WHERE open_calls > 0"
    ):
        if key.startswith("cancelled"):
            w.cancel(turn)
    pump(w)
    expire(db, "sandbox", sandboxes["orphans"])
    r.work(sandboxes["orphans"])
    pump_one(w, "fails")
    pump(w, r)
    sandbox, claim = sandboxes["cancelled while it runs"], claims["cancelled while it runs"]
    assert claim
    lease = dead.keeper.hold("sandbox", sandbox, claim.token, time.monotonic())
    ended = [calls.Ended(call, CallState.CANCELLED, "") for call in claim.calls]
    calls.finish(dead.db, sandbox, claim, ended, lease, snapshot=None)


def every_end_of_a_delivery(worker: Make, db: Database) -> None:
    plan: list[Any] = [Retry("later"), Failed("no"), Ambiguous("?")]
    w: Worker = worker(adapter=NoteAdapter(*plan, in_doubt="flag"), delivers=False)
    for n in range(4):
        w.advance(w.say(thread=f"d{n}", reply={"to": "x"}).thread_id)
    destination = value(db, "SELECT id FROM destination WHERE address = 'x'")
    w.deliver(destination)
    due(db)
    w.deliver(destination)
    for state in ("failed", "ambiguous"):
        redelivery.retry(w.db, rows(db, "SELECT id FROM delivery WHERE state = :state", state=state)[0][0])
    pump(w)


def every_end_of_an_approval(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf x"), bash("rm -rf y"), bash("rm -rf z"), bash("reboot")]))
    accepted = w.say(thread="asked")
    w.advance(accepted.thread_id)
    first, second, _ = (row.code for row in approvals.pending_of(db, accepted.turn_id))
    order = Order(Person("eve"), "note", "note")
    answer(w.desk, order, first, "approve")
    answer(w.desk, order, second, "deny")
    db.rows("UPDATE approval SET expires_at = now() WHERE state = 'pending'")
    lapse(w.desk)
    w.model.script = [[bash("rm -rf x")]]
    pump(w, runner())
    w.cancel(accepted.turn_id)
    pump(w)
    nobody: Worker = worker(
        model=ScriptedModel([bash("rm -rf x")]),
        adapters=[{"kind": "local", "name": "note", "permissions": {"approvers": {"users": []}}}],
    )
    nobody.say(thread="nobody answers")
    pump(nobody)
    late: Worker = worker(adapter=NoteAdapter(Retry("busy")))
    accepted = late.say(thread="withdrawn")
    late.advance(accepted.thread_id)
    late.cancel(accepted.turn_id)
    pump(late)


def every_end_of_a_run(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf x")], "done", Permanent("no")))
    w.say(thread="asked")
    pump(w)
    installed(db, spec(at=("asked", "done", "failed", "queued")), spec("off", state="paused"))
    pass_time(db, HOUR)
    fire_targets(db)
    db.rows("UPDATE job_run SET due_at = due_at + interval '1 hour' WHERE target = 'note:queued'")
    limited: Worker = worker(model=w.model, jobs={"max_concurrent_targets": 3})
    assert limited.admit() == 3
    hands.pause(db, job_of(db), "eve")
    pump(w)
    hands.resume(db, job_of(db), "eve")
    hands.run_now(db, job_of(db), "eve")
    hands.run_now(db, job_of(db), "eve")


def test_every_move_of_the_table_is_made_and_no_other(
    worker: Make, runner: Make, db: Database, database_url: str
) -> None:
    every_end_of_a_turn(worker, runner, db, database_url)
    every_end_of_a_call(worker, runner, db)
    every_end_of_a_delivery(worker, db)
    every_end_of_an_approval(worker, runner, db)
    every_end_of_a_run(worker, db)
    seen = set(rows(db, "SELECT DISTINCT kind, was, became FROM move_seen"))
    assert {move for move in seen if not move[1]} == FIRST
    assert {move for move in seen if move[1]} == allowed_moves()


def test_the_guard_of_these_tests_works(db: Database) -> None:
    say(db)
    db.rows("UPDATE turn SET state = 'running'")
    with pytest.raises(ProgrammingError, match="a turn may not move from running to queued"):
        db.rows("UPDATE turn SET state = 'queued'")


@pytest.mark.parametrize("table", sorted(MOVES))
@pytest.mark.parametrize("state", ["", "DONE", "nonsense", "done "])
def test_an_unknown_state_is_refused_by_the_database(
    worker: Make, db: Database, database_url: str, table: str, state: str
) -> None:
    w: Worker = worker(model=ScriptedModel([bash(), bash("rm -rf x")]), delivers=False)
    w.advance(w.say().thread_id)
    pump_one(w, "u")
    installed(db, spec())
    hands.run_now(db, job_of(db), "eve")
    assert rows(db, f"SELECT 1 FROM {table}"), "there is a row to change"
    with unguarded(database_url) as connection, pytest.raises(psycopg.IntegrityError, match=f"ck_{table}_state"):
        connection.execute(f"UPDATE {table} SET state = %s", (state,))


STATES = [
    ("turn", TurnState),
    ("call", CallState),
    ("delivery", DeliveryState),
    ("approval", ApprovalState),
    ("job", JobState),
    ("job_run", JobRunState),
]


@pytest.mark.parametrize(("table", "states"), STATES)
def test_every_known_state_is_taken_by_the_database(db: Database, table: str, states: Any) -> None:
    constraint = value(
        db, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name", name=f"ck_{table}_state"
    )
    assert all(f"'{state.value}'" in constraint for state in states)
    assert constraint.count("'::text") == len(states)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "INSERT INTO call (id, turn_id, step_n, ordinal, tool_call_id, tool, args, place, idempotent, state)"
            " VALUES (:id, :turn, 1, 0, '', '', '{}', 'elsewhere', true, 'queued')",
            "ck_call_place",
        ),
        (
            "INSERT INTO message (id, thread_id, turn_id, direction, actor, text)"
            " VALUES (:id, :thread, :turn, 'up', '', '')",
            "ck_message_direction",
        ),
        (
            "INSERT INTO entry (thread_id, seq, turn_id, kind, format, body)"
            " VALUES (:thread, 1, :turn, 'other', 1, '{}')",
            "ck_entry_kind",
        ),
        (
            "INSERT INTO turn (id, thread_id, seq, adapter, state, actor, trace)"
            " VALUES (:id, :thread, 1, '', 'queued', '', '')",
            "uq_turn_thread_id_seq",
        ),
        ("INSERT INTO receipt (adapter, event_key, turn_id) VALUES ('note', 'e1', :turn)", "pk_receipt"),
        ("INSERT INTO receipt (adapter, event_key, turn_id) VALUES ('note', 'e2', :id)", "fk_receipt_turn_id"),
        (
            "INSERT INTO thread (id, agent, adapter, key, channel) VALUES (:id, 'default', 'note', 't', '')",
            "uq_thread_agent_adapter_team_key",
        ),
    ],
)
def test_the_database_forbids_the_impossible(db: Database, statement: str, constraint: str) -> None:
    accepted = say(db, event_key="e1")
    with pytest.raises(IntegrityError, match=constraint):
        db.rows(statement, id=uuid4(), turn=accepted.turn_id, thread=accepted.thread_id)
