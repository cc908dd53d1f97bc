"""Firing: one transaction makes the runs, moves the cursor and records what became of each due time, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from sqlalchemy import event

from app.db import Database
from app.jobs import firing
from app.jobs.firing import fan_out, fire_targets, soonest
from app.jsonb import dumps
from tests.db.processes import Processes, together
from tests.db.rows import rows, value
from tests.db.schedules import HOUR, installed, job_of, outcomes, over, pass_time, runs, spec
from tests.db.stations import Worker, say

Make = Callable[..., Any]
BUSY = "each target still had a run of it, or was active"


def test_nothing_is_fired_before_its_time(db: Database) -> None:
    installed(db, spec(), spec("threads", scope=over()))
    assert fire_targets(db) == fan_out(db) == 0
    assert runs(db) == []
    left = soonest(db, firing.SOONEST_TARGETS)
    assert left is not None
    assert HOUR - 60 < left <= HOUR


def test_a_due_job_fires_once_at_each_target_and_its_cursor_moves_on(db: Database) -> None:
    installed(db, spec(at=("ops", "dev")))
    pass_time(db, HOUR)
    assert fire_targets(db) == 2
    assert runs(db) == [("note:dev", "queued"), ("note:ops", "queued")]
    assert outcomes(db) == [("ran", 1, 2, 0, None)]
    assert value(db, "SELECT next_at > now() FROM job") is True
    assert fire_targets(db) == 0
    (told,) = rows(db, "SELECT kind, data ->> 'job', data ->> 'runs' FROM event WHERE kind = 'job_ran'")
    assert told == ("job_ran", "round", "2")


def test_late_and_missed_due_times_are_recorded_with_their_reason(db: Database) -> None:
    installed(db, spec())
    pass_time(db, 3.5 * HOUR)
    assert fire_targets(db) == 1
    assert outcomes(db) == [
        ("skipped", 2, 0, 0, "missed by 2h 30m; the one after them was run instead"),
        ("late", 1, 1, 0, "30m 0s late"),
    ]
    kinds = rows(db, "SELECT kind FROM event WHERE kind LIKE 'job_%' AND kind <> 'job_installed' ORDER BY kind")
    assert kinds == [("job_late",), ("job_skipped",)]


@pytest.mark.parametrize(("mode", "fired"), [("0", 0), ("1", 1), ("all", 3)])
def test_what_was_missed_is_made_up_for_as_the_job_says(db: Database, mode: str, fired: int) -> None:
    installed(db, spec(max_catch_up=mode), spec("threads", scope=over(), max_catch_up=mode))
    say(db)
    pass_time(db, 3.5 * HOUR)
    assert fire_targets(db) == fired
    # Over threads one due time at a look: each may be very many runs.
    assert [fan_out(db) for _ in range(4)] == [1] * fired + [0] * (4 - fired)
    assert value(db, "SELECT sum(due_times) FROM occurrence") == 2 * 3


def test_a_target_whose_last_run_has_not_ended_is_skipped(db: Database) -> None:
    installed(db, spec(at=("ops", "dev")))
    pass_time(db, HOUR)
    fire_targets(db)
    db.rows("UPDATE job_run SET state = 'skipped' WHERE target = 'note:dev'")
    pass_time(db, HOUR)
    assert fire_targets(db) == 1
    skipped = "SELECT target, error, ended_at IS NOT NULL FROM job_run WHERE error IS NOT NULL"
    assert rows(db, skipped) == [("note:ops", BUSY, True)]
    pass_time(db, HOUR)
    assert fire_targets(db) == 0
    assert [found[:4] for found in outcomes(db)] == [("ran", 1, 2, 0), ("ran", 1, 1, 1), ("skipped", 1, 0, 2)]


def test_a_paused_job_is_not_fired(db: Database) -> None:
    installed(db, spec(state="paused"), spec("threads", scope=over(), state="paused"))
    say(db)
    pass_time(db, 2 * HOUR)
    assert fire_targets(db) == fan_out(db) == 0


def test_only_what_was_missed_is_run_behind_what_has_not_ended(db: Database) -> None:
    """Each missed time is made up for; a time that comes while the last run is at work is skipped, as ever."""
    installed(db, spec(max_catch_up="all"), spec("threads", scope=over(), max_catch_up="all"))
    say(db)
    for wanted in (1, 0):
        pass_time(db, HOUR)
        assert (fire_targets(db), fan_out(db)) == (wanted, wanted)
    pass_time(db, 2.5 * HOUR)
    assert fire_targets(db) == 2
    assert [fan_out(db), fan_out(db), fan_out(db)] == [1, 1, 0]


def test_a_long_backlog_of_many_jobs_is_made_up_for(db: Database) -> None:
    """In statements of bounded size: their cost grows faster than what they write."""
    installed(db, *(spec(f"job-{number}", at=("ops", "dev"), max_catch_up="all") for number in range(40)))
    pass_time(db, 150.5 * HOUR)
    while fire_targets(db):
        pass
    assert value(db, "SELECT count(*) FROM job_run") == 40 * 2 * 150
    assert value(db, "SELECT count(*) FROM occurrence") == 40 * 150


def test_targets_that_read_alike_are_told_apart(db: Database) -> None:
    places = [("channel", "@ada"), ("user", "ada"), ("channel", "\\@ada"), ("user", "\\ada"), ("channel", "ada")]
    targets = tuple({"adapter": "note", "kind": kind, "name": name} for kind, name in places)
    installed(db, spec(targets=targets), spec("threads", scope=over()))
    threads = [("", "a/b"), ("a", "b"), ("a", "/b"), ("a/", "b"), ("a%2F", "b"), ("", "b")]
    for team, key in threads:
        say(db, thread=key, team=team)
    pass_time(db, HOUR)
    assert fire_targets(db) == len(places)
    assert fan_out(db) == len(threads)


# --- once


def fire_when_told(barrier: Barrier, database_url: str) -> int:
    db = Database(database_url, name="beat", pool_size=2)
    barrier.wait()
    try:
        return fire_targets(db) + fan_out(db)
    finally:
        db.close()


def test_many_that_all_believe_to_lead_fire_each_job_once(db: Database, database_url: str) -> None:
    for thread in ("a", "b", "c"):
        say(db, thread=thread)
    targeted = [spec(f"job-{number}", at=("ops", "dev")) for number in range(30)]
    scoped = [spec(f"threads-{number}", scope=over()) for number in range(5)]
    installed(db, *targeted, *scoped)
    pass_time(db, HOUR)
    made = together(fire_when_told, *[(database_url,)] * 6)
    assert sum(made) == 30 * 2 + 5 * 3
    twice = "SELECT job_id, due_at, target FROM job_run GROUP BY 1, 2, 3 HAVING count(*) > 1"
    assert rows(db, twice) == []
    assert value(db, "SELECT count(*) FROM job_run") == sum(made)
    assert value(db, "SELECT count(*) FROM occurrence") == 35
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'job_ran'") == 35


def test_who_decided_before_another_fired_writes_nothing(db: Database) -> None:
    """As a leader does that stood still between its look and its write."""
    installed(db, spec(), spec("threads", scope=over()))
    say(db)
    pass_time(db, HOUR)
    stale = firing.all_decided(db.rows(firing.DUE_TARGETS, most=9, aside=[]), firing.Aside())
    stale_scope = firing.all_decided(db.rows(firing.DUE_SCOPE, most=9, aside=[]), firing.Aside())
    fire_targets(db)
    fan_out(db)
    before = rows(db, "SELECT * FROM job_run"), rows(db, "SELECT * FROM occurrence"), rows(db, "SELECT * FROM job")
    found = [run for row, decision in stale for run in firing.runs_of(row, decision)]
    assert db.rows(firing.FIRE, firing.parameters(stale), runs=dumps(found)) == []
    more = {"agent": "default", "stacks": True, "idle": None, "filters": firing.filters_of(over()), "ids": firing.ids()}
    assert db.rows(firing.FAN_OUT, firing.parameters(stale_scope), **more) == []
    assert before == (
        rows(db, "SELECT * FROM job_run"),
        rows(db, "SELECT * FROM occurrence"),
        rows(db, "SELECT * FROM job"),
    )


def test_who_decided_long_ago_does_not_take_the_cursor_back(db: Database) -> None:
    installed(db, spec())
    pass_time(db, HOUR)
    stale = firing.all_decided(db.rows(firing.DUE_TARGETS, most=9, aside=[]), firing.Aside())
    db.rows("UPDATE job SET next_at = next_at + interval '5 hours'")
    before = rows(db, "SELECT * FROM job")
    assert firing.fire(db, stale, firing.Aside()) == 0
    assert rows(db, "SELECT * FROM job") == before
    assert runs(db) == []


@pytest.mark.parametrize("mode", ["1", "all"])
def test_a_cursor_that_came_back_fires_nothing_that_has_its_run(db: Database, mode: str) -> None:
    """Whatever moves a cursor back (a clock, a restored row, a defect): the unique key of the runs is the promise."""
    installed(db, spec(max_catch_up=mode), spec("threads", scope=over(), max_catch_up=mode))
    say(db)
    pass_time(db, HOUR)
    cursors = rows(db, "SELECT id, next_at FROM job")
    fire_targets(db)
    fan_out(db)
    db.rows("UPDATE job_run SET state = 'skipped'")
    for job, next_at in cursors:
        db.rows("UPDATE job SET next_at = :next_at WHERE id = :job", job=job, next_at=next_at)
    assert fire_targets(db) == fan_out(db) == 0
    assert value(db, "SELECT count(*) FROM job_run") == 2
    assert value(db, "SELECT count(*) FROM occurrence") == 2
    assert rows(db, "SELECT next_at > now() FROM job") == [(True,)] * 2, "and it goes on from there"


def test_a_job_that_was_changed_between_look_and_write_is_not_fired_as_it_was(db: Database) -> None:
    installed(db, spec())
    pass_time(db, HOUR)
    stale = firing.all_decided(db.rows(firing.DUE_TARGETS, most=9, aside=[]), firing.Aside())
    installed(db, spec(prompt="something else"))
    found = [run for row, decision in stale for run in firing.runs_of(row, decision)]
    assert db.rows(firing.FIRE, firing.parameters(stale), runs=dumps(found)) == []
    assert fire_targets(db) == 1


def fire_and_die(barrier: Barrier, database_url: str, nth: int, after: bool) -> None:
    """Fire, but end without a word at the nth statement."""
    db = Database(database_url, name="beat", pool_size=2)
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            os._exit(9)

    event.listen(db.engine, "after_cursor_execute" if after else "before_cursor_execute", count)
    barrier.wait()
    fire_targets(db)
    fan_out(db)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_whoever_dies_while_it_fires_leaves_all_or_nothing(
    db: Database, database_url: str, nth: int, after: bool
) -> None:
    """Statements 1 and 3 look, 2 and 5 fire (4 sets the fan-out's time limit)."""
    installed(db, spec(at=("ops", "dev")), spec("threads", scope=over()))
    say(db)
    pass_time(db, HOUR)
    processes = Processes(fire_and_die, [(database_url, nth, after)])
    for process in processes.started:
        process.join(30)
        assert process.exitcode == 9
    for name, targets in (("round", 2), ("threads", 1)):
        job = job_of(db, name)
        made = value(db, "SELECT count(*) FROM job_run WHERE job_id = :job", job=job)
        noted = value(db, "SELECT count(*) FROM occurrence WHERE job_id = :job", job=job)
        moved = value(db, "SELECT next_at > now() FROM job WHERE id = :job", job=job)
        assert (made, noted, moved) in [(0, 0, False), (targets, 1, True)]
    fire_targets(db)
    fan_out(db)
    assert value(db, "SELECT count(*) FROM job_run") == 3
    assert value(db, "SELECT count(*) FROM occurrence") == 2


BROKEN = """UPDATE job SET schedule = '{"cron": "* * * * *", "timezone": "No/Where"}' WHERE name LIKE 'broken%'"""


def test_jobs_that_can_t_be_decided_about_hold_no_other_up_and_are_left_alone_for_a_while(db: Database) -> None:
    installed(db, *(spec(f"broken-{number}") for number in range(firing.MOST)))
    pass_time(db, HOUR)
    installed(db, *(spec(f"broken-{number}") for number in range(firing.MOST)), spec())
    db.rows("UPDATE job SET next_at = now() - interval '1 second' WHERE name = 'round'")
    db.rows("UPDATE job SET anchor = next_at - interval '1 hour' WHERE name = 'round'")
    db.rows(BROKEN)
    time = [0.0]
    aside = firing.Aside(lambda: time[0])
    assert fire_targets(db, aside) == 1
    assert runs(db) == [("note:ops", "queued")]
    left = soonest(db, firing.SOONEST_TARGETS, aside)
    assert left is not None
    assert left > 60, "nothing is due that could be fired, so nobody looks again and again"
    time[0] += firing.SET_ASIDE + 1
    assert soonest(db, firing.SOONEST_TARGETS, aside) is not None
    left = soonest(db, firing.SOONEST_TARGETS, aside)
    assert left is not None
    assert left < 0, "it is tried again"


def test_a_job_that_postgres_does_not_take_holds_no_other_up(db: Database) -> None:
    installed(db, spec("bad"), spec(), spec("bad threads", scope=over()), spec("threads", scope=over()))
    say(db)
    pass_time(db, HOUR)
    db.rows("""UPDATE job SET targets = '[{"adapter": null, "kind": "channel", "name": "x"}]' WHERE name = 'bad'""")
    db.rows("""UPDATE job SET scope = '{"note": {"teams": "T"}}' WHERE name = 'bad threads'""")
    aside = firing.Aside()
    assert fire_targets(db, aside) == 1
    assert fan_out(db, aside) == 1
    assert len(aside.ids()) == 2


def test_whoever_does_not_lead_any_more_stops_in_the_midst(db: Database) -> None:
    installed(db, spec(), spec("threads", scope=over()))
    say(db)
    pass_time(db, HOUR)
    assert fire_targets(db, go_on=lambda: False) == fan_out(db, go_on=lambda: False) == 0
    assert runs(db) == []


# --- heartbeats over threads


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, {"a", "b", "c"}),
        ({"teams": ["T1"]}, {"b"}),
        ({"channels": ["C1", "C2"]}, {"a", "b"}),
        ({"users": ["ada"]}, {"a", "c"}),
        ({"users": ["ada"], "channels": ["C2"]}, set()),
        ({"users": []}, set()),
    ],
)
def test_a_heartbeat_goes_through_the_threads_that_match(db: Database, filters: Any, wanted: set[str]) -> None:
    say(db, thread="a", channel="C1")
    say(db, thread="b", channel="C2", team="T1", actor="bob")
    say(db, thread="c", channel="C3")
    say(db, thread="c", channel="C3", actor="bob")
    say(db, thread="other adapter", adapter="other")
    say(db, thread="other agent", agent="second")
    installed(db, spec(scope=over(**filters)))
    pass_time(db, HOUR)
    assert fan_out(db) == len(wanted)
    keys = {key for (key,) in rows(db, "SELECT key FROM job_run JOIN thread ON thread.id = thread_id")}
    assert keys == wanted
    assert all(fanned_out for (fanned_out,) in rows(db, "SELECT fanned_out FROM job_run"))


def test_threads_in_which_somebody_is_active_are_passed_over(db: Database, worker: Make) -> None:
    w: Worker = worker()
    for thread in ("idle", "active", "at work"):
        accepted = w.say(thread=thread)
        if thread != "at work":
            w.advance(accepted.thread_id)
    db.rows("UPDATE thread SET last_asked_at = now() - interval '9 hours' WHERE key <> 'active'")
    installed(db, spec(scope=over(), idle=8 * HOUR))
    pass_time(db, HOUR)
    assert fan_out(db) == 1
    assert runs(db) == [("note:idle", "queued")]
    assert outcomes(db) == [("ran", 1, 1, 2, None)]


def test_what_a_heartbeat_itself_does_is_no_activity(db: Database, worker: Make) -> None:
    w: Worker = worker()
    w.advance(w.say(thread="t").thread_id)
    db.rows("UPDATE thread SET last_asked_at = now() - interval '9 hours'")
    installed(db, spec(scope=over(), idle=8 * HOUR))
    for _ in range(2):
        pass_time(db, HOUR)
        assert fan_out(db) == 1
        w.admit()
        w.advance(value(db, "SELECT id FROM thread"))
    w.advance(w.say(thread="t").thread_id)
    pass_time(db, HOUR)
    assert fan_out(db) == 0
    assert outcomes(db)[-1] == ("skipped", 1, 0, 1, BUSY)


def test_a_thread_whose_last_run_has_not_ended_is_passed_over(db: Database) -> None:
    say(db, thread="a")
    installed(db, spec(scope=over()))
    pass_time(db, HOUR)
    fan_out(db)
    say(db, thread="b")
    pass_time(db, HOUR)
    assert fan_out(db) == 1
    assert runs(db) == [("note:a", "queued"), ("note:b", "queued")]


def test_a_heartbeat_that_finds_no_thread_says_so(db: Database) -> None:
    installed(db, spec(scope=over()))
    pass_time(db, HOUR)
    assert fan_out(db) == 0
    assert outcomes(db) == [("skipped", 1, 0, 0, "there was no target")]
