"""Sandbox lanes: one at a time, fleet-wide slots, orphans settled, the right workspace, the right state."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app import calls, runners
from app.calls import Claim
from app.db import Database
from app.errors import Refused, Transient
from app.hosting.lane import CUT_SHORT
from app.ports import Executed
from tests.db.doubles import NoteRuntime, ScriptedModel, bash, call
from tests.db.interleaving import keep_at, wait_until
from tests.db.processes import Processes, together
from tests.db.rows import assert_settled, expire, pump, rows, value
from tests.db.stations import Runner, Worker
from tests.db.wakes_seen import forget_wakes, woken

Make = Callable[..., Any]


def asked(worker: Make, *commands: str, thread: str = "t", **columns: Any) -> tuple[Worker, UUID]:
    """A worker whose turn waits for these commands, and their sandbox."""
    w: Worker = worker(model=ScriptedModel([bash(command) for command in commands]))
    w.advance(w.say(thread=thread, **columns).thread_id)
    return w, value(w.db, "SELECT sandbox_id FROM call WHERE state = 'queued' ORDER BY created_at DESC LIMIT 1")


def taken(runner: Runner, sandbox: UUID) -> Claim | None:
    return calls.take(runner.db, sandbox, runner.place, owner=runner.name, warm_generation=-1)


def results(db: Database) -> list[tuple[str, str | None]]:
    return [(row[0], row[1]) for row in rows(db, "SELECT state, result FROM call ORDER BY created_at, ordinal")]


def test_calls_of_a_step_run_in_order_in_one_sandbox(worker: Make, runner: Make, db: Database) -> None:
    w, sandbox = asked(worker, "one", "two", "three")
    r: Runner = runner()
    r.work(sandbox)
    assert results(db) == [("done", "one"), ("done", "one two"), ("done", "one two three")]
    assert len(r.runtime.opened) == 1
    assert rows(db, "SELECT DISTINCT runner_id FROM call") == [("r1",)]
    assert rows(db, "SELECT runner_id, lease_owner, wake_at FROM sandbox") == [("r1", None, None)]
    assert rows(db, "SELECT call_id, held_until FROM slot WHERE call_id IS NOT NULL OR held_until IS NOT NULL") == []
    pump(w, r)
    assert_settled(db)


def test_who_waited_is_woken(worker: Make, runner: Make, db: Database, redis_url: str) -> None:
    _, sandbox = asked(worker, "one", "two")
    assert woken(redis_url, "runtime.virtual") == [str(sandbox)]
    forget_wakes(redis_url)
    runner().work(sandbox)
    assert woken(redis_url, "turns") == [str(value(db, "SELECT id FROM thread"))]


def test_the_next_calls_go_to_the_runner_that_has_the_sandbox(
    worker: Make, runner: Make, db: Database, redis_url: str
) -> None:
    w, sandbox = asked(worker, "one")
    r: Runner = runner()
    r.work(sandbox)
    w.model.script = [[bash("two")]]
    forget_wakes(redis_url)
    pump(w)
    assert woken(redis_url, "runtime.virtual@r1") == [str(sandbox)]
    r.work(sandbox)
    runners.stopped(r.db, "r1", r.name)
    w.model.script = [[bash("three")]]
    forget_wakes(redis_url)
    pump(w)
    assert woken(redis_url, "runtime.virtual") == [str(sandbox)], "it is stopped: anyone may go on"


@pytest.mark.parametrize(
    ("scope", "shared"),
    [
        ("channel", {("a", "c1"), ("b", "c1")}),
        ("user", {("a", "c1"), ("a", "c2")}),
        ("adapter", {("a", "c1"), ("b", "c1"), ("a", "c2")}),
    ],
)
def test_who_shares_a_sandbox(worker: Make, db: Database, scope: str, shared: set[tuple[str, str]]) -> None:
    who = [("a", "c1"), ("b", "c1"), ("a", "c2"), ("b", "c2")]
    w: Worker = worker(model=ScriptedModel(rule=[bash()]), scope=scope)
    for actor, channel in who:
        w.advance(w.say(thread=f"{actor} {channel}", actor=actor, channel=channel).thread_id)
    found = {
        (row[0], row[1]): row[2]
        for row in rows(
            db,
            "SELECT turn.actor, thread.channel, call.sandbox_id FROM call JOIN turn ON turn.id = turn_id"
            " JOIN thread ON thread.id = thread_id",
        )
    }
    assert len({found[each] for each in shared}) == 1
    assert len(set(found.values())) == (1 if scope == "adapter" else 2)


# --- slots


def test_no_call_begins_without_a_slot(worker: Make, runner: Make, db: Database, redis_url: str) -> None:
    _, first = asked(worker, "one", thread="a")
    _, second = asked(worker, "two", thread="b")
    r, other = runner(slots=1), runner(runner_id="r2", slots=1)
    claim = taken(r, first)
    assert claim
    assert len(claim.calls) == 1
    other.work(second)
    assert results(db)[1] == ("queued", None)
    assert value(db, "SELECT wake_at <= now() FROM sandbox WHERE id = :id", id=second), "it is tried again"
    db.rows("UPDATE sandbox SET wake_at = now() - interval '1 second' WHERE id = :id", id=second)
    forget_wakes(redis_url)
    expire(db, "sandbox", first)
    db.rows("UPDATE slot SET held_until = now()")
    r.work(first)
    other.work(second)
    assert results(db)[1] == ("done", "two")


def test_a_freed_slot_goes_to_who_waits_longest(worker: Make, runner: Make, db: Database) -> None:
    """At once, and without a wake: theirs were taken while no slot was free."""
    sandboxes = [asked(worker, name, thread=name)[1] for name in ("a", "b", "c")]
    r: Runner = runner(slots=1)
    ran: list[str] = []
    r.runtime.on_exec = lambda command, _: ran.append(command)
    r.work(sandboxes[2])
    assert ran == ["c", "a", "b"]


def test_a_freed_slot_is_offered_until_somebody_takes_it(worker: Make, runner: Make, db: Database) -> None:
    """Two that are done at once look at the same sandbox: who comes second takes the next one."""
    first, second, third = (asked(worker, name, thread=name)[1] for name in ("a", "b", "c"))
    r, other = runner(slots=2), runner(runner_id="r2", slots=2)
    r.runtime.on_exec = lambda *_: taken(other, second) and None
    r.work(first)
    assert value(db, "SELECT state FROM call WHERE sandbox_id = :id", id=third) == "done"


def test_a_folders_sandbox_that_waited_is_woken_where_its_folder_is(
    worker: Make, runner: Make, db: Database, redis_url: str
) -> None:
    _, first = asked(worker, "one", thread="a")
    _, second = asked(worker, "two", thread="b")
    _, third = asked(worker, "three", thread="c")
    runner(runner_id="r2", workspace="theirs")
    db.rows("UPDATE sandbox SET workspace_id = 'theirs' WHERE id = :id", id=second)
    r: Runner = runner(workspace="ours")
    forget_wakes(redis_url)
    r.work(first)
    assert woken(redis_url, "runtime.virtual@r2") == [str(second)]
    assert value(db, "SELECT state FROM call WHERE sandbox_id = :id", id=second) == "queued"
    assert value(db, "SELECT state FROM call WHERE sandbox_id = :id", id=third) == "done", "it waits for nobody else"


def test_a_dead_runners_calls_are_settled_without_a_free_slot(worker: Make, runner: Make, db: Database) -> None:
    _, first = asked(worker, "one", thread="a")
    _, second = asked(worker, "two", thread="b")
    dead, r = runner(runner_id="dead", slots=1), runner(slots=1)
    taken(dead, first)
    expire(db, "sandbox", first)
    db.rows("UPDATE slot SET held_until = now() - interval '1 second'")
    assert taken(r, second), "it has the only slot now"
    r.work(first)
    assert value(db, "SELECT state FROM call WHERE sandbox_id = :id", id=first) == "interrupted"


def test_the_limit_of_the_fleet_is_what_is_configured_not_what_slots_there_are(
    worker: Make, runner: Make, db: Database
) -> None:
    runner(slots=12)
    r: Runner = runner(runner_id="r2", slots=2, side_by_side=9)
    _, sandbox = asked(worker, "one", "two", "three")
    claim = taken(r, sandbox)
    assert claim
    assert len(claim.calls) == 2


def run_and_note(barrier: Barrier, database_url: str, redis_url: str, path: str, number: int) -> None:
    """A runner that notes the beginning and the end of each command in a file that all share."""

    def note(command: str, kind: int) -> None:
        with Path(path).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps([time.monotonic(), kind, command]) + "\n")

    def run(command: str, _: Any) -> None:
        note(command, +1)
        time.sleep(0.01)  # the command's work
        note(command, -1)

    r = Runner(database_url, redis_url, runner_id=f"r{number}", runtime=NoteRuntime(run), slots=3)
    barrier.wait()
    while sandboxes := rows(r.db, "SELECT DISTINCT sandbox_id FROM call WHERE state IN ('queued', 'running')"):
        for (sandbox,) in sandboxes:
            r.work(sandbox)
    r.close()


def test_slots_and_lanes_hold_for_six_processes(
    worker: Make, db: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    w: Worker = worker(model=ScriptedModel(rule=lambda prompt, _: [bash(f"{prompt.system} {n}") for n in range(3)]))
    for n in range(8):
        w.advance(w.say(thread=f"t{n}").thread_id)
    path = tmp_path / "notes"
    together(run_and_note, *[(database_url, redis_url, str(path), number) for number in range(6)])
    notes = sorted(json.loads(line) for line in path.read_text().splitlines())
    running, most, sandboxes = 0, 0, dict[str, int]()
    for _, change, command in notes:
        running += change
        most = max(most, running)
        sandbox = command.rpartition(" ")[0]
        sandboxes[sandbox] = sandboxes.get(sandbox, 0) + change
        assert sandboxes[sandbox] <= 1, "one command at a time in a sandbox"
    assert 1 < most <= 3, "as many as there are slots"
    assert len(notes) == 2 * 24
    assert rows(db, "SELECT state, count(*) FROM call GROUP BY state") == [("done", 24)]
    assert rows(db, "SELECT n FROM slot WHERE call_id IS NOT NULL") == []


def test_calls_of_one_sandbox_side_by_side_where_allowed(worker: Make, runner: Make, db: Database) -> None:
    together_in_it = threading.Barrier(2, timeout=20)
    _, sandbox = asked(worker, "one", "two")
    r: Runner = runner(side_by_side=2, runtime=NoteRuntime(lambda *_: together_in_it.wait() and None))
    r.work(sandbox)
    assert [state for state, _ in results(db)] == ["done", "done"]


# --- runners that die


@pytest.mark.parametrize("mixed", [False, True])
def test_calls_that_a_dead_runner_left_running(worker: Make, runner: Make, db: Database, mixed: bool) -> None:
    """One may be run again, the other may have taken effect; what waited behind them goes on."""
    w: Worker = worker(model=ScriptedModel([call("read", path="x"), bash("two"), bash("three")]))
    w.advance(w.say().thread_id)
    sandbox = value(db, "SELECT id FROM sandbox")
    dead: Runner = runner(runner_id="dead", side_by_side=2 if mixed else 1)
    assert taken(dead, sandbox)
    if not mixed:
        db.rows("UPDATE call SET idempotent = false WHERE state = 'running'")
    expire(db, "sandbox", sandbox)
    r: Runner = runner()
    pump(w, r)
    states = [state for state, _ in results(db)]
    assert states == (["done", "interrupted", "done"] if mixed else ["interrupted", "done", "done"])
    assert r.runtime.opened[0].lines == (["three"] if mixed else ["two", "three"])
    interrupted = next(result for state, result in results(db) if state == "interrupted")
    assert interrupted == calls.INTERRUPTED
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'call_interrupted'") == 1
    assert_settled(db)


def test_slots_of_a_dead_runner_come_free(worker: Make, runner: Make, db: Database) -> None:
    _, first = asked(worker, "one", thread="a")
    _, second = asked(worker, "two", thread="b")
    dead, r = runner(runner_id="dead", slots=1), runner(slots=1)
    taken(dead, first)
    r.work(second)
    assert results(db)[1] == ("queued", None)
    db.rows("UPDATE slot SET held_until = now() - interval '1 second'")
    r.work(second)
    assert results(db)[1] == ("done", "two")


def run_for_ever(_: Barrier, database_url: str, redis_url: str, sandbox: UUID) -> None:
    lease = {"ttl": "2500ms", "renew": "200ms", "sweep": "1s"}
    runtime = NoteRuntime(lambda *_: threading.Event().wait())
    r = Runner(database_url, redis_url, runner_id="killed", runtime=runtime, lease=lease)
    r.keeper.start()
    r.work(sandbox)


def test_a_killed_runners_command_is_interrupted_and_its_slot_freed(
    worker: Make, runner: Make, db: Database, database_url: str, redis_url: str
) -> None:
    w, sandbox = asked(worker, "one", "two")
    processes = Processes(run_for_ever, [(database_url, redis_url, sandbox)])
    try:
        wait_until(lambda: results(db)[0][0] == "running")
        first = value(db, "SELECT held_until FROM slot WHERE call_id IS NOT NULL")
        wait_until(lambda: value(db, "SELECT held_until FROM slot WHERE call_id IS NOT NULL") > first)
    finally:
        processes.kill()
    r: Runner = runner(slots=1)
    keep_at(partial(r.work, sandbox), lambda: not rows(db, "SELECT 1 FROM call WHERE state IN ('queued', 'running')"))
    assert [state for state, _ in results(db)] == ["interrupted", "done"]
    pump(w, r)
    assert_settled(db)


def test_a_runner_told_to_stop_says_so_to_the_model(worker: Make, runner: Make, db: Database) -> None:
    began = threading.Event()

    def run(_: str, cancel: Any) -> Executed:
        began.set()
        return Executed("half of it", -9, "cancelled" if cancel.wait(30) else "timeout")

    w, sandbox = asked(worker, "one", "two")
    r: Runner = runner(runtime=NoteRuntime(run))
    work = threading.Thread(target=r.work, args=(sandbox,))
    work.start()
    assert began.wait(30)
    r.draining.set()
    r.keeper.stop_all()
    work.join(30)
    state, result = results(db)[0]
    assert state == "interrupted"
    assert result
    assert result.startswith(CUT_SHORT)
    assert "half of it" in result
    assert results(db)[1] == ("queued", None)
    assert rows(db, "SELECT lease_owner, wake_at <= now() FROM sandbox") == [(None, True)]
    pump(w, runner(runner_id="r2"))
    assert_settled(db)


# --- which state a runner goes on from


def test_a_portable_sandbox_moves_with_its_snapshot(worker: Make, runner: Make, db: Database) -> None:
    w, sandbox = asked(worker, "one")
    first, second = runner(), runner(runner_id="r2")
    first.work(sandbox)
    assert rows(db, "SELECT generation, convert_from(snapshot, 'utf8') FROM sandbox") == [(1, '["one"]')]
    w.model.script = [[bash("two")], [bash("three")]]
    pump(w)
    second.work(sandbox)
    assert results(db)[1] == ("done", "one two")
    pump(w)
    first.work(sandbox)
    assert results(db)[2] == ("done", "one two three"), "what it has open is old: it starts from what is stored"
    assert [opened.closed for opened in first.runtime.opened] == [True, False]
    assert value(db, "SELECT generation FROM sandbox") == 3


def test_a_warm_sandbox_is_used_again_and_its_state_not_fetched(worker: Make, runner: Make, db: Database) -> None:
    w, sandbox = asked(worker, "one")
    r: Runner = runner()
    r.work(sandbox)
    w.model.script = [[bash("two")]]
    pump(w)
    claim = calls.take(r.db, sandbox, r.place, owner=r.name, warm_generation=r.warm.generation(sandbox))
    assert claim
    assert (claim.generation, claim.snapshot) == (1, None)
    assert len(r.runtime.opened) == 1


def test_a_call_that_changes_nothing_stores_nothing(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([call("read", path="x")]))
    w.advance(w.say().thread_id)
    runner().work(value(db, "SELECT id FROM sandbox"))
    assert rows(db, "SELECT generation, snapshot FROM sandbox") == [(0, None)]


def test_what_a_command_did_under_a_lost_lease_is_not_kept(worker: Make, runner: Make, db: Database) -> None:
    """Its end could not be committed, so the runner must not go on from a state that nobody else has."""
    _, sandbox = asked(worker, "one", "two")
    other: Runner = runner(runner_id="r2")

    def lose_it(command: str, _: Any) -> None:
        if command == "one":
            expire(db, "sandbox", sandbox)
            other.work(sandbox)

    lost: Runner = runner(runtime=NoteRuntime(lose_it))
    lost.work(sandbox)
    assert [state for state, _ in results(db)] == ["interrupted", "done"]
    assert results(db)[1] == ("done", "two")
    assert lost.warm.generation(sandbox) == -1
    assert lost.runtime.opened[0].closed
    assert value(db, "SELECT convert_from(snapshot, 'utf8') FROM sandbox") == '["two"]'


def test_a_sandbox_that_can_not_be_opened_fails_its_calls(worker: Make, runner: Make, db: Database) -> None:
    class Broken(NoteRuntime):
        def open(self, key: str, snapshot: bytes | None) -> Any:
            raise Transient("no space left", detail="/secret/path")

    w, _ = asked(worker, "one")
    r: Runner = runner(runtime=Broken())
    pump(w, r)
    assert results(db) == [("failed", "The sandbox can't be opened: no space left")]
    assert_settled(db)


@pytest.mark.parametrize("error", [Refused("no such file"), ZeroDivisionError("by zero")])
def test_an_operation_that_raises_is_a_result(worker: Make, runner: Make, db: Database, error: Exception) -> None:
    def explode(*_: Any) -> None:
        raise error

    w, _ = asked(worker, "one")
    pump(w, runner(runtime=NoteRuntime(explode)))
    (result,) = results(db)
    assert result == ("failed", "no such file" if isinstance(error, Refused) else "ZeroDivisionError: by zero")
    assert_settled(db)


# --- sandboxes whose files are in a folder


def in_folder(runner: Make, runner_id: str, workspace: str) -> Runner:
    found: Runner = runner(runner_id=runner_id, workspace=workspace, runtime=NoteRuntime(portable=False))
    return found


def test_a_folders_sandbox_stays_with_runners_that_have_the_folder(worker: Make, runner: Make, db: Database) -> None:
    w, sandbox = asked(worker, "one")
    home, elsewhere, same = (in_folder(runner, *each) for each in (("r1", "w1"), ("r2", "w2"), ("r3", "w1")))
    home.work(sandbox)
    assert rows(db, "SELECT workspace_id, generation, snapshot FROM sandbox") == [("w1", 0, None)]
    w.model.script = [[bash("two")], [bash("three")]]
    pump(w)
    assert taken(elsewhere, sandbox) is None
    assert results(db)[1][0] == "queued"
    same.work(sandbox)
    assert results(db)[1][0] == "done"


@pytest.mark.parametrize("gone", ["stopped", "silent"])
def test_a_folders_sandbox_moves_on_once_nobody_has_the_folder(
    worker: Make, runner: Make, db: Database, gone: str
) -> None:
    w, sandbox = asked(worker, "one")
    home, elsewhere = in_folder(runner, "r1", "w1"), in_folder(runner, "r2", "w2")
    home.work(sandbox)
    w.model.script = [[bash("two")]]
    pump(w)
    if gone == "stopped":
        runners.stopped(home.db, "r1", home.name)
    else:
        db.rows("UPDATE runner SET heartbeat_at = now() - interval '46 seconds' WHERE id = 'r1'")
    elsewhere.work(sandbox)
    assert results(db)[1][0] == "done"
    assert value(db, "SELECT workspace_id FROM sandbox") == "w2"


# --- files of a message


def a_file(name: str) -> dict[str, str]:
    return {"name": name, "media_type": "text/csv", "data": "eCx5", "text": "x,y"}


def test_files_of_a_threads_messages_are_put_into_the_sandbox(worker: Make, runner: Make, db: Database) -> None:
    """Those of a steer too; and those of earlier turns again where the sandbox is opened anew."""
    w: Worker = worker(model=ScriptedModel([bash("one")], [bash("two")], "first", [bash("three")]))
    first, second = runner(), runner(runner_id="r2")
    accepted = w.say(attachments=[a_file("a.csv")])
    w.say(thread="another", channel="t", attachments=[a_file("not-this-threads.csv")])
    w.advance(accepted.thread_id)
    sandbox = value(db, "SELECT id FROM sandbox")
    first.work(sandbox)
    (opened,) = first.runtime.opened
    assert opened.stored == {"inbox/a.csv": b"x,y"}
    opened.stored.clear()
    w.say(attachments=[a_file("b.csv")])
    w.advance(accepted.thread_id)
    first.work(sandbox)
    assert list(opened.stored) == ["inbox/b.csv"], "what is there is not put again"
    w.advance(accepted.thread_id)
    w.say()
    w.advance(accepted.thread_id)
    second.work(sandbox)
    assert sorted(second.runtime.opened[0].stored) == ["inbox/a.csv", "inbox/b.csv"]


# --- who the runner is


def test_runners_register_and_are_replaced(runner: Make, db: Database) -> None:
    r: Runner = runner()
    assert runners.heartbeat(r.db, "r1", r.name)
    runners.register(r.db, runner="r1", instance="newer", runtimes=["virtual"], capacity=1, workspace=None)
    assert not runners.heartbeat(r.db, "r1", r.name)
    runners.stopped(r.db, "r1", r.name)
    (row,) = runners.listed(r.db)
    assert (row.id, row.lives, row.running, row.stopped_at) == ("r1", True, 0, None), "the older one can't stop it"
    runners.stopped(r.db, "r1", "newer")
    assert not runners.listed(r.db)[0].lives
