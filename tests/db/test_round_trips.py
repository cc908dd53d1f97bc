"""The statements on the way of a turn, one by one. Each is a round trip and, but where it says so, a commit.

Whoever adds one changes this test and docs/performance.md, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from app import closing, deliveries, inbox, sandbox_lane
from app.control import obey
from app.control.commands import parse
from app.control.desk import Order
from app.db import Database, compiled
from app.inbox import accept
from app.policy.people import Person
from app.turns import facts, statements
from tests.db.doubles import ScriptedModel, TrustedTool, bash, call
from tests.db.rows import assert_settled, value
from tests.db.stations import Worker, inbound, say

Make = Callable[..., Any]

NAMES = {
    "accept": inbox.ACCEPT,
    "first of the event": inbox.FIRST,
    "take thread": facts.TAKE_WITH_FACTS,
    "read thread again": facts.REREAD,
    "give thread back": facts.GIVE_BACK,
    "commit step": statements.COMMIT,
    "commit results": statements.RESULTS,
    "take sandbox": sandbox_lane.TAKE_AND_BEGIN,
    "begin more calls": sandbox_lane.BEGIN_MORE,
    "finish calls": sandbox_lane.FINISH,
    "take destination": deliveries.TAKE_HEAD,
    "next delivery": deliveries.NEXT_HEAD,
    "finish delivery": deliveries.FINISH,
    "look at the thread's turns": obey.STANDING,
    "close the command's turn": closing.OBEYED,
}
PLAIN = ["take thread", "commit step", "take destination", "finish delivery"]


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """The names of the statements that are sent meanwhile; BEGIN and COMMIT too, where they are sent by themselves."""
    known = {str(compiled(text).compile(dialect=db.engine.dialect)): name for name, text in NAMES.items()}
    sent: list[str] = []

    def statement(_: Any, __: Any, text: str, *___: Any) -> None:
        sent.append(known.get(text, text))

    def begin(connection: Any) -> None:
        if not connection.connection.dbapi_connection.autocommit:
            sent.append("BEGIN")

    def end(connection: Any) -> None:
        if not connection.connection.dbapi_connection.autocommit:
            sent.append("COMMIT")

    listeners: list[tuple[str, Callable[..., None]]] = [
        ("before_cursor_execute", statement),
        ("begin", begin),
        ("commit", end),
    ]
    for name, listener in listeners:
        event.listen(db.engine, name, listener)
    try:
        yield sent
    finally:
        for name, listener in listeners:
            event.remove(db.engine, name, listener)


def test_a_turn_without_a_tool(worker: Make, db: Database) -> None:
    """Five round trips, five commits."""
    w: Worker = worker()
    with counted(w.db) as sent:
        w.advance(w.say().thread_id)
    assert sent == ["accept", *PLAIN]
    assert_settled(db)


def test_a_turn_with_one_command(worker: Make, runner: Make, db: Database) -> None:
    """Nine round trips, nine commits: two for the step that asks, two for the command."""
    w, r = worker(model=ScriptedModel([bash()])), runner()
    sandbox = "SELECT id FROM sandbox"
    with counted(w.db) as sent, counted(r.db) as sent_by_runner:
        accepted = w.say()
        w.advance(accepted.thread_id)
        r.work(value(db, sandbox))
        w.advance(accepted.thread_id)
    assert sent == ["accept", "take thread", "commit step", *PLAIN]
    assert sent_by_runner == ["take sandbox", "finish calls"]
    assert_settled(db)


def test_each_further_command_of_a_step(worker: Make, runner: Make, db: Database) -> None:
    w, r = worker(model=ScriptedModel([bash(), bash()])), runner()
    w.advance(w.say().thread_id)
    with counted(r.db) as sent:
        r.work(value(db, "SELECT id FROM sandbox"))
    assert sent == ["take sandbox", "finish calls", "begin more calls", "finish calls"]


def test_a_trusted_tool(worker: Make) -> None:
    pay = TrustedTool("pay")
    w: Worker = worker(model=ScriptedModel([call("pay")]), tools={"pay": pay})
    accepted = w.say()
    with counted(w.db) as sent:
        w.advance(accepted.thread_id)
    asked = ["take thread", "commit step", "read thread again", "commit results", "read thread again"]
    assert sent == [*asked, *PLAIN[1:]]


def test_a_turn_whose_reply_goes_nowhere(worker: Make) -> None:
    w: Worker = worker()
    accepted = w.say(reply={})
    with counted(w.db) as sent:
        w.advance(accepted.thread_id)
    assert sent == ["take thread", "commit step"]


def test_a_steer_costs_its_acceptance_and_its_own_reply(worker: Make) -> None:
    w: Worker = worker()
    with counted(w.db) as sent:
        accepted = w.say()
        w.say()
        w.advance(accepted.thread_id)
    assert sent == ["accept", "accept", *PLAIN, "next delivery", "finish delivery"]


def test_a_wake_that_finds_nothing(worker: Make) -> None:
    w: Worker = worker()
    accepted = w.say()
    w.advance(accepted.thread_id)
    with counted(w.db) as sent:
        w.advance(accepted.thread_id)
    assert sent == ["take thread"]


def test_a_duplicate(db: Database) -> None:
    say(db, event_key="e1")
    with counted(db) as sent:
        say(db, event_key="e1")
    assert sent == ["accept", "first of the event"]


def test_rejecting_while_busy_takes_a_transaction(db: Database) -> None:
    with counted(db) as sent:
        accept(db, inbound(), reject_busy=True)
    assert sent == ["BEGIN", "accept", "COMMIT"]


def test_a_command_that_is_obeyed_at_once(worker: Make, db: Database) -> None:
    """Three round trips, three commits: a chat waits for its answer, and no worker is woken for it."""
    w: Worker = worker()
    status = parse("status")
    assert status is not None
    with counted(w.db) as sent:
        asked = inbound("status", command=status.text)
        accepted = accept(w.db, asked)
        order = Order(Person("ada"), asked.adapter, asked.adapter)
        assert obey.obey_at_once(w.desk, order, status, asked, accepted) == w.settings.messages.status_idle
    assert sent == ["accept", "look at the thread's turns", "close the command's turn"]
    assert value(db, "SELECT wake_at FROM thread") is None


def test_of_two_that_obeyed_a_command_one_closes_its_turn(worker: Make, db: Database) -> None:
    w: Worker = worker()
    accepted = w.say("status", command="status")
    words = (w.db, accepted.thread_id, accepted.turn_id, accepted.trace)
    closed = closing.close_obeyed(*words, "nothing to do", "x")
    assert closed is not None
    assert not closed.behind
    assert closing.close_obeyed(*words, "nothing to do", "x") is None
    assert value(db, "SELECT open_turns FROM thread") == 0
    assert value(db, "SELECT count(*) FROM delivery") == 1
    w.deliver(value(db, "SELECT id FROM destination"))
    assert_settled(db)
