"""The outbox: in order for each destination, retried while that is safe, never silently dropped."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app import deliveries, redelivery, send_outcomes
from app.db import Database
from app.ports import InDoubt
from app.results import Absent, Ambiguous, Failed, Held, Retry, SendResult, Sent, Settled
from app.traffic import Outbound
from tests.db.doubles import NoteAdapter, ScriptedModel, bash, call
from tests.db.interleaving import Intrusion, keep_at, wait_until
from tests.db.processes import Processes, together
from tests.db.rows import assert_settled, everything, expire, pump, rows, value
from tests.db.stations import Runner, Worker

Make = Callable[..., Any]


def staged(worker: Make, count: int = 1, address: str = "x", **more: Any) -> tuple[Worker, UUID]:
    """A worker that has staged replies to one address and sent none, and that destination."""
    w: Worker = worker(delivers=False, **more)
    for n in range(count):
        w.advance(w.say(str(n), thread=f"t{n}", reply={"to": address}).thread_id)
    return w, value(w.db, "SELECT id FROM destination WHERE address = :address", address=address)


def states(db: Database) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in rows(db, "SELECT state, attempts FROM delivery ORDER BY seq")]


def make_due(db: Database) -> None:
    db.rows("UPDATE delivery SET due_at = now() WHERE state = 'pending'")
    db.rows("UPDATE destination SET wake_at = now() WHERE wake_at IS NOT NULL")


def test_deliveries_leave_in_order(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 5)
    assert rows(db, "SELECT seq FROM delivery ORDER BY created_at, seq") == [(n,) for n in range(1, 6)]
    w.deliver(destination)
    assert [sent.body["text"] for sent in w.adapter.sends] == [f"re: {n}" for n in range(5)]
    assert states(db) == [("sent", 1)] * 5
    assert value(db, "SELECT count(*) FROM delivery WHERE finished_at IS NOT NULL") == 5
    assert_settled(db)


def test_what_the_adapter_gets(worker: Make, db: Database) -> None:
    w, destination = staged(worker)
    w.deliver(destination)
    (sent,) = w.adapter.sends
    delivery, turn, staged_at, tried_at = rows(db, "SELECT id, turn_id, created_at, tried_at FROM delivery")[0]
    body = {"thread": "t0", "run": str(turn), "status": "done", "text": "re: 0"}
    assert sent == Outbound(str(delivery), "x", "reply", body, 1, [], [], staged_at=staged_at, tried_at=tried_at)


def test_files_go_with_the_reply(worker: Make, runner: Make, db: Database) -> None:
    w: Worker = worker(model=ScriptedModel([bash("a" * 100), call("attach", path="out/a.txt")]))
    r: Runner = runner()
    w.say()
    pump(w, r)
    (file,) = w.adapter.sends[0].files
    assert (file["name"], file["media_type"]) == ("a.txt", "text/plain")
    # More than one line of base64: Postgres breaks it into lines, and receivers would not take that.
    assert file["data"] == "YWFh" * 33 + "YQ=="


def test_a_destination_that_is_held_or_has_nothing_due_is_left_alone(worker: Make, db: Database) -> None:
    _, destination = staged(worker)
    other: Worker = worker()
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="somebody", ttl=60)
    before = everything(db)
    other.deliver(destination)
    other.deliver(UUID(int=1))
    assert everything(db) == before
    assert other.adapter.sends == []


# --- what a send's result means


@pytest.mark.parametrize(
    ("result", "in_doubt", "state"),
    [
        (Sent("1"), "resend", "sent"),
        (Failed("no"), "resend", "failed"),
        (Retry("later"), "flag", "pending"),
        (Ambiguous("?"), "resend", "pending"),
        (Ambiguous("?"), "look", "pending"),
        (Ambiguous("?"), "flag", "ambiguous"),
        (ZeroDivisionError("by zero"), "flag", "ambiguous"),
        (ZeroDivisionError("by zero"), "resend", "pending"),
    ],
)
def test_what_becomes_of_a_delivery(
    worker: Make, db: Database, result: SendResult | Exception, in_doubt: InDoubt, state: str
) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(result, in_doubt=in_doubt))
    w.deliver(destination)
    assert states(db) == [(state, 1)]
    reason = value(db, "SELECT error FROM delivery")
    assert (reason is None) == (state == "sent")
    event = f"delivery_{state}"
    data = value(db, "SELECT data FROM event WHERE kind = :kind", kind=event)
    assert (data["attempt"], data["error"]) == (1, reason)
    if state != "pending":
        assert_settled(db)
    assert rows(db, "SELECT lease_owner FROM destination") == [(None,)]


@pytest.mark.parametrize("result", [Retry("later"), Ambiguous("?")])
def test_the_last_attempt_ends_it(worker: Make, db: Database, result: SendResult) -> None:
    adapter = NoteAdapter(*[result] * 3)
    w, destination = staged(worker, adapter=adapter, delivery={"attempts": 3})
    for _ in range(5):
        make_due(db)
        w.deliver(destination)
    assert states(db) == [("failed" if isinstance(result, Retry) else "ambiguous", 3)]
    assert [sent.attempt for sent in adapter.sends] == [1, 2, 3]
    assert_settled(db)


@pytest.mark.parametrize(("attempts", "most"), [(1, 2), (2, 4), (5, 32), (11, 600), (500, 600)])
def test_backoff_doubles_with_jitter_within_its_bound(worker: Make, attempts: int, most: float) -> None:
    settings = worker().settings.delivery
    waits = [send_outcomes.backoff(attempts, settings) for _ in range(200)]
    assert most / 2 <= min(waits)
    assert max(waits) <= most
    assert max(waits) - min(waits) > most / 5, "a fleet does not come back in step"


def test_retry_after_is_kept_to(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(Retry("429", 100)))
    w.deliver(destination)
    assert value(db, "SELECT due_at - now() BETWEEN '95 s' AND '101 s' FROM delivery")
    assert value(db, "SELECT wake_at = (SELECT due_at FROM delivery) FROM destination")
    w.deliver(destination)
    db.rows("UPDATE destination SET wake_at = now()")
    w.deliver(destination)
    assert len(w.adapter.sends) == 1, "not before its time, whoever wakes the lane"


def test_what_comes_later_waits_behind_a_retry(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(Retry("429", 100)))
    w.deliver(destination)
    w.advance(w.say("2", thread="t2", reply={"to": "x"}).thread_id)
    w.deliver(destination)
    assert [sent.body["text"] for sent in w.adapter.sends] == ["re: 0"]
    assert states(db) == [("pending", 1), ("pending", 0), ("pending", 0)]
    # The lane sleeps until its head is due: what waits behind it is due, but can't leave.
    assert value(db, "SELECT wake_at = (SELECT due_at FROM delivery WHERE seq = 1) FROM destination")
    make_due(db)
    w.deliver(destination)
    assert [sent.body["text"] for sent in w.adapter.sends[1:]] == ["re: 0", "re: 1", "re: 2"]
    assert_settled(db)


def test_a_failed_delivery_does_not_hold_up_the_next(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(Failed("no")))
    w.deliver(destination)
    assert [state for state, _ in states(db)] == ["failed", "sent"]
    assert_settled(db)


# --- processes that die while they send


@pytest.mark.parametrize("in_doubt", ["resend", "flag"])
def test_a_send_that_a_dead_process_had_begun(worker: Make, db: Database, in_doubt: InDoubt) -> None:
    _, destination = staged(worker, 2)
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="dead", ttl=0)
    assert states(db) == [("sending", 1), ("pending", 0)]
    w: Worker = worker(adapter=NoteAdapter(in_doubt=in_doubt))
    w.deliver(destination)
    texts = [sent.body["text"] for sent in w.adapter.sends]
    if in_doubt == "resend":
        assert texts == ["re: 0", "re: 1"]
        assert states(db) == [("sent", 2), ("sent", 1)]
    else:
        assert texts == ["re: 1"]
        assert states(db) == [("ambiguous", 2), ("sent", 1)]
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'delivery_in_doubt'") == 1
    assert_settled(db)


class Died(BaseException):
    """The process is gone from here on, as far as the code under test can tell."""


def die(_: Outbound) -> SendResult:
    raise Died


def test_a_delivery_that_kills_its_process_each_time_ends(worker: Make, db: Database) -> None:
    adapter = NoteAdapter(die, die, in_doubt="resend")
    w, destination = staged(worker, 2, adapter=adapter, delivery={"attempts": 2})
    for attempt in (1, 2):
        with pytest.raises(Died):
            w.deliver(destination)
        assert states(db)[0] == ("sending", attempt)
        expire(db, "destination", destination)
    w.deliver(destination)
    assert states(db) == [("ambiguous", 3), ("sent", 1)]
    assert len(adapter.sends) == 3, "twice the first, once the second"
    assert_settled(db)


def send_for_ever(_: Barrier, database_url: str, redis_url: str, destination: UUID) -> None:
    def never(_: Outbound) -> SendResult:
        threading.Event().wait()
        return Sent()

    w = Worker(
        database_url, redis_url, adapter=NoteAdapter(never), lease={"ttl": "1s", "renew": "200ms", "sweep": "1s"}
    )
    w.keeper.start()
    w.deliver(destination)


def test_a_process_killed_while_it_sends(worker: Make, db: Database, database_url: str, redis_url: str) -> None:
    _, destination = staged(worker)
    processes = Processes(send_for_ever, [(database_url, redis_url, destination)])
    try:
        wait_until(lambda: states(db) == [("sending", 1)])
    finally:
        processes.kill()
    w: Worker = worker(adapter=NoteAdapter(in_doubt="flag"))
    keep_at(partial(w.deliver, destination), lambda: states(db) == [("ambiguous", 2)])
    assert w.adapter.sends == []
    assert_settled(db)


def test_a_sent_delivery_whose_answer_from_postgres_was_lost_is_not_sent_again(
    worker: Make, db: Database, database_url: str
) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(in_doubt="resend"))
    intrusion = Intrusion(1, "answer lost", lambda: None, database_url)
    with intrusion.on(w.db.engine):
        w.deliver(destination)
    assert intrusion.happened
    pump(w)
    assert [sent.body["text"] for sent in w.adapter.sends] == ["re: 0", "re: 1"]
    assert_settled(db)


# --- settling what may have arrived


def looking(*plan: Any, settled: list[Settled]) -> NoteAdapter:
    adapter = NoteAdapter(*plan, in_doubt="look")
    adapter.settled = settled
    return adapter


def test_what_turns_out_to_have_arrived_is_not_sent_again(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 2, adapter=looking(Ambiguous("no answer"), settled=[Sent("r1")]))
    w.deliver(destination)
    assert rows(db, "SELECT state, doubtful FROM delivery ORDER BY seq") == [("pending", True), ("pending", False)]
    make_due(db)
    w.deliver(destination)
    assert [sent.body["text"] for sent in w.adapter.sends] == ["re: 0", "re: 1"]
    assert [asked.body["text"] for asked in w.adapter.asked] == ["re: 0"]
    assert rows(db, "SELECT state, doubtful, sent FROM delivery ORDER BY seq") == [
        ("sent", False, ["r1"]),
        ("sent", False, []),
    ]
    assert_settled(db)


def test_what_turns_out_not_to_have_arrived_is_sent(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=looking(Ambiguous("no answer"), settled=[Absent()]))
    w.deliver(destination)
    make_due(db)
    w.deliver(destination)
    assert len(w.adapter.sends) == 2
    assert states(db) == [("sent", 2)]


def test_what_can_t_be_told_now_is_asked_again_and_not_sent(worker: Make, db: Database) -> None:
    unknown = Retry("the history is not there", doubtful=True)
    adapter = looking(Ambiguous("no answer"), settled=[unknown, unknown])
    w, destination = staged(worker, adapter=adapter, delivery={"attempts": 3})
    for _ in range(3):
        make_due(db)
        w.deliver(destination)
    assert (len(adapter.sends), len(adapter.asked)) == (1, 2)
    assert states(db) == [("ambiguous", 3)], "never given out as failed: it may be there"


@pytest.mark.parametrize("between", [Held("a limit", 0.0), Retry("429"), Retry("no connection")])
def test_doubt_stays_until_it_is_known_to_be_there(worker: Make, db: Database, between: SendResult) -> None:
    """What looked absent may be on its way yet, and what is sent next may be long after."""
    adapter = looking(Ambiguous("no answer"), between, settled=[Absent(), Sent("r1")])
    w, destination = staged(worker, adapter=adapter)
    for _ in range(3):
        make_due(db)
        w.deliver(destination)
    assert (len(adapter.sends), len(adapter.asked)) == (2, 2)
    assert states(db)[0][0] == "sent"


def test_a_look_comes_before_what_a_dead_process_had_begun_is_sent(worker: Make, db: Database) -> None:
    _, destination = staged(worker)
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="dead", ttl=0)
    w: Worker = worker(adapter=looking(settled=[Sent("r1")]))
    w.deliver(destination)
    assert w.adapter.sends == []
    assert states(db) == [("sent", 2)]


def test_it_is_not_looked_for_too_soon(worker: Make, db: Database) -> None:
    """A provider that was too slow to answer may show it only later."""
    w, destination = staged(worker, adapter=looking(Ambiguous("no answer"), settled=[]))
    w.deliver(destination)
    assert value(db, "SELECT due_at - now() BETWEEN '9 s' AND '10 s' FROM delivery")


def test_doubt_outlives_the_process_that_was_settling_it(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=looking(Ambiguous("no answer"), settled=[]))
    w.deliver(destination)
    make_due(db)
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="dead", ttl=0)
    w.adapter.settled = [Sent("r1")]
    w.deliver(destination)
    assert len(w.adapter.sends) == 1


def test_it_is_told_when_it_may_first_have_arrived(worker: Make, db: Database) -> None:
    """A provider that knows a message again only for a while is asked within that while: from the first try that may
    have arrived, not from the delivery's making nor from the latest try."""
    adapter = looking(Retry("no connection"), Ambiguous("no answer"), Retry("429"), settled=[])
    w, destination = staged(worker, adapter=adapter)
    for _ in range(2):
        make_due(db)
        w.deliver(destination)
    first_doubt = value(db, "SELECT tried_at FROM delivery")
    for _ in range(2):
        make_due(db)
        w.deliver(destination)
    assert adapter.sends[0].tried_at < first_doubt
    assert [sent.tried_at for sent in adapter.sends[1:]] == [first_doubt] * 3
    assert [asked.tried_at for asked in adapter.asked] == [first_doubt] * 2


def test_a_dead_process_s_try_is_the_first_that_may_have_arrived(worker: Make, db: Database) -> None:
    _, destination = staged(worker)
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="dead", ttl=0)
    tried_at = value(db, "SELECT tried_at FROM delivery")
    w: Worker = worker(adapter=looking(settled=[]))
    w.deliver(destination)
    assert [asked.tried_at for asked in w.adapter.asked] == [tried_at]


def test_an_operator_s_retry_does_not_look(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=looking(Ambiguous("?"), settled=[]), delivery={"attempts": 1})
    w.deliver(destination)
    assert redelivery.retry(w.db, value(db, "SELECT id FROM delivery")) == destination
    w.deliver(destination)
    assert (len(w.adapter.sends), len(w.adapter.asked)) == (2, 0)


# --- in parts


def test_the_parts_of_a_delivery_leave_one_by_one(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(Sent("a", more=True), Sent("b", more=True), Sent("c")))
    w.deliver(destination)
    assert [(sent.body["text"], sent.sent) for sent in w.adapter.sends] == [
        ("re: 0", []),
        ("re: 0", ["a"]),
        ("re: 0", ["a", "b"]),
        ("re: 1", []),
    ]
    assert rows(db, "SELECT sent, attempts FROM delivery ORDER BY seq") == [(["a", "b", "c"], 1), ([], 1)]
    assert_settled(db)


def test_a_part_that_fails_for_a_while_holds_back_those_behind_it(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(Sent("a", more=True), Retry("no", 60)))
    w.deliver(destination)
    assert rows(db, "SELECT state, sent FROM delivery ORDER BY seq") == [("pending", ["a"]), ("pending", [])]
    make_due(db)
    w.deliver(destination)
    assert [sent.sent for sent in w.adapter.sends] == [[], ["a"], ["a"], []]


def test_a_part_that_a_dead_process_had_begun_is_settled_alone(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=looking(Sent("a", more=True), die, settled=[Sent("b")]))
    with pytest.raises(Died):
        w.deliver(destination)
    expire(db, "destination", destination)
    w.deliver(destination)
    assert [sent.sent for sent in w.adapter.sends] == [[], ["a"]]
    assert [asked.sent for asked in w.adapter.asked] == [["a"]]
    assert rows(db, "SELECT state, sent FROM delivery") == [("sent", ["a", "b"])]


def test_a_delivery_that_a_limit_holds_up_waits_without_using_up_its_tries(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(*[Held("a limit", 1.5)] * 3), delivery={"attempts": 1})
    woken: list[tuple[UUID, float]] = []
    w.outbox = replace(w.outbox, later=lambda lane, seconds: woken.append((lane, seconds)))
    for _ in range(4):
        make_due(db)
        w.deliver(destination)
    assert woken == [(destination, 1.5)] * 3
    assert states(db) == [("sent", 1)]
    assert value(db, "SELECT count(*) FROM event WHERE kind LIKE 'delivery_%'") == 1


# --- an operator's retry


@pytest.mark.parametrize("result", [Failed("no"), Ambiguous("?")])
def test_what_ended_badly_can_be_sent_once_more(worker: Make, db: Database, result: SendResult) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(result, in_doubt="flag"))
    w.deliver(destination)
    bad = value(db, "SELECT id FROM delivery WHERE seq = 1")
    assert redelivery.retry(w.db, bad) == destination
    assert value(db, "SELECT wake_at <= now() FROM destination")
    assert rows(db, "SELECT state, attempts, finished_at, due_at <= now() FROM delivery WHERE seq = 1") == [
        ("pending", 0, None, True)
    ]
    w.deliver(destination)
    assert [state for state, _ in states(db)] == ["sent", "sent"]
    assert [sent.body["text"] for sent in w.adapter.sends] == ["re: 0", "re: 1", "re: 0"]
    assert_settled(db)


@pytest.mark.parametrize("state", ["pending", "sending", "sent"])
def test_only_what_ended_badly_is_sent_once_more(worker: Make, db: Database, state: str) -> None:
    """Else a delivery that is being sent right now would leave twice."""
    w, destination = staged(worker)
    if state == "sending":
        db.rows(deliveries.TAKE_HEAD, destination=destination, owner="somebody", ttl=60)
    elif state == "sent":
        w.deliver(destination)
    before = everything(db)
    assert redelivery.retry(w.db, value(db, "SELECT id FROM delivery")) is None
    assert redelivery.retry(w.db, UUID(int=1)) is None
    assert everything(db) == before


def test_of_two_operators_one_retries(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(Failed("no")))
    w.deliver(destination)
    bad = value(db, "SELECT id FROM delivery")
    both = [redelivery.retry(w.db, bad), redelivery.retry(w.db, bad)]
    assert both == [destination, None]


def test_deliveries_are_listed_newest_first(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 3, adapter=NoteAdapter(Sent(), Failed("no"), Sent()))
    w.deliver(destination)
    assert [row.state for row in redelivery.listed(w.db, None, 2)] == ["sent", "failed"]
    assert [row.error for row in redelivery.listed(w.db, "failed", 9)] == ["no"]


# --- many processes at once


class FileAdapter(NoteAdapter):
    """Notes its sends in a file that all processes share, in the order in which they happen."""

    def __init__(self, path: str) -> None:
        super().__init__(in_doubt="flag")
        self.path = path

    def send(self, delivery: Outbound) -> SendResult:
        with Path(self.path).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps([delivery.address, delivery.id]) + "\n")
        return Sent()


def stage_and_send(barrier: Barrier, database_url: str, redis_url: str, path: str, number: int) -> None:
    w = Worker(database_url, redis_url, adapter=FileAdapter(path))
    barrier.wait()
    for n in range(15):
        w.advance(w.say(thread=f"p{number} {n}", reply={"to": f"place {n % 2}"}).thread_id)
    w.close()


def test_deliveries_staged_by_many_processes_at_once_leave_in_order(
    worker: Make, db: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "sends")
    together(stage_and_send, *[(database_url, redis_url, path, number) for number in range(4)])
    w: Worker = worker(adapter=FileAdapter(path))
    pump(w)
    assert_settled(db)
    sends = [json.loads(line) for line in Path(path).read_text().splitlines()]
    in_order = rows(
        db,
        "SELECT address, delivery.id::text FROM delivery JOIN destination ON destination.id = "
        "destination_id ORDER BY address, seq",
    )
    assert sorted(sends, key=lambda send: send[0]) == [list(row) for row in in_order]
    assert len(sends) == 60
