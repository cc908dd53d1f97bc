"""Accepting messages: once per event, in order, within limits; by many processes at once."""

from __future__ import annotations

import base64
from collections import Counter
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import UUID

import pytest

from app.clock import uuid7
from app.config.settings import Retention
from app.db import Database
from app.errors import Refused, Unavailable
from app.inbox import accept
from app.retention import prune
from tests.db.interleaving import Intrusion, Mode
from tests.db.processes import together
from tests.db.rows import everything, rows, value
from tests.db.stations import inbound, say


def test_what_is_stored(db: Database) -> None:
    turn = uuid7()
    file = {"name": "a.txt", "media_type": "text/plain", "data": base64.b64encode(b"hi\0").decode(), "text": "hi"}
    message = inbound("he\0llo", team="T1", channel="C1", data={"n": 1}, attachments=[file], reply={"to": "x"})
    accepted = accept(db, message, turn_id=turn)
    assert (accepted.turn_id, accepted.thread_key, accepted.duplicate) == (turn, "t", False)
    thread = rows(db, "SELECT id, agent, adapter, team, key, channel, last_seq, open_turns, version FROM thread")
    assert thread == [(accepted.thread_id, "default", "note", "T1", "t", "C1", 1, 1, 1)]
    assert value(db, "SELECT wake_at <= now() FROM thread")
    assert rows(db, "SELECT id, thread_id, seq, adapter, state, actor, trace, reply FROM turn") == [
        (turn, accepted.thread_id, 1, "note", "queued", "ada", accepted.trace, {"to": "x"})
    ]
    assert rows(db, "SELECT turn_id, direction, actor, text, data FROM message") == [
        (turn, "in", "ada", "he\ufffdllo", {"n": 1})
    ]
    assert rows(db, "SELECT turn_id, direction, name, media_type, body, text FROM attachment") == [
        (turn, "in", "a.txt", "text/plain", b"hi\0", "hi")
    ]
    assert rows(db, "SELECT kind, trace, thread_id, turn_id FROM event") == [
        ("message_accepted", accepted.trace, accepted.thread_id, turn)
    ]


def test_turns_of_a_thread_are_numbered_as_they_come(db: Database) -> None:
    accepted = [say(db, thread="one" if n % 3 else "two") for n in range(6)]
    numbers = dict(rows(db, "SELECT id, seq FROM turn"))
    assert [numbers[each.turn_id] for each in accepted] == [1, 1, 2, 2, 3, 4]
    assert sorted(rows(db, "SELECT key, last_seq, open_turns FROM thread")) == [("one", 4, 4), ("two", 2, 2)]


def test_threads_are_told_apart_by_agent_adapter_team_and_key(db: Database) -> None:
    same = {"thread": "t", "team": "a"}
    others = [{"team": "b"}, {"thread": "u"}, {"adapter": "local"}, {"agent": "second"}]
    threads = {say(db, **{**same, **other}).thread_id for other in [{}, *others]}
    assert len(threads) == 5


def test_a_repeated_event_writes_nothing_and_names_the_first(db: Database) -> None:
    first = say(db, event_key="e1")
    before = everything(db)
    second = say(db, "again", event_key="e1")
    assert (second.turn_id, second.thread_id, second.trace) == (first.turn_id, first.thread_id, first.trace)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert everything(db) == before


def test_a_repeated_first_message_that_knows_no_thread_finds_it(db: Database) -> None:
    """A webhook caller that never got its answer: its retry brings a new thread's key."""
    first = say(db, thread="whth_1", event_key="e1")
    again = say(db, thread="whth_2", event_key="e1")
    assert (again.thread_key, again.turn_id, again.duplicate) == ("whth_1", first.turn_id, True)
    assert value(db, "SELECT count(*) FROM thread") == 1


def test_an_event_can_not_be_moved_to_another_thread(db: Database) -> None:
    say(db, thread="a", event_key="e1")
    say(db, thread="b")
    with pytest.raises(Refused, match="belongs to another thread") as caught:
        say(db, thread="b", event_key="e1", create_thread=False)
    assert caught.value.status == 409


def test_the_same_event_of_two_adapters_is_two_events(db: Database) -> None:
    assert not say(db, event_key="e1", adapter="one").duplicate
    assert not say(db, event_key="e1", adapter="two").duplicate


def test_a_thread_that_must_exist(db: Database) -> None:
    with pytest.raises(Refused, match="there is no thread 'nope'") as caught:
        say(db, thread="nope", create_thread=False)
    assert caught.value.status == 404
    assert value(db, "SELECT count(*) FROM receipt") == 0
    say(db, thread="yes")
    assert say(db, thread="yes", create_thread=False).thread_key == "yes"


def test_what_was_refused_can_be_sent_again(db: Database) -> None:
    message = inbound(thread="later", event_key="e1", create_thread=False)
    with pytest.raises(Refused):
        accept(db, message)
    say(db, thread="later")
    assert not accept(db, message).duplicate


def test_no_more_in_flight_than_allowed(db: Database) -> None:
    for n in range(3):
        accept(db, inbound(thread=f"t{n}"), max_in_flight=3)
    with pytest.raises(Refused, match="too many turns are in flight") as caught:
        accept(db, inbound(thread="t4", event_key="e4"), max_in_flight=3)
    assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
    assert not accept(db, inbound(thread="t4", adapter="other"), max_in_flight=3).duplicate
    db.rows("UPDATE turn SET state = 'cancelled' WHERE id = (SELECT min(id::text)::uuid FROM turn)")
    assert not accept(db, inbound(thread="t4", event_key="e4"), max_in_flight=3).duplicate


def test_a_duplicate_is_answered_however_much_is_in_flight(db: Database) -> None:
    first = accept(db, inbound(event_key="e1"), max_in_flight=1)
    assert accept(db, inbound(event_key="e1"), max_in_flight=1).turn_id == first.turn_id


def test_a_busy_thread_is_refused_where_asked_to(db: Database) -> None:
    accept(db, inbound(event_key="e1"), reject_busy=True)
    with pytest.raises(Refused, match="busy with an earlier message") as caught:
        accept(db, inbound(event_key="e2"), reject_busy=True)
    assert caught.value.status == 409
    assert accept(db, inbound(event_key="e1"), reject_busy=True).duplicate
    assert value(db, "SELECT count(*) FROM receipt") == 1
    assert rows(db, "SELECT last_seq, open_turns FROM thread") == [(1, 1)]


def test_receipts_are_forgotten_after_their_time(db: Database) -> None:
    say(db, event_key="old")
    say(db, event_key="young")
    db.rows("UPDATE receipt SET created_at = now() - interval '31 days' WHERE event_key = 'old'")
    db.rows(
        "UPDATE event SET created_at = now() - interval '91 days' WHERE id = (SELECT min(id::text)::uuid FROM event)"
    )
    assert prune(db, Retention()) == {"event": 1, "receipt": 1, "occurrence": 0, "job_run": 0, "process": 0}
    assert say(db, event_key="young").duplicate
    assert not say(db, event_key="old").duplicate


# --- when the connection breaks


@pytest.mark.parametrize("mode", ["lost", "answer lost"])
def test_a_broken_connection_is_tried_once_more(db: Database, database_url: str, mode: Mode) -> None:
    turn = uuid7()
    intrusion = Intrusion(0, mode, lambda: None, database_url)
    with intrusion.on(db.engine):
        accepted = accept(db, inbound(event_key="e1"), turn_id=turn)
    assert intrusion.happened
    assert (accepted.turn_id, accepted.duplicate) == (turn, False)
    assert value(db, "SELECT count(*) FROM message") == 1
    assert say(db, event_key="e1").turn_id == turn


def test_a_broken_connection_does_not_turn_a_duplicate_into_a_new_turn(db: Database, database_url: str) -> None:
    first = say(db, event_key="e1")
    with Intrusion(0, "answer lost", lambda: None, database_url).on(db.engine):
        again = say(db, event_key="e1")
    assert (again.turn_id, again.duplicate) == (first.turn_id, True)


def test_postgres_away_is_told_at_once(database_url: str) -> None:
    nowhere = Database(database_url.rpartition("@")[0] + "@127.0.0.1:1/nowhere", name="test")
    with pytest.raises(Unavailable, match="out of reach"):
        say(nowhere)
    nowhere.close()


# --- many processes at once


def accept_events(barrier: Barrier, url: str, events: list[tuple[str, str]], options: dict[str, Any]) -> list[Any]:
    """Accept each (event, thread), every process the same one at the same time. Turn and duplicate, or the status."""
    db, found = Database(url, name="accepts", pool_size=1), list[Any]()
    for event_key, thread in events:
        barrier.wait()
        try:
            accepted = accept(db, inbound(thread=thread, event_key=event_key), **options)
            found.append((accepted.turn_id, accepted.duplicate))
        except Refused as refused:
            found.append(refused.status)
    db.close()
    return found


def test_one_event_sent_to_eight_processes_at_once_is_one_turn(db: Database, database_url: str) -> None:
    """Each event many times over: some start a new thread, some continue one."""
    events = [(f"e{n}", f"t{n // 2}") for n in range(30)]
    answers = together(accept_events, *[(database_url, events, {})] * 8)
    for heard in zip(*answers, strict=True):
        assert len({turn for turn, _ in heard}) == 1, "all are told the same turn"
        assert Counter(duplicate for _, duplicate in heard) == {False: 1, True: 7}
    assert value(db, "SELECT count(*) FROM message") == len(events)
    assert rows(db, "SELECT last_seq, open_turns, count(*) FROM thread GROUP BY 1, 2") == [(2, 2, 15)]
    assert value(db, "SELECT count(*) FROM event") == len(events)


def test_messages_that_make_one_thread_at_once(db: Database, database_url: str) -> None:
    each: list[tuple[Any, ...]] = [(database_url, [(f"p{p} e{n}", f"t{n}") for n in range(20)], {}) for p in range(4)]
    answers = together(accept_events, *each)
    turns: set[UUID] = {turn for heard in answers for turn, _ in heard}
    assert len(turns) == 80
    assert value(db, "SELECT count(*) FROM thread") == 20
    numbers = rows(db, "SELECT array_agg(seq ORDER BY seq), count(*) FROM turn GROUP BY thread_id")
    assert numbers == [([1, 2, 3, 4], 4)] * 20


def test_the_limit_holds_but_for_what_comes_at_the_same_instant(db: Database, database_url: str) -> None:
    each = [(database_url, [(f"p{p} e{n}", f"p{p} t{n}") for n in range(10)], {"max_in_flight": 20}) for p in range(6)]
    answers = [answer for heard in together(accept_events, *each) for answer in heard]
    refused = answers.count(429)
    assert 20 <= len(answers) - refused <= 20 + 5
    assert value(db, "SELECT count(*) FROM turn") == len(answers) - refused
    assert answers[-1] == 429


@pytest.mark.parametrize("exists", [True, False], ids=["known threads", "new threads"])
def test_of_messages_at_once_one_finds_the_thread_free(db: Database, database_url: str, exists: bool) -> None:
    threads = [f"t{n}" for n in range(15)]
    if exists:
        for thread in threads:
            say(db, thread=thread)
        db.rows("UPDATE turn SET state = 'cancelled'")
        db.rows("UPDATE thread SET open_turns = 0")
    each = [(database_url, [(f"p{p} {t}", t) for t in threads], {"reject_busy": True}) for p in range(4)]
    for heard in zip(*together(accept_events, *each), strict=True):
        assert heard.count(409) == 3, "one is accepted, the others are told that the thread is busy"
    assert rows(db, "SELECT open_turns, count(*) FROM thread GROUP BY 1") == [(1, 15)]
