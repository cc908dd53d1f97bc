"""Jobs: installed, paused, resumed and run by hand; and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg
import pytest

from app.config.jobs import JobSpec
from app.config.settings import Retention
from app.db import Database
from app.errors import Refused, TookTooLong
from app.jobs import firing, hands, history, installing
from app.jobs.firing import fan_out, fire_targets
from app.jobs.installing import install
from app.results import Failed
from app.retention import prune
from tests.db.doubles import NoteAdapter, ScriptedModel
from tests.db.guards import libpq
from tests.db.processes import together
from tests.db.rows import pump, rows, value
from tests.db.schedules import HOUR, installed, job_of, outcomes, over, pass_time, runs, spec
from tests.db.stations import Worker, say

Make = Callable[..., Any]
STATES = "SELECT name, state, paused_by FROM job ORDER BY name"

# --- installing


def test_jobs_of_the_configuration_are_installed_updated_and_paused_when_they_are_gone(db: Database) -> None:
    done = install(db, [spec("a"), spec("b")])
    assert (done.new, done.changed, done.gone) == (["a", "b"], [], [])
    done = install(db, [spec("a", prompt="other"), spec("c")])
    assert (done.new, done.changed, done.gone) == (["c"], ["a"], ["b"])
    assert rows(db, STATES) == [("a", "active", None), ("b", "paused", "config"), ("c", "active", None)]
    assert value(db, "SELECT prompt FROM job WHERE name = 'a'") == "other"
    kinds = rows(db, "SELECT kind, data ->> 'job' FROM event WHERE kind LIKE 'job_%' ORDER BY id")
    assert kinds == [
        ("job_installed", "a"),
        ("job_installed", "b"),
        ("job_installed", "c"),
        ("job_changed", "a"),
        ("job_gone", "b"),
    ]


def test_what_is_installed_already_is_not_written_again(db: Database) -> None:
    specs = [spec("a", model="m", max_catch_up="all"), spec("b", scope=over(teams=["T"]), idle=5.0, state="paused")]
    install(db, specs)
    before = rows(db, "SELECT xmin, * FROM job ORDER BY id")
    done = install(db, specs)
    assert (done.new, done.changed, done.gone) == ([], [], [])
    assert rows(db, "SELECT xmin, * FROM job ORDER BY id") == before


def test_a_job_that_comes_back_is_active_again_with_its_history(db: Database) -> None:
    install(db, [spec()])
    job = job_of(db)
    install(db, [])
    pass_time(db, 2.5 * HOUR)
    assert fire_targets(db) == 0
    install(db, [spec()])
    assert rows(db, "SELECT id, state, paused_by, gone_at, next_at > now() FROM job") == [
        (job, "active", None, None, True)
    ]
    assert outcomes(db) == [("skipped", 2, 0, 0, "paused by config")]


def test_a_state_set_by_hand_is_kept_unless_the_configuration_sets_one(db: Database) -> None:
    install(db, [spec("a"), spec("b"), spec("c")])
    for name in ("a", "b"):
        assert hands.pause(db, job_of(db, name), "ada") == 0
    install(db, [spec("a", prompt="new"), spec("b", state="active"), spec("c", state="paused")])
    assert rows(db, STATES) == [("a", "paused", "ada"), ("b", "active", None), ("c", "paused", "config")]
    install(db, [])
    install(db, [spec("a"), spec("b"), spec("c")])
    assert rows(db, STATES) == [("a", "paused", "ada"), ("b", "active", None), ("c", "active", None)]


def test_a_changed_schedule_is_counted_from_now_and_what_was_due_is_recorded(db: Database) -> None:
    install(db, [spec()])
    pass_time(db, 1.5 * HOUR)
    install(db, [spec(schedule={"every": 60.0})])
    assert outcomes(db) == [("skipped", 1, 0, 0, "its schedule was changed")]
    assert value(db, "SELECT extract(epoch FROM next_at - now()) BETWEEN 50 AND 60 FROM job") is True
    assert fire_targets(db) == 0


def test_any_other_change_leaves_the_cursor_where_it_is(db: Database) -> None:
    install(db, [spec()])
    pass_time(db, 1.5 * HOUR)
    install(db, [spec(prompt="other", at=("dev",))])
    assert fire_targets(db) == 1
    assert runs(db) == [("note:dev", "queued")]


def test_a_time_that_has_passed_is_never_due(db: Database) -> None:
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert install(db, [spec(schedule={"at": past})]).never == ["round"]
    assert value(db, "SELECT next_at FROM job") is None
    assert fire_targets(db) == 0


def test_two_agents_may_have_a_job_of_one_name(db: Database) -> None:
    install(db, [spec(), spec(agent="second")])
    with pytest.raises(Refused, match="several agents have a job round: say whose with --agent"):
        history.find(db, "round", None)
    assert history.find(db, "round", "second").agent == "second"
    with pytest.raises(Refused, match="there is no job rund"):
        history.find(db, "rund", None)


def install_when_told(barrier: Barrier, database_url: str, specs: list[JobSpec]) -> None:
    db = Database(database_url, name="beat", pool_size=1)
    barrier.wait()
    install(db, specs)
    db.close()


def test_many_beats_that_start_at_once_install_each_job_once(db: Database, database_url: str) -> None:
    specs = [spec(f"job-{number}") for number in range(20)]
    together(install_when_told, *[(database_url, specs)] * 5)
    assert value(db, "SELECT count(*) FROM job") == 20
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'job_installed'") == 20


def test_what_is_missing_of_an_agent_whose_folder_is_not_there_is_not_taken_for_gone(db: Database) -> None:
    install(db, [spec("a"), spec("b", agent="second")])
    done = install(db, [], unseen={"second"})
    assert (done.gone, done.kept) == (["a"], ["b"])
    assert rows(db, STATES) == [("a", "paused", "config"), ("b", "active", None)]
    assert install(db, []).gone == ["b"]


def test_a_text_that_postgres_does_not_take_is_stored_without_it(db: Database) -> None:
    install(db, [spec(prompt="a\0b")])
    assert value(db, "SELECT prompt FROM job") == "a\ufffdb"
    assert install(db, [spec(prompt="a\0b")]).changed == []


def test_a_row_that_is_being_fired_holds_no_installation_up_but_its_own(db: Database, database_url: str) -> None:
    install(db, [spec("a"), spec("b")])
    with psycopg.connect(libpq(database_url)) as other:
        other.execute("SELECT 1 FROM job WHERE name = 'a' FOR UPDATE")
        done = impatient(db, [spec("a"), spec("b", prompt="new"), spec("c")])
        assert (done.new, done.changed) == (["c"], ["b"])
        with pytest.raises(TookTooLong, match="took too long over a statement"):
            impatient(db, [spec("a", prompt="new"), spec("b", prompt="new"), spec("c")])


def impatient(db: Database, specs: list[JobSpec]) -> installing.Installed:
    with db.transaction() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        return installing.installed(connection, specs, ())


# --- by hand


def test_a_pause_over_a_due_time_skips_it(db: Database) -> None:
    installed(db, spec())
    job = job_of(db)
    assert hands.pause(db, job, "ada") == 0
    assert hands.pause(db, job, "bob") is None, "it is paused already"
    pass_time(db, 2.5 * HOUR)
    assert fire_targets(db) == 0
    resumed, next_at = hands.resume(db, job, "ada")
    assert resumed
    assert next_at is not None
    assert next_at > datetime.now(UTC)
    assert fire_targets(db) == 0
    assert outcomes(db) == [("skipped", 2, 0, 0, "paused by ada")]
    assert hands.resume(db, job, "ada")[0] is False
    pass_time(db, HOUR)
    assert fire_targets(db) == 1


def test_a_pause_between_due_times_skips_nothing(db: Database) -> None:
    installed(db, spec())
    hands.pause(db, job_of(db), "ada")
    hands.resume(db, job_of(db), "ada")
    assert outcomes(db) == []
    pass_time(db, HOUR)
    assert fire_targets(db) == 1


def test_a_pause_skips_the_runs_that_have_not_begun(worker: Make, db: Database) -> None:
    w: Worker = worker(jobs={"max_concurrent": 1})
    for thread in ("a", "b", "c"):
        w.advance(w.say(thread=thread).thread_id)
    installed(db, spec(scope=over()))
    pass_time(db, HOUR)
    fan_out(db)
    assert w.admit() == 1
    assert hands.pause(db, job_of(db), "ada") == 2
    pump(w)
    assert w.admit() == 0
    assert sorted(runs(db, "state, error")) == [("done", None), *[("skipped", "the job was paused by ada")] * 2]


def test_jobs_that_are_gone_are_neither_resumed_nor_run(db: Database) -> None:
    installed(db, spec())
    installed(db)
    for order in (hands.resume, hands.run_now):
        with pytest.raises(Refused, match="not in the configuration any more; put it back"):
            order(db, job_of(db), "ada")


def test_a_run_by_hand_leaves_the_schedule_alone(db: Database) -> None:
    installed(db, spec(at=("ops", "dev")))
    hands.pause(db, job_of(db), "ada")
    before = rows(db, "SELECT next_at, state FROM job")
    asked = hands.run_now(db, job_of(db), "ada")
    assert (asked.queued, asked.passed_over) == (2, 0)
    assert rows(db, "SELECT next_at, state FROM job") == before
    assert runs(db, "target, state, asked_by") == [("note:dev", "queued", "ada"), ("note:ops", "queued", "ada")]
    asked = hands.run_now(db, job_of(db), "ada")
    assert (asked.queued, asked.passed_over) == (0, 2)


def test_a_firing_that_was_decided_before_a_run_by_hand_is_decided_again(db: Database) -> None:
    installed(db, spec())
    pass_time(db, HOUR)
    stale = firing.all_decided(db.rows(firing.DUE_TARGETS, most=9, aside=[]), firing.Aside())
    hands.run_now(db, job_of(db), "ada")
    assert firing.fire(db, stale, firing.Aside()) == 0
    assert fire_targets(db) == 0
    assert runs(db, "state", "created_at") == [("queued",), ("skipped",)]


def test_a_heartbeat_run_by_hand_goes_through_the_same_threads(db: Database) -> None:
    say(db, thread="active")
    say(db, thread="idle")
    say(db, thread="other", channel="elsewhere")
    db.rows("UPDATE thread SET last_asked_at = now() - interval '2 hours', open_turns = 0 WHERE key <> 'active'")
    installed(db, spec(scope=over(channels=["active", "idle"]), idle=HOUR))
    asked = hands.run_now(db, job_of(db), "ada")
    assert (asked.queued, asked.passed_over) == (1, 1)
    assert runs(db) == [("note:idle", "queued")]


# --- history


def test_history_tells_execution_and_delivery_apart(worker: Make, db: Database) -> None:
    model = ScriptedModel("one", "[SILENT]", "three", RuntimeError("no"))
    w: Worker = worker(model=model, adapter=NoteAdapter(Failed("gone")), delivery={"attempts": 1})
    installed(db, spec())
    for _ in range(3):
        pass_time(db, HOUR)
        fire_targets(db)
        w.admit()
        pump(w)
    db.rows("UPDATE job_run SET due_at = due_at + interval '1 second' WHERE state = 'queued'")
    pass_time(db, 3.5 * HOUR)
    fire_targets(db)
    found = history.history(db, job_of(db), 50)
    told = [(row.state, row.delivery_state, row.target, row.error) for row in reversed(found)]
    assert told == [
        ("done", "failed", "note:ops", "gone"),
        ("done", "none", "note:ops", None),
        ("done", "delivered", "note:ops", None),
        ("skipped", "none", None, told[3][3]),
        ("queued", "none", "note:ops", None),
    ]
    assert told[3][3].startswith("2 due times up to 20")
    assert told[3][3].endswith("missed by 2h 30m; the one after them was run instead")
    listed = history.listed(db, None, 10)
    assert [(row.name, row.last_outcome) for row in listed] == [("round", "late")]
    standing, odd = history.standing(db)
    assert (standing.active, standing.queued, standing.late, standing.skipped) == (1, 1, 1, 2)
    assert [row.outcome for row in odd] == ["late", "skipped"]


def test_old_runs_and_occurrences_are_pruned_and_open_ones_kept(worker: Make, db: Database) -> None:
    w: Worker = worker()
    installed(db, spec(), spec("open"))
    pass_time(db, HOUR)
    fire_targets(db)
    db.rows("UPDATE job_run SET state = 'skipped', ended_at = now() WHERE job_id = :job", job=job_of(db))
    db.rows("UPDATE job_run SET created_at = now() - interval '91 days'")
    db.rows("UPDATE occurrence SET decided_at = now() - interval '91 days'")
    gone = prune(w.db, Retention())
    assert (gone["job_run"], gone["occurrence"]) == (1, 2)
    assert runs(db, "state") == [("queued",)]
