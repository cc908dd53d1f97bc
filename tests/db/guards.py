"""Triggers that make every test of this folder a test of the states as well: a move that is not in the table raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from app.states import APPROVAL_MOVES, CALL_MOVES, DELIVERY_MOVES, JOB_MOVES, JOB_RUN_MOVES, TURN_MOVES

MOVES: dict[str, Mapping[Any, frozenset[Any]]] = {
    "turn": TURN_MOVES,
    "call": CALL_MOVES,
    "delivery": DELIVERY_MOVES,
    "approval": APPROVAL_MOVES,
    "job": JOB_MOVES,
    "job_run": JOB_RUN_MOVES,
}

GUARD = """
    CREATE TABLE move_seen (kind text, was text, became text);
    CREATE TABLE move_allowed (kind text, was text, became text, PRIMARY KEY (kind, was, became));
    CREATE FUNCTION check_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO move_seen VALUES (TG_TABLE_NAME, '', NEW.state);
        ELSIF OLD.state <> NEW.state THEN
            IF NOT EXISTS (SELECT 1 FROM move_allowed
                    WHERE kind = TG_TABLE_NAME AND was = OLD.state AND became = NEW.state) THEN
                RAISE EXCEPTION 'a % may not move from % to %', TG_TABLE_NAME, OLD.state, NEW.state;
            END IF;
            INSERT INTO move_seen VALUES (TG_TABLE_NAME, OLD.state, NEW.state);
        END IF;
        RETURN NEW;
    END $$"""


def allowed_moves() -> set[tuple[str, str, str]]:
    """Every move of `app.states`, as (kind, from, to)."""
    return {
        (kind, was.value, became.value)
        for kind, moves in MOVES.items()
        for was, targets in moves.items()
        for became in targets
    }


def install_guards(connection: psycopg.Connection[Any]) -> None:
    connection.execute(GUARD)
    for move in sorted(allowed_moves()):
        connection.execute("INSERT INTO move_allowed VALUES (%s, %s, %s)", move)
    for table in MOVES:
        connection.execute(
            f"CREATE TRIGGER check_move BEFORE INSERT OR UPDATE OF state ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION check_move()"
        )


@contextmanager
def unguarded(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection for which no trigger runs; constraints hold all the same."""
    with psycopg.connect(libpq(database_url), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def libpq(url: str) -> str:
    """SQLAlchemy's URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
