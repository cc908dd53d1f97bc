"""Runs: turns like others, as many at once as are allowed, and each ended with its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from app.approvals import pending
from app.config.jobs import Jobs
from app.control.desk import Order, answer
from app.db import Database
from app.errors import HeyfleetError, Permanent, Refused
from app.inbox import accept
from app.jobs.admitting import PORTION, Admission, admit, claim, start, tidy
from app.jobs.firing import fan_out, fire_targets
from app.policy.people import Person
from app.queue import TURNS, Wakes
from app.turns.advance import advance
from app.turns.pace import Pace
from tests.db.doubles import NoteAdapter, ScriptedModel, WaitingModel, bash
from tests.db.guards import unguarded
from tests.db.processes import together
from tests.db.rows import assert_settled, pump, rows, value
from tests.db.schedules import HOUR, installed, outcomes, over, pass_time, runs, spec
from tests.db.stations import Runner, Worker, inbound
from tests.db.wakes_seen import woken

Make = Callable[..., Any]


WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event <> 'advisory'"""


class ThreadAdapter(NoteAdapter):
    """Replies go to the thread itself, as the local adapter's do."""

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:
        return thread_key


def due(db: Database, *specs: Any) -> None:
    installed(db, *specs)
    pass_time(db, HOUR)
    fire_targets(db)
    fan_out(db)


def said(w: Worker) -> list[Any]:
    return [sent.body["text"] for sent in w.adapter.sends]


# --- turns like others


def test_a_run_is_a_turn_on_its_target_s_thread(worker: Make, db: Database) -> None:
    w: Worker = worker()
    w.advance(w.say("hello", thread="ops").thread_id)
    due(db, spec(model="other/model"))
    assert w.admit() == 1
    assert runs(db, "state, started_at IS NOT NULL, turn_id IS NOT NULL") == [("running", True, True)]
    pump(w)
    assert said(w) == ["re: hello", "re: do round"]
    prompt = w.model.prompts[1]
    assert len(prompt.transcript) == 2, "the same history"
    assert "The job round started this by its schedule" in prompt.system
    assert "sender" not in prompt.system
    assert w.models_named == [None, "other/model"]
    assert runs(db, "state, error, ended_at IS NOT NULL") == [("done", None, True)]
    turn = rows(db, "SELECT actor, job ->> 'name', job ->> 'kind', job ->> 'run' FROM turn WHERE job IS NOT NULL")
    assert turn == [("job:round", "round", "cron", str(value(db, "SELECT id FROM job_run")))]
    receipt = "SELECT count(*) FROM receipt JOIN job_run ON event_key = CAST(job_run.id AS text)"
    assert value(db, receipt) == 1
    assert_settled(db)


def test_silence_is_recorded_and_not_delivered(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(" [SILENT]\n", "I said: [SILENT]"))
    due(db, spec(at=("ops", "dev")))
    w.admit()
    pump(w)
    assert said(w) == ["I said: [SILENT]"]
    assert rows(db, "SELECT DISTINCT state FROM job_run") == [("done",)]
    assert value(db, "SELECT count(*) FROM message WHERE text = '[SILENT]' AND direction = 'out'") == 1
    assert_settled(db)


def test_a_person_who_says_silent_things_is_answered(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel("[SILENT]"))
    w.say(thread="ops")
    pump(w)
    assert said(w) == ["[SILENT]"]


def test_whoever_writes_while_a_job_s_turn_runs_gets_a_turn_of_their_own(
    worker: Make, runner: Make, db: Database
) -> None:
    w: Worker = worker(model=ScriptedModel([bash()], "[SILENT]", "yours"), adapter=ThreadAdapter())
    due(db, spec(model="other/model"))
    w.admit()
    w.advance(value(db, "SELECT id FROM thread"))
    w.say("and me?", thread="ops")
    pump(w, runner())
    assert said(w) == ["yours"]
    assert "sender: ada" in w.model.prompts[-1].system
    assert w.models_named[-1] is None
    assert_settled(db)


def test_a_job_is_not_mixed_into_what_people_ask(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash()], "yours", "the job's"))
    w.advance(w.say("hello", thread="ops").thread_id)
    due(db, spec())
    w.admit()
    pump(w, runner())
    assert said(w) == ["yours", "the job's"]
    assert runs(db, "state") == [("done",)]
    assert_settled(db)


def test_a_failed_turn_is_a_failed_run_and_said_where_somebody_counts_on_it(worker: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel(rule=Permanent("no such model")), adapter=ThreadAdapter())
    w.say("hello", thread="t")
    pump(w)
    due(db, spec(), spec("threads", scope=over()))
    w.admit()
    pump(w)
    assert sorted(sent.address for sent in w.adapter.sends) == ["ops", "t"], "the cron job, and the person"
    assert runs(db, "state, error") == [("failed", "no such model ")] * 2
    assert_settled(db)


def test_a_cancelled_turn_is_a_failed_run(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash()]), adapter=ThreadAdapter())
    due(db, spec(at=("queued", "waiting")))
    w.admit()
    w.advance(value(db, "SELECT id FROM thread WHERE key = 'waiting'"))
    for (turn,) in rows(db, "SELECT id FROM turn"):
        w.cancel(turn)
    pump(w, runner())
    assert runs(db, "state, error") == [("failed", "cancelled by eve")] * 2
    assert said(w) == ["Cancelled by eve."] * 2
    assert_settled(db)


def test_a_run_on_a_thread_that_waits_for_people_is_skipped(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf x")], "done"))
    w.advance(w.say("hello", thread="ops").thread_id)
    due(db, spec())
    w.admit()
    pump(w)
    why = "an earlier turn of its thread waits for an approval"
    assert runs(db, "state, error") == [("skipped", why)]
    assert len(said(w)) == 1, "the card, and nothing about the job"
    (asked,) = pending(db)
    answer(w.desk, Order(Person("eve"), "note", "note"), asked.code, "approve")
    pump(w, runner())
    assert said(w)[-1] == "done"
    assert_settled(db)


def test_a_run_may_ask_for_approvals(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf x")], "done"))
    r: Runner = runner()
    due(db, spec())
    w.admit()
    pump(w, r)
    (asked,) = pending(db)
    assert asked.requester == "job:round"
    answer(w.desk, Order(Person("eve"), "note", "note"), asked.code, "approve")
    pump(w, r)
    assert said(w)[-1] == "done"
    assert runs(db, "state") == [("done",)]
    assert_settled(db)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ({"adapter": "note", "kind": "user", "name": "ada"}, "the adapter note can't be spoken to first"),
    ],
)
def test_a_target_that_can_t_be_reached_fails_its_run(worker: Make, db: Database, place: Any, why: str) -> None:
    w: Worker = worker()
    due(db, spec(targets=(place,)))
    assert w.admit() == 0
    assert runs(db, "state, error") == [("failed", why)]
    assert value(db, "SELECT data ->> 'error' FROM event WHERE kind = 'job_run_failed'") == why
    assert_settled(db)


def test_a_run_for_an_adapter_that_a_process_lacks_is_left_to_others_for_a_while(worker: Make, db: Database) -> None:
    """One that was just added, in a fleet whose processes are started anew one by one."""
    w: Worker = worker()
    due(db, spec(targets=({"adapter": "new", "kind": "channel", "name": "ops"},)), spec("mine"))
    assert w.admit() == 1
    tidy(w.admission)
    assert dict(runs(db, "target, state")) == {"new:ops": "queued", "note:ops": "running"}
    db.rows("UPDATE job_run SET created_at = created_at - interval '2 hours'")
    tidy(w.admission)
    found = rows(db, "SELECT state, error FROM job_run WHERE adapter = 'new'")
    assert found == [("skipped", "no process has an adapter named new: add it, or take it out of the job")]
    pump(w)
    assert_settled(db)


@pytest.mark.parametrize("error", [Permanent("no such place"), Refused("no such place"), ZeroDivisionError()])
def test_one_run_that_can_t_be_started_holds_no_other_up(worker: Make, db: Database, error: Exception) -> None:
    class Picky(NoteAdapter):
        def place(self, kind: str, name: str) -> Any:
            if name == "bad":
                raise error
            return super().place(kind, name)

    w: Worker = worker(adapter=Picky())
    due(db, spec("a", at=("bad",)), spec("b", at=("bad", "ops", "dev")))
    assert w.admit() == 2
    failed = rows(db, "SELECT DISTINCT state, error FROM job_run WHERE target = 'note:bad'")
    wanted = "no such place" if isinstance(error, HeyfleetError) else "an internal error: ZeroDivisionError"
    assert failed == [("failed", wanted)]
    pump(w)
    assert_settled(db)


@pytest.mark.parametrize(("turn", "run"), [("done", "done"), ("failed", "failed"), ("cancelled", "failed")])
def test_a_run_whose_turn_ended_without_it_is_ended(
    worker: Make, db: Database, database_url: str, turn: str, run: str
) -> None:
    """A process of a version that knows no runs may have ended it."""
    w: Worker = worker()
    due(db, spec())
    w.admit()
    with unguarded(database_url) as connection:
        connection.execute("UPDATE turn SET state = %s, finished_at = now() - interval '4 seconds'", (turn,))
        tidy(w.admission)
        assert runs(db, "state") == [("running",)], "whoever ended it may be at it"
        connection.execute("UPDATE turn SET finished_at = now() - interval '6 seconds'")
    tidy(w.admission)
    assert runs(db, "state, error, ended_at IS NOT NULL") == [(run, None if run == "done" else turn, True)]


# --- as many at once as are allowed


def test_heartbeats_over_threads_share_few_places_and_the_oldest_go_first(worker: Make, db: Database) -> None:
    w: Worker = worker(jobs={"max_concurrent": 2, "max_concurrent_targets": 3})
    for number in range(4):
        w.advance(w.say(thread=f"t{number}").thread_id)
    due(db, spec("old", scope=over()))
    due(db, spec("old", scope=over()), spec("new", scope=over()), spec(at=tuple("abcde")))
    assert w.admit() == 5
    running = "SELECT job.name, count(*) FROM job_run JOIN job ON job.id = job_id WHERE job_run.state = 'running'"
    assert dict(rows(db, f"{running} GROUP BY 1")) == {"old": 2, "round": 3}
    assert w.admit() == 0
    pump(w)
    # Each turn's end makes room for the next.
    assert rows(db, "SELECT DISTINCT state FROM job_run") == [("done",)]
    begun = rows(db, "SELECT job.name FROM job_run JOIN job ON job.id = job_id WHERE fanned_out ORDER BY started_at")
    assert begun == [("old",)] * 4 + [("new",)] * 4
    assert_settled(db)


def test_a_run_that_waits_for_people_leaves_its_place_to_another(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("rm -rf x")]), jobs={"max_concurrent_targets": 1})
    due(db, spec(at=("ops",)), spec("second", at=("dev",)))
    assert w.admit() == 1
    w.advance(value(db, "SELECT thread_id FROM turn"))
    assert w.admit() == 0, "the end of the lane's work has started the other"
    assert value(db, "SELECT count(*) FROM job_run WHERE state = 'running'") == 2


def admit_when_told(barrier: Barrier, database_url: str, redis_url: str, most: int) -> int:
    db, wakes = Database(database_url, name="beat", pool_size=2), Wakes(redis_url)
    barrier.wait()
    try:
        return admit(Admission(db, wakes, {"note": NoteAdapter()}, Jobs(max_concurrent_targets=most)))
    finally:
        wakes.close()
        db.close()


def test_many_at_once_start_no_more_than_are_allowed_and_none_twice(
    db: Database, database_url: str, redis_url: str
) -> None:
    due(db, spec(at=tuple(f"c{number}" for number in range(40))))
    started = together(admit_when_told, *[(database_url, redis_url, 25)] * 6)
    assert sum(started) == 25
    assert value(db, "SELECT count(*) FROM job_run WHERE state = 'running' AND turn_id IS NOT NULL") == 25
    assert value(db, "SELECT count(*) FROM turn") == 25


def test_who_claims_counts_what_another_has_claimed_and_not_yet_committed(db: Database) -> None:
    """Each sees other rows as its own, so that only the lock makes the count right."""
    place = {"kind": "channel", "name": "ops"}
    due(db, spec("a", targets=({**place, "adapter": "x"},)), spec("b", targets=({**place, "adapter": "y"},)))
    limits, found = Jobs(max_concurrent_targets=1), list[Any]()
    second = threading.Thread(
        target=lambda: found.append(db.carried_out(lambda connection: claim(connection, limits, ["y"])))
    )
    with db.transaction() as first:
        assert len(claim(first, limits, ["x"])) == 1
        second.start()
        deadline = time.monotonic() + 20
        while not found and value(db, WAITING) == 0:
            assert time.monotonic() < deadline
    second.join(20)
    assert found == [[]]


def test_more_runs_than_one_process_starts_are_another_s(worker: Make, db: Database, redis_url: str) -> None:
    w: Worker = worker()
    due(db, spec(at=tuple(f"c{number}" for number in range(PORTION + 5))))
    assert w.admit() == PORTION
    assert woken(redis_url, TURNS)[0] == "jobs", "before its own are started"
    assert w.admit() == 5
    assert woken(redis_url, TURNS).count("jobs") == 1


def test_jobs_leave_a_process_room_for_people(worker: Make, db: Database) -> None:
    w: Worker = worker()
    services = replace(w.services, pace=Pace(room=1))
    due(db, spec())
    w.admit()
    (thread,) = rows(db, "SELECT id FROM thread")
    person = w.say(thread="person")
    done = threading.Event()

    def work() -> None:
        advance(services, thread[0])
        done.set()

    job = threading.Thread(target=work)
    with services.pace.slow(scheduled=True):
        job.start()
        advance(services, person.thread_id)
        assert said(w) == ["re: hello"]
        assert not done.wait(0.3)
    assert done.wait(20)
    job.join(20)
    assert_settled(db)


def test_a_job_that_waits_for_its_model_takes_no_room(worker: Make, db: Database) -> None:
    model = WaitingModel()
    w: Worker = worker(model=model)
    services = replace(w.services, pace=Pace(room=1))
    due(db, spec(at=("one", "two")))
    w.admit()
    threads = [
        threading.Thread(target=advance, args=(services, thread)) for (thread,) in rows(db, "SELECT id FROM thread")
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while model.waiting < 2:
        assert time.monotonic() < deadline, "the second waits for the first one's model"
    model.let.set()
    for thread in threads:
        thread.join(20)
    assert_settled(db)


def test_a_run_whose_process_died_before_its_turn_was_made_is_taken_up(worker: Make, db: Database) -> None:
    w: Worker = worker(jobs={"max_concurrent_targets": 1})
    due(db, spec())
    assert len(db.carried_out(lambda connection: claim(connection, Jobs(), ["note"]))) == 1
    assert w.admit() == 0, "whoever claimed it may be at it"
    db.rows("UPDATE job_run SET started_at = now() - interval '6 seconds'")
    assert w.admit() == 1
    pump(w)
    assert runs(db, "state") == [("done",)]
    assert value(db, "SELECT count(*) FROM turn") == 1


def test_a_claimed_run_gets_one_turn_however_many_are_at_it(worker: Make, db: Database) -> None:
    w: Worker = worker()
    due(db, spec())
    claimed = db.carried_out(lambda connection: claim(connection, Jobs(), ["note"]))
    at = Admission(w.db, w.wakes, w.services.adapters, Jobs())
    assert [start(at, run, None) for run in claimed * 3] == [True, False, False]
    assert value(db, "SELECT count(*) FROM turn") == 1
    assert value(db, "SELECT open_turns FROM thread") == 1


def test_a_busy_thread_that_rejects_people_takes_jobs(worker: Make, db: Database) -> None:
    w: Worker = worker(task={"busy": "reject"})
    w.say(thread="ops")
    due(db, spec())
    assert w.admit() == 1
    with pytest.raises(Refused, match="busy"):
        accept(w.db, inbound(thread="ops"), reject_busy=True)
    pump(w)
    assert runs(db, "state") == [("done",)]
    assert outcomes(db) == [("ran", 1, 1, 0, None)]
