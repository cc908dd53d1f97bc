"""The database's own part: compare-and-set, deadlocks, what is out of reach."""

from __future__ import annotations

import threading
from collections import Counter
from multiprocessing.synchronize import Barrier
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from app.db import Database, compiled, move
from app.errors import Unavailable
from app.states import DELIVERY_MOVES, TURN_MOVES, DeliveryState, TurnState
from tests.db.guards import unguarded
from tests.db.interleaving import wait_until
from tests.db.processes import together
from tests.db.rows import rows, value
from tests.db.stations import say


@pytest.mark.parametrize("was", list(TurnState))
@pytest.mark.parametrize("to", list(TurnState))
def test_a_move_is_made_from_where_it_may_be(db: Database, database_url: str, was: TurnState, to: TurnState) -> None:
    turn = say(db).turn_id
    with unguarded(database_url) as connection:
        connection.execute("UPDATE turn SET state = %s", (was.value,))
    with db.transaction() as connection:
        moved = move(connection, "turn", turn, TURN_MOVES, to, error="noted")
    allowed = to in TURN_MOVES[was]
    assert moved == (to if allowed else None)
    assert rows(db, "SELECT state, error FROM turn") == [(to, "noted") if allowed else (was, None)]


def test_a_move_of_what_is_not_there(db: Database) -> None:
    with db.transaction() as connection:
        assert move(connection, "delivery", UUID(int=1), DELIVERY_MOVES, DeliveryState.SENT) is None


def move_together(barrier: Barrier, url: str, turns: list[UUID]) -> list[UUID]:
    db, made = Database(url, name="moves", pool_size=1), list[UUID]()
    for turn in turns:
        barrier.wait()
        with db.transaction() as connection:
            if move(connection, "turn", turn, TURN_MOVES, TurnState.CANCELLED):
                made.append(turn)
    db.close()
    return made


def test_of_many_processes_one_makes_each_move(db: Database, database_url: str) -> None:
    turns = [say(db, thread=f"t{n}").turn_id for n in range(20)]
    made = together(move_together, *[(database_url, turns)] * 4)
    assert Counter(turn for each in made for turn in each) == dict.fromkeys(turns, 1)


def test_a_transaction_is_whole_or_not_at_all(db: Database) -> None:
    def insert_and_fail() -> None:
        with db.transaction() as connection:
            connection.execute(compiled("INSERT INTO role (name) VALUES ('one')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert_and_fail()
    assert value(db, "SELECT count(*) FROM role") == 0


def test_a_statement_that_lost_a_deadlock_is_run_again(db: Database) -> None:
    """Two statements that lock the same two rows in opposite order, again and again."""
    names = ["a", "b"]
    db.rows("INSERT INTO role (name) SELECT unnest(CAST(:names AS text[]))", names=names)
    one_by_one = """
        CREATE OR REPLACE FUNCTION touch(names text[]) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE each text;
        BEGIN
            FOREACH each IN ARRAY names LOOP
                UPDATE role SET version = version + 1 WHERE name = each;
                PERFORM pg_sleep(0.002);
            END LOOP;
        END $$"""
    with db.engine.connect() as connection:
        connection.exec_driver_sql(one_by_one)
    problems: list[BaseException] = []

    def touch(names: list[str]) -> None:
        try:
            for _ in range(10):
                db.rows("SELECT touch(CAST(:names AS text[]))", names=names)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=touch, args=(order,)) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert rows(db, "SELECT version FROM role") == [(20,), (20,)]


def test_what_is_wrong_with_the_data_is_no_outage(db: Database) -> None:
    with pytest.raises(IntegrityError):
        db.rows("INSERT INTO role (name) VALUES ('a'), ('a')")


def test_a_cut_connection_is_an_outage_and_the_next_statement_works(db: Database) -> None:
    db.rows("SELECT 1")
    other = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heyfleet test'"
    with pytest.raises(Unavailable):
        db.rows(other)
    wait_until(lambda: db.rows("SELECT 1"))


def test_no_free_connection_is_an_outage(database_url: str) -> None:
    small = Database(database_url, name="small", pool_size=1, patience=0.1)
    with small.transaction(), pytest.raises(Unavailable, match="no database connection is free"):
        small.rows("SELECT 1")
    assert small.rows("SELECT 1")
    small.close()


def test_a_statement_that_waits_too_long_for_a_lock_is_an_outage(db: Database, database_url: str) -> None:
    say(db)
    short = Database(f"{database_url}?options=-c%20lock_timeout%3D50", name="short")
    with db.transaction() as connection:
        connection.execute(compiled("SELECT 1 FROM thread FOR UPDATE"))
        # connect_args win over the URL, so that the limit is set on the session.
        with short.engine.connect() as waiting:
            waiting.exec_driver_sql("SET lock_timeout = 50")
        with pytest.raises(Unavailable):
            short.rows("UPDATE thread SET version = 0")
    short.close()
