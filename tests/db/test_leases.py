"""Leases: one holder, renewed, lost, fenced; killed holders; renewals that fail."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app import calls, deliveries
from app.calls import Ended
from app.config.adapters import Permissions
from app.config.messages import Messages
from app.db import Database
from app.errors import LeaseLost, Transient
from app.leases import Keeper
from app.results import Answer, Retry, Sent
from app.states import CallState, TurnState
from app.tools.builtin import TOOLS
from app.turns import outcomes
from app.turns.asking import Terms, calls_of, judge_calls
from app.turns.commit import Outcome, commit, commit_results
from app.turns.facts import Held, give_back, reread, take
from app.turns.next import Ask, Give
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, TrustedTool, WaitingModel, bash, call
from tests.db.interleaving import keep_at, wait_until
from tests.db.processes import Processes, together
from tests.db.rows import assert_settled, everything, expire, pump, rows, value
from tests.db.stations import Runner, Worker, say

Make = Callable[..., Any]


def lane(db: Database) -> tuple[Any, ...]:
    return rows(db, "SELECT lease_owner, lease_token, lease_until > now() FROM thread")[0]


# --- taking


def test_taking_a_lane(worker: Make, db: Database) -> None:
    w: Worker = worker()
    accepted = w.say()
    held = take(w.db, w.keeper, accepted.thread_id)
    assert held
    assert lane(db) == (w.name, 1, True)
    assert held.facts.token == 1
    assert [turn.state for turn in held.facts.turns] == [TurnState.RUNNING]
    assert w.keeper.held() == [held.lease]


@pytest.mark.parametrize("columns", ["wake_at = NULL", "wake_at = now() + interval '1 minute'"])
def test_a_lane_without_work_is_not_taken(worker: Make, db: Database, columns: str) -> None:
    w: Worker = worker()
    accepted = w.say()
    db.rows(f"UPDATE thread SET {columns}")
    assert take(w.db, w.keeper, accepted.thread_id) is None
    assert lane(db) == (None, 0, None)


def test_a_held_lane_is_not_taken_until_its_lease_ran_out(worker: Make, db: Database) -> None:
    first, second = worker(), worker()
    accepted = first.say()
    take(first.db, first.keeper, accepted.thread_id)
    assert take(second.db, second.keeper, accepted.thread_id) is None
    assert take(first.db, first.keeper, accepted.thread_id) is None, "not by its own process either"
    expire(db, "thread", accepted.thread_id)
    held = take(second.db, second.keeper, accepted.thread_id)
    assert held
    assert lane(db) == (second.name, 2, True)


def test_nobody_takes_a_thread_that_is_not_there(worker: Make) -> None:
    w: Worker = worker()
    assert take(w.db, w.keeper, UUID(int=1)) is None


def take_all(barrier: Barrier, url: str, threads: list[UUID]) -> list[UUID]:
    db = Database(url, name="takes", pool_size=1)
    keeper = Keeper(db, "takes", ttl=60, renew=20)
    barrier.wait()
    taken = [thread for thread in threads if take(db, keeper, thread)]
    db.close()
    return taken


def test_of_many_processes_one_gets_each_lane(db: Database, database_url: str) -> None:
    threads = [say(db, thread=f"t{n}").thread_id for n in range(40)]
    taken = together(take_all, *[(database_url, threads)] * 5)
    assert Counter(thread for each in taken for thread in each) == dict.fromkeys(threads, 1)


# --- keeping


def test_every_lease_is_renewed(worker: Make, db: Database) -> None:
    w: Worker = worker(lease={"ttl": "10s", "renew": "20ms", "sweep": "1s"})
    leases = [take(w.db, w.keeper, w.say(thread=f"t{n}").thread_id) for n in range(3)]
    db.rows("UPDATE thread SET lease_until = now() + interval '1 second'")
    before = [held.lease.deadline for held in leases if held]
    w.keeper.start()
    wait_until(lambda: value(db, "SELECT min(lease_until) > now() + interval '5 seconds' FROM thread"))
    wait_until(lambda: all(held.lease.deadline > old for held, old in zip(leases, before, strict=True) if held))


def test_a_lease_that_somebody_else_has_is_told_to_stop(worker: Make, db: Database) -> None:
    w, other = worker(lease={"ttl": "10s", "renew": "20ms", "sweep": "1s"}), worker()
    accepted = w.say()
    held = take(w.db, w.keeper, accepted.thread_id)
    assert held
    expire(db, "thread", accepted.thread_id)
    assert take(other.db, other.keeper, accepted.thread_id)
    assert not held.lease.is_set()
    w.keeper.start()
    assert held.lease.wait(30)
    assert held.lease.lost
    assert lane(db)[0] == other.name, "the other's lease was not renewed for it, nor taken away"


def test_the_deadline_is_never_later_than_the_row_says(worker: Make, db: Database) -> None:
    w: Worker = worker(lease={"ttl": "10s", "renew": "20ms", "sweep": "1s"})
    held = take(w.db, w.keeper, w.say().thread_id)
    assert held

    def left() -> tuple[float, float]:
        in_row: float = value(db, "SELECT extract(epoch FROM lease_until - clock_timestamp())::float FROM thread")
        return held.lease.deadline - time.monotonic(), in_row

    here, there = left()
    assert here <= there
    w.keeper.start()
    first = held.lease.deadline
    wait_until(lambda: held.lease.deadline > first)
    w.keeper.close()
    here, there = left()
    assert here <= there


def test_a_broken_connection_of_the_keeper_loses_nothing(worker: Make, db: Database) -> None:
    """A renewal that failed is "unknown", not "lost": the work goes on, over a new connection."""
    model = WaitingModel()
    w: Worker = worker(model=model, lease={"ttl": "20s", "renew": "20ms", "sweep": "1s"})
    accepted = w.say()
    w.keeper.start()
    work = threading.Thread(target=w.advance, args=(accepted.thread_id,))
    work.start()
    assert model.asked.wait(30)
    keepers = "SELECT pid FROM pg_stat_activity WHERE application_name = :name"
    for _ in range(3):
        wait_until(lambda: rows(db, keepers, name=f"heyfleet {w.name} leases"))
        until = value(db, "SELECT lease_until FROM thread")
        db.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name",
            name=f"heyfleet {w.name} leases",
        )
        wait_until(lambda until=until: value(db, "SELECT lease_until FROM thread") > until)  # type: ignore[misc]
    model.let.set()
    work.join(30)
    assert lane(db) == (None, 1, None), "by its first holder, who gave it back"
    assert_settled(db)
    assert len(model.prompts) == 1


def test_a_lease_that_can_not_be_renewed_ends_the_work_at_its_expiry(worker: Make, db: Database) -> None:
    model = WaitingModel()
    w: Worker = worker(model=model, lease={"ttl": "2s", "renew": "200ms", "sweep": "1s"})
    accepted = w.say()
    w.keeper.start()
    ended: list[float] = []

    def advance() -> None:
        w.advance(accepted.thread_id)
        ended.append(time.monotonic())

    work = threading.Thread(target=advance)
    work.start()
    assert model.asked.wait(30)
    with db.transaction() as connection:
        connection.execute(text("SELECT 1 FROM thread FOR UPDATE"))
        (lease,) = w.keeper.held()
        deadline = lease.deadline
        work.join(30)
        assert ended, "the work stopped by itself"
        assert ended[0] >= deadline, "and not before the time that was granted last"
        before = everything(db)
    assert before["step"] == []
    assert [turn["state"] for turn in before["turn"]] == ["running"]
    w.keeper.close()
    expire(db, "thread", accepted.thread_id)
    other: Worker = worker()
    pump(other)
    assert_settled(db)


def test_a_surprise_in_a_beat_does_not_end_the_renewals(worker: Make, db: Database) -> None:
    w: Worker = worker(lease={"ttl": "10s", "renew": "20ms", "sweep": "1s"})
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        raise ZeroDivisionError

    w.keeper.on_beat.append(beat)
    take(w.db, w.keeper, w.say().thread_id)
    w.keeper.start()
    wait_until(lambda: len(beats) > 2)
    until = value(db, "SELECT lease_until FROM thread")
    wait_until(lambda: value(db, "SELECT lease_until FROM thread") > until)


def test_a_cancelled_turn_is_noticed_while_its_model_speaks(worker: Make, db: Database) -> None:
    model = WaitingModel()
    w: Worker = worker(model=model)
    accepted = w.say()
    w.keeper.start()
    work = threading.Thread(target=w.advance, args=(accepted.thread_id,))
    work.start()
    assert model.asked.wait(30)
    assert w.cancel(accepted.turn_id, "eve") == accepted.thread_id
    work.join(30)
    assert rows(db, "SELECT state, answer FROM turn") == [("cancelled", "Cancelled by eve.")]
    assert not model.prompts, "the request was given up, not answered"
    assert_settled(db)


def test_slots_are_renewed_with_the_lease_of_their_sandbox(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash()]))
    w.advance(w.say().thread_id)
    let = threading.Event()
    r: Runner = runner(
        runtime=NoteRuntime(lambda *_: let.wait(30) and None), lease={"ttl": "10s", "renew": "20ms", "sweep": "1s"}
    )
    r.keeper.start()
    sandbox = value(db, "SELECT id FROM sandbox")
    work = threading.Thread(target=r.work, args=(sandbox,))
    work.start()
    held = "SELECT held_until FROM slot WHERE call_id IS NOT NULL"
    wait_until(lambda: rows(db, held))
    until = value(db, held)
    wait_until(lambda: value(db, held) > until)
    let.set()
    work.join(30)
    assert rows(db, held) == []


# --- fencing


def an_outcome(held: Held, kind: str) -> Outcome:
    """What a step, a failure or a give-up would commit; each writes to other tables."""
    facts, adapter = held.facts, NoteAdapter()
    turn = facts.current
    assert turn
    action = Ask(turn, facts.calls, facts.turns[1:])
    answer = Answer({"q": 1}, {"a": 1}, "too late", [])
    messages = Messages()
    match kind:
        case "answered":
            return outcomes.answered(facts, action, answer, 0.1, adapter=adapter, messages=messages)
        case "called":
            asked = Answer({"q": 1}, {"a": 1}, "", [bash(), call("pay")])
            tools: Any = {"bash": BASH, "pay": TrustedTool("pay")}
            terms = Terms(1800, Permissions(), messages, adapter, None)
            calls = calls_of(facts, turn, judge_calls(asked.calls, tools), terms)
            return outcomes.called(facts, action, asked, 0.1, calls=calls, runtime="virtual", scope_key="late")
        case "retried":
            return outcomes.retried(action, Transient("busy"), 0.1, jitter=0.5)
        case "failed":
            return outcomes.failed(facts, turn, "no", "", adapter=adapter, messages=messages)
        case _:
            return outcomes.given_up(facts, Give(turn, "max_steps"), adapter=adapter, messages=messages, timeout=1)


BASH = next(tool for tool in TOOLS if tool.spec.name == "bash")
THREAD_WRITES = ["answered", "called", "retried", "failed", "gave up", "results", "give back", "reread"]


@pytest.mark.parametrize("write", THREAD_WRITES)
@pytest.mark.parametrize("after", ["taken", "finished"])
def test_who_lost_a_thread_writes_nothing_to_it(worker: Make, db: Database, write: str, after: str) -> None:
    """Neither while the new holder works nor after it has given the lane back."""
    lost, other = worker(tools={"pay": TrustedTool("pay")}), worker(tools={"pay": TrustedTool("pay")})
    accepted = lost.say()
    lost.say("steer")
    held = take(lost.db, lost.keeper, accepted.thread_id)
    assert held
    turn = held.facts.current
    assert turn
    # A trusted call of this turn runs: its result is something to write too.
    commit(lost.db, held.facts, turn, an_outcome(held, "called"), held.lease)
    facts = reread(lost.db, held.facts, held.lease)
    held = Held(facts, held.lease)
    expire(db, "thread", accepted.thread_id)
    if after == "taken":
        assert take(other.db, other.keeper, accepted.thread_id)
    else:
        other.advance(accepted.thread_id)
        assert lane(db)[0] is None
    before = everything(db)
    result = [{"id": str(each.id), "state": "done", "result": "late"} for each in facts.calls]
    writes: dict[str, Callable[[], Any]] = {
        "results": lambda: commit_results(lost.db, facts, turn, result, [], held.lease),
        "reread": lambda: reread(lost.db, facts, held.lease),
    }
    if write == "give back":
        assert give_back(lost.db, facts, "now") is False
    else:
        late = writes.get(write) or partial(commit, lost.db, facts, turn, an_outcome(held, write), held.lease)
        with pytest.raises(LeaseLost):
            late()
    assert everything(db) == before


@pytest.mark.parametrize("write", ["finish", "settle", "give back", "begin more"])
def test_who_lost_a_sandbox_writes_nothing_to_it(worker: Make, runner: Make, db: Database, write: str) -> None:
    w: Worker = worker(model=ScriptedModel([bash("one"), bash("two")]))
    w.advance(w.say().thread_id)
    lost, other = runner(), runner(runner_id="r2")
    sandbox = value(db, "SELECT id FROM sandbox")
    claim = calls.take(lost.db, sandbox, lost.place, owner=lost.name, warm_generation=-1)
    assert claim
    (begun,) = claim.calls
    lease = lost.keeper.hold("sandbox", sandbox, claim.token, time.monotonic())
    expire(db, "sandbox", sandbox)
    assert calls.take(other.db, sandbox, other.place, owner=other.name, warm_generation=-1)
    before = everything(db)
    file = {"id": str(UUID(int=5)), "name": "a", "media_type": "b", "data": ""}
    ended = [Ended(begun, CallState.DONE, "late", [file])]
    writes: dict[str, Callable[[], Any]] = {
        "finish": lambda: calls.finish(lost.db, sandbox, claim, ended, lease, snapshot=b"late"),
        "settle": lambda: calls.settle(lost.db, sandbox, claim),
        "begin more": lambda: calls.begin_more(lost.db, sandbox, claim.token, lost.place, warm_generation=-1),
    }
    if write == "give back":
        calls.give_back(lost.db, sandbox, claim)
    else:
        with pytest.raises(LeaseLost):
            writes[write]()
    assert everything(db) == before


@pytest.mark.parametrize("last", ["sent", "unsent", "more"])
def test_who_lost_a_destination_writes_nothing_to_it(worker: Make, db: Database, last: str) -> None:
    """The lane is taken over while the holder sends, or right after it has found nothing to send."""
    stager, other = worker(delivers=False), worker()
    for n in range(2):
        stager.advance(stager.say(thread=f"t{n}", reply={"to": "x"}).thread_id)
    destination = value(db, "SELECT id FROM destination")
    seen: list[Any] = []

    def take_over(_: Any = None) -> Any:
        expire(db, "destination", destination)
        db.rows(deliveries.TAKE_HEAD, destination=destination, owner="another", ttl=60)
        seen.append(everything(db))
        return Sent() if last == "sent" else Retry("no")

    lost: Worker = worker(adapter=NoteAdapter(take_over))
    if last == "more":
        db.rows("UPDATE delivery SET due_at = now() + interval '1 hour'")
        row = db.one(deliveries.TAKE_HEAD, destination=destination, owner=lost.name, ttl=60)
        assert row
        assert row.id is None
        take_over()
        with pytest.raises(LeaseLost):
            deliveries.rest(lost.outbox, destination, row)
        with pytest.raises(LeaseLost):
            deliveries.next_head(lost.outbox, destination, row.lease_token)
    else:
        lost.deliver(destination)
        assert len(lost.adapter.sends) == 1
    assert everything(db) == seen[0]
    assert other.adapter.sends == []


# --- killed holders


def work_for_ever(_: Barrier, database_url: str, redis_url: str, thread: UUID) -> None:
    """A worker whose model never answers."""
    lease = {"ttl": "2500ms", "renew": "200ms", "sweep": "1s"}
    w = Worker(database_url, redis_url, model=WaitingModel(), lease=lease)
    w.keeper.start()
    w.advance(thread)


def test_a_killed_holder_is_followed_by_another_after_the_expiry(
    worker: Make, db: Database, database_url: str, redis_url: str
) -> None:
    w: Worker = worker()
    accepted = w.say()
    processes = Processes(work_for_ever, [(database_url, redis_url, accepted.thread_id)])
    try:
        wait_until(lambda: value(db, "SELECT lease_until FROM thread"))
        first = value(db, "SELECT lease_until FROM thread")
        wait_until(lambda: value(db, "SELECT lease_until FROM thread") > first, message="the lease was renewed")
        w.advance(accepted.thread_id)
        assert w.model.prompts == [], "nobody else gets in while it lives"
    finally:
        processes.kill()
    until = value(db, "SELECT lease_until FROM thread")
    keep_at(partial(w.advance, accepted.thread_id), lambda: w.model.prompts)
    finished = value(db, "SELECT created_at FROM event WHERE kind = 'turn_finished'")
    assert finished >= until
    assert value(db, "SELECT lease_token FROM thread") == 2
    assert_settled(db)
