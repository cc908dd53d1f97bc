"""Wakes and the sweeper: no work is left lying, whatever wake was lost and whenever it came."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import UUID

import pytest

from app import runners, sweep
from app.db import Database
from app.errors import Transient
from app.queue import Wakes
from app.results import Retry
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, TrustedTool, bash
from tests.db.processes import together
from tests.db.rows import LANES, assert_settled, expire, pump, rows, value
from tests.db.stations import Runner, Worker, say
from tests.db.test_interleavings import obliging
from tests.db.wakes_seen import forget_wakes, woken

Make = Callable[..., Any]


def pass_time(db: Database, seconds: float) -> None:
    """For everything that waits for its time."""
    for table in LANES:
        db.rows(f"UPDATE {table} SET wake_at = wake_at - make_interval(secs => :seconds)", seconds=seconds)
        db.rows(f"UPDATE {table} SET lease_until = lease_until - make_interval(secs => :seconds)", seconds=seconds)
    for table, column in (("turn", "retry_at"), ("delivery", "due_at"), ("role", "lease_until")):
        db.rows(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds)", seconds=seconds)


def sweep_with(db: Database, worker: Worker, seconds: float = 5) -> int:
    pass_time(db, seconds)
    return worker.sweeper.sweep()


def sweep_at_once(db: Database, worker: Worker) -> int:
    """Sweep what asks to be woken since just now: sooner than a wake is given to arrive, however busy the machine."""
    for _ in range(100):
        for table in LANES:
            db.rows(f"UPDATE {table} SET wake_at = greatest(wake_at, now()) WHERE wake_at IS NOT NULL")
        began = time.monotonic()
        found = worker.sweeper.sweep()
        if time.monotonic() - began < sweep.GRACE / 2:
            return found
    raise AssertionError("the machine is too busy for this test")


def test_a_wake_that_was_never_sent_is_made_up_for(worker: Make, db: Database, redis_url: str) -> None:
    w: Worker = worker()
    accepted = w.say()
    assert sweep_with(db, w) == 1
    assert woken(redis_url, "turns") == [str(accepted.thread_id)]
    w.advance(accepted.thread_id)
    assert_settled(db)


def test_each_lane_is_woken_in_its_queue(worker: Make, runner: Make, db: Database, redis_url: str) -> None:
    runner()
    w: Worker = worker(model=ScriptedModel(rule=obliging), tools={"pay": TrustedTool("pay")}, delivers=False)
    w.advance(w.say("run one").thread_id)
    w.advance(w.say("hello", thread="u").thread_id)
    forget_wakes(redis_url)
    assert sweep_with(db, w) == 2
    assert woken(redis_url, "runtime.virtual") == [str(value(db, "SELECT id FROM sandbox"))]
    assert woken(redis_url, "deliveries") == [str(value(db, "SELECT id FROM destination"))]


@pytest.mark.parametrize("why", ["none ever was", "stopped", "silent", "offers another runtime"])
def test_a_sandbox_that_no_runner_offers_is_not_woken(worker: Make, runner: Make, db: Database, why: str) -> None:
    """A wake for nobody would lie in its queue for ever, and another with each sweep."""
    if why != "none ever was":
        r: Runner = runner(runtime=NoteRuntime(name="other" if why.startswith("offers") else "virtual"))
    if why == "stopped":
        runners.stopped(r.db, "r1", r.name)
    elif why == "silent":
        db.rows("UPDATE runner SET heartbeat_at = now() - interval '46 seconds'")
    w: Worker = worker(model=ScriptedModel([bash()]))
    w.advance(w.say().thread_id)
    assert sweep_with(db, w) == 0
    runner(runner_id="r2")
    assert sweep_with(db, w) == 1


def test_a_folders_sandbox_is_woken_where_its_folder_is_and_anywhere(
    worker: Make, runner: Make, db: Database, redis_url: str
) -> None:
    """The runner that it is tied to may be dead, and another of the folder then takes it from the common queue."""
    runner(runner_id="r1", workspace="theirs", runtime=NoteRuntime(name="other"))
    runner(runner_id="r2", workspace="theirs")
    w: Worker = worker(model=ScriptedModel([bash()]))
    w.advance(w.say().thread_id)
    db.rows("UPDATE sandbox SET workspace_id = 'theirs', runner_id = 'r1'")
    forget_wakes(redis_url)
    sweep_with(db, w)
    sandbox = str(value(db, "SELECT id FROM sandbox"))
    assert woken(redis_url, "runtime.virtual") == woken(redis_url, "runtime.virtual@r2") == [sandbox]


def test_a_wake_gets_time_to_arrive_before_it_is_taken_for_lost(worker: Make, db: Database) -> None:
    w: Worker = worker()
    w.say()
    assert sweep_at_once(db, w) == 0
    assert sweep_with(db, w) == 1
    assert value(db, "SELECT wake_at > now() - interval '4 seconds' FROM thread"), "the wake is on its way"
    assert sweep_with(db, w) == 1, "it was lost too"


def test_what_is_held_or_not_due_or_done_is_left_alone(worker: Make, db: Database) -> None:
    holder: Worker = worker(model=ScriptedModel(Transient("busy", retry_after=3600)))
    held, later, done = (holder.say(thread=name) for name in ("held", "later", "done"))
    holder.advance(later.thread_id)
    holder.advance(done.thread_id)
    db.rows("UPDATE thread SET lease_until = now() + interval '1 hour' WHERE id = :id", id=held.thread_id)
    assert sweep_with(db, worker()) == 0


def test_the_lane_of_a_process_that_died_is_woken(worker: Make, db: Database, redis_url: str) -> None:
    w: Worker = worker()
    accepted = w.say()
    db.rows("UPDATE thread SET lease_owner = 'gone', lease_token = 1, lease_until = now() + interval '1 hour'")
    assert sweep_with(db, w) == 0
    assert sweep_with(db, w, 3600) == 1
    assert woken(redis_url, "turns") == [str(accepted.thread_id)]


def test_due_retries_are_woken(worker: Make, db: Database, redis_url: str) -> None:
    adapter = NoteAdapter(Retry("not now", 30))
    w: Worker = worker(model=ScriptedModel(Transient("busy", retry_after=60)), adapter=adapter)
    turn, delivery = w.say(), w.say(thread="u")
    w.advance(turn.thread_id)
    w.advance(delivery.thread_id)
    assert sweep_with(db, w, 20) == 0
    assert sweep_with(db, w, 20) == 1
    assert woken(redis_url, "deliveries") == [str(value(db, "SELECT id FROM destination"))]
    assert sweep_with(db, w, 40) == 2
    assert woken(redis_url, "turns") == [str(turn.thread_id)]
    pump(w)
    assert_settled(db)


def test_lanes_of_dead_holders_come_first(worker: Make, db: Database, redis_url: str) -> None:
    w: Worker = worker()
    for n in range(sweep.MOST + 5):
        w.say(thread=f"t{n}")
    last = w.say(thread="last")
    expire(db, "thread", last.thread_id)
    assert sweep_with(db, w) == sweep.MOST
    assert str(last.thread_id) in woken(redis_url, "turns")
    assert w.sweeper.sweep() >= 6, "the rest is woken by the next"
    assert len(set(woken(redis_url, "turns"))) == sweep.MOST + 6


def test_one_of_the_fleet_sweeps(worker: Make, db: Database) -> None:
    first, second = worker(lease=LONG_LEASE), worker(lease=LONG_LEASE)
    first.say()
    assert sweep_with(db, first) == 1
    assert sweep_with(db, second) == 0, "the first leads"
    assert sweep_with(db, first) == 1
    expire_role(db)
    assert sweep_with(db, second) == 1, "it has taken the lead"


def test_a_sweeper_that_lost_its_lead_wakes_nothing(worker: Make, db: Database) -> None:
    first, second = worker(lease=LONG_LEASE), worker(lease=LONG_LEASE)
    first.sweeper.sweep()
    expire_role(db)
    second.sweeper.sweep()
    second.say()
    assert sweep_with(db, first) == 0, "it has not noticed yet, but the row has"
    assert sweep_with(db, second) == 1


LONG_LEASE = {"ttl": "1h", "renew": "5s", "sweep": "2s"}


def expire_role(db: Database) -> None:
    db.rows("UPDATE role SET lease_until = now() - interval '1 second'")


def test_with_redis_away_nothing_is_lost(worker: Make, db: Database, redis_url: str) -> None:
    w: Worker = worker()
    w.say()
    there = w.sweeper.wakes
    away = w.sweeper.wakes = Wakes("redis://127.0.0.1:1/0")
    began = time.monotonic()
    assert sweep_with(db, w) == 0
    assert time.monotonic() - began < 5, "it does not wait for Redis to come back"
    away.close()
    w.sweeper.wakes = there
    assert sweep_with(db, w) == 1
    assert len(woken(redis_url, "turns")) == 1


def test_a_turn_ends_with_redis_away(db: Database, database_url: str) -> None:
    w = Worker(database_url, "redis://127.0.0.1:1/0", task={"busy": "follow_up"})
    w.model.script = [lambda *_: (say(db, "more"), "first")[1]]
    w.advance(w.say().thread_id)
    pump(w)
    assert_settled(db)
    w.close()


# --- work that comes at any time, from many processes


THREADS, MESSAGES, WORKERS, SPEAKERS = 6, 60, 3, 2
NEGLECTED = """
    SELECT thread.key, turn.state, turn.open_calls, turn.retry_at FROM thread JOIN turn ON turn.thread_id = thread.id
    WHERE turn.state IN ('queued', 'running', 'waiting') AND thread.wake_at IS NULL AND thread.lease_until IS NULL
        AND NOT EXISTS (SELECT 1 FROM turn AS current JOIN call ON call.turn_id = current.id
            WHERE current.thread_id = thread.id AND call.state IN ('queued', 'running') AND call.place = 'runner')
    UNION ALL
    SELECT 'sandbox', call.state, 0, NULL FROM sandbox JOIN call ON call.sandbox_id = sandbox.id
    WHERE call.state IN ('queued', 'running') AND sandbox.wake_at IS NULL AND sandbox.lease_until IS NULL
    UNION ALL
    SELECT 'destination', delivery.state, 0, NULL
    FROM destination JOIN delivery ON delivery.destination_id = destination.id
    WHERE delivery.state IN ('pending', 'sending')
        AND destination.wake_at IS NULL AND destination.lease_until IS NULL"""


def speak(worker: Worker, rng: random.Random, threads: list[str]) -> None:
    """Messages, some of which ask for calls, and cancellations of turns that may be anywhere."""
    for n in range(MESSAGES):
        said = worker.say(rng.choice(["hello", "run it", "run that"]) + f" {n}", thread=rng.choice(threads))
        if rng.random() < 0.2:
            worker.cancel(said.turn_id)
        elif rng.random() < 0.5:
            worker.advance(said.thread_id)


def pump_some(worker: Worker, runner: Runner, rng: random.Random, done: Callable[[], bool]) -> None:
    """Go for lanes at random, as wakes that come early, late and twice do."""
    while not done():
        table = rng.choice(LANES)
        lanes: list[UUID] = [lane for (lane,) in rows(worker.db, f"SELECT id FROM {table}")]
        for lane in rng.sample(lanes, min(3, len(lanes))):
            {"thread": worker.advance, "destination": worker.deliver, "sandbox": runner.work}[table](lane)


def take_part(barrier: Barrier, database_url: str, redis_url: str, number: int) -> dict[str, Any]:
    rng, pay, adapter = random.Random(number), TrustedTool("pay"), NoteAdapter()
    worker = Worker(database_url, redis_url, model=ScriptedModel(rule=obliging), tools={"pay": pay}, adapter=adapter)
    runner = Runner(database_url, redis_url, runner_id=f"r{number}")
    ran: list[str] = []
    runner.runtime.on_exec = lambda command, _: ran.append(command)
    barrier.wait()
    if number < SPEAKERS:
        speak(worker, rng, [f"t{n}" for n in range(THREADS)])
        db_done(worker.db, number)
    else:
        pump_some(worker, runner, rng, lambda: all_spoke(worker.db))
    worker.close()
    runner.close()
    return {"paid": pay.runs, "ran": ran, "sent": [delivery.id for delivery in adapter.sends]}


def db_done(db: Database, number: int) -> None:
    db.rows("INSERT INTO move_seen (kind, was) VALUES ('spoke', :number)", number=str(number))


def all_spoke(db: Database) -> bool:
    return bool(value(db, "SELECT count(*) FROM move_seen WHERE kind = 'spoke'") == SPEAKERS)


def test_no_work_is_left_lying_under_load(
    worker: Make, runner: Make, db: Database, database_url: str, redis_url: str
) -> None:
    """No sweeper runs here: a lane that has work and neither a holder nor a time to wake would lie for ever."""
    each = [(database_url, redis_url, number) for number in range(SPEAKERS + WORKERS)]
    found = together(take_part, *each)
    assert rows(db, NEGLECTED) == []
    pay, adapter = TrustedTool("pay"), NoteAdapter()
    w: Worker = worker(model=ScriptedModel(rule=obliging), tools={"pay": pay}, adapter=adapter)
    pump(w, runner(), most=2000)
    assert rows(db, NEGLECTED) == []
    assert_settled(db)
    assert value(db, "SELECT count(*) FROM message WHERE direction = 'in'") == MESSAGES * SPEAKERS
    for what, here in (("paid", pay.runs), ("sent", [delivery.id for delivery in adapter.sends])):
        everywhere = [each for part in found for each in part[what]] + here
        assert len(everywhere) == len(set(everywhere)), f"nothing is {what} twice"
    assert value(db, "SELECT count(*) FROM delivery WHERE state <> 'sent'") == 0
    started = rows(
        db,
        "SELECT thread_id, seq FROM turn WHERE absorbed_by IS NULL AND started_at IS NOT NULL"
        " ORDER BY thread_id, started_at, seq",
    )
    assert started == sorted(started), "turns of a thread begin in the order in which they were accepted"


def test_a_lane_that_is_given_back_with_work_is_woken(worker: Make, db: Database, redis_url: str) -> None:
    """A message that comes while the model speaks: the holder's own wake, not only the sweeper, brings it on."""
    w: Worker = worker(task={"busy": "follow_up"})
    accepted = w.say()
    w.model.script = [lambda *_: (say(db, "more"), "first")[1]]
    w.advance(accepted.thread_id)
    assert woken(redis_url, "turns") == [str(accepted.thread_id)]
    pump(w)
    assert_settled(db)
