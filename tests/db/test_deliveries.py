"""The outbox: in order for each destination, retried while that is safe, never silently dropped."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app import deliveries
from app.db import Database
from app.ports import Outbound
from app.results import Ambiguous, Failed, Retry, SendResult, Sent
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
    delivery, turn = rows(db, "SELECT id, turn_id FROM delivery")[0]
    body = {"thread": "t0", "run": str(turn), "status": "done", "text": "re: 0"}
    assert sent == Outbound(str(delivery), "x", body, 1, ())


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
    ("result", "resend_safe", "state"),
    [
        (Sent("1"), True, "sent"),
        (Failed("no"), True, "failed"),
        (Retry("later"), False, "pending"),
        (Ambiguous("?"), True, "pending"),
        (Ambiguous("?"), False, "ambiguous"),
        (ZeroDivisionError("by zero"), False, "ambiguous"),
        (ZeroDivisionError("by zero"), True, "pending"),
    ],
)
def test_what_becomes_of_a_delivery(
    worker: Make, db: Database, result: SendResult | Exception, resend_safe: bool, state: str
) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(result, resend_safe=resend_safe))
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
    waits = [deliveries.backoff(attempts, settings) for _ in range(200)]
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


@pytest.mark.parametrize("resend_safe", [True, False])
def test_a_send_that_a_dead_process_had_begun(worker: Make, db: Database, resend_safe: bool) -> None:
    _, destination = staged(worker, 2)
    db.rows(deliveries.TAKE_HEAD, destination=destination, owner="dead", ttl=0)
    assert states(db) == [("sending", 1), ("pending", 0)]
    w: Worker = worker(adapter=NoteAdapter(resend_safe=resend_safe))
    w.deliver(destination)
    texts = [sent.body["text"] for sent in w.adapter.sends]
    if resend_safe:
        assert texts == ["re: 0", "re: 1"]
        assert states(db) == [("sent", 2), ("sent", 1)]
    else:
        assert texts == ["re: 1"]
        assert states(db) == [("ambiguous", 1), ("sent", 1)]
    assert value(db, "SELECT count(*) FROM event WHERE kind = 'delivery_in_doubt'") == 1
    assert_settled(db)


class Died(BaseException):
    """The process is gone from here on, as far as the code under test can tell."""


def die(_: Outbound) -> SendResult:
    raise Died


def test_a_delivery_that_kills_its_process_each_time_ends(worker: Make, db: Database) -> None:
    adapter = NoteAdapter(die, die, resend_safe=True)
    w, destination = staged(worker, 2, adapter=adapter, delivery={"attempts": 2})
    for attempt in (1, 2):
        with pytest.raises(Died):
            w.deliver(destination)
        assert states(db)[0] == ("sending", attempt)
        expire(db, "destination", destination)
    w.deliver(destination)
    assert states(db) == [("ambiguous", 2), ("sent", 1)]
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
    w: Worker = worker(adapter=NoteAdapter(resend_safe=False))
    keep_at(partial(w.deliver, destination), lambda: states(db) == [("ambiguous", 1)])
    assert w.adapter.sends == []
    assert_settled(db)


def test_a_sent_delivery_whose_answer_from_postgres_was_lost_is_not_sent_again(
    worker: Make, db: Database, database_url: str
) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(resend_safe=True))
    intrusion = Intrusion(1, "answer lost", lambda: None, database_url)
    with intrusion.on(w.db.engine):
        w.deliver(destination)
    assert intrusion.happened
    pump(w)
    assert [sent.body["text"] for sent in w.adapter.sends] == ["re: 0", "re: 1"]
    assert_settled(db)


# --- an operator's retry


@pytest.mark.parametrize("result", [Failed("no"), Ambiguous("?")])
def test_what_ended_badly_can_be_sent_once_more(worker: Make, db: Database, result: SendResult) -> None:
    w, destination = staged(worker, 2, adapter=NoteAdapter(result, resend_safe=False))
    w.deliver(destination)
    bad = value(db, "SELECT id FROM delivery WHERE seq = 1")
    assert deliveries.retry(w.db, bad) == destination
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
    assert deliveries.retry(w.db, value(db, "SELECT id FROM delivery")) is None
    assert deliveries.retry(w.db, UUID(int=1)) is None
    assert everything(db) == before


def test_of_two_operators_one_retries(worker: Make, db: Database) -> None:
    w, destination = staged(worker, adapter=NoteAdapter(Failed("no")))
    w.deliver(destination)
    bad = value(db, "SELECT id FROM delivery")
    both = [deliveries.retry(w.db, bad), deliveries.retry(w.db, bad)]
    assert both == [destination, None]


def test_deliveries_are_listed_newest_first(worker: Make, db: Database) -> None:
    w, destination = staged(worker, 3, adapter=NoteAdapter(Sent(), Failed("no"), Sent()))
    w.deliver(destination)
    assert [row.state for row in deliveries.listed(w.db, None, 2)] == ["sent", "failed"]
    assert [row.error for row in deliveries.listed(w.db, "failed", 9)] == ["no"]


# --- many processes at once


class FileAdapter(NoteAdapter):
    """Notes its sends in a file that all processes share, in the order in which they happen."""

    def __init__(self, path: str) -> None:
        super().__init__(resend_safe=False)
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
