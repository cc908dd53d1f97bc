"""Looking at the database as a test does: whole tables, and what must hold of any of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import Database
from app.tables import Base
from tests.db.stations import Runner, Worker

LANES = ("thread", "destination", "sandbox")


def rows(db: Database, statement: str, **params: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.rows(statement, params)]


def value(db: Database, statement: str, **params: Any) -> Any:
    ((found,),) = rows(db, statement, **params)
    return found


def everything(db: Database) -> dict[str, list[Any]]:
    """Every row of every table."""
    tables = [table.name for table in Base.metadata.sorted_tables]
    return {
        name: [row[0] for row in rows(db, f"SELECT to_jsonb(t) FROM {name} AS t ORDER BY to_jsonb(t)::text")]
        for name in tables
    }


def expire(db: Database, table: str, lane: UUID) -> None:
    """What time does to the lease of a process that died."""
    db.rows(f"UPDATE {table} SET lease_until = now() - interval '1 second' WHERE id = :lane", lane=lane)


def pump(worker: Worker, runner: Runner | None = None, most: int = 200) -> None:
    """Do what wakes would do, until no lane asks for it: only those are worked on that say so in `wake_at`."""
    for _ in range(most):
        due = [
            (table, lane)
            for table in LANES
            for (lane,) in rows(
                worker.db,
                f"SELECT id FROM {table} WHERE wake_at <= now() AND (lease_until IS NULL OR lease_until < now())",
            )
        ]
        due = [(table, lane) for table, lane in due if table != "sandbox" or runner]
        if not due:
            return
        for table, lane in due:
            if table == "thread":
                worker.advance(lane)
            elif table == "destination":
                worker.deliver(lane)
            elif runner:
                runner.work(lane)
    raise AssertionError(f"still due after {most} rounds: {due}")


UNFINISHED = "SELECT id, state FROM turn WHERE state NOT IN ('done', 'failed', 'cancelled')"
WRONG_COUNTS = """
    SELECT key, open_turns, (SELECT count(*) FROM turn WHERE thread_id = thread.id AND finished_at IS NULL) FROM thread
    WHERE open_turns <> (SELECT count(*) FROM turn WHERE thread_id = thread.id AND finished_at IS NULL)"""
OPEN_CALLS = "SELECT id, tool, place, state FROM call WHERE state IN ('queued', 'running')"
UNSENT = "SELECT id, state FROM delivery WHERE state NOT IN ('sent', 'failed', 'ambiguous')"
WITHOUT_REPLY = """
    SELECT turn.id FROM turn LEFT JOIN delivery ON delivery.turn_id = turn.id
    WHERE delivery.id IS NULL AND turn.reply ->> 'to' IS NOT NULL AND turn.job IS NULL"""
STEPS_WITH_GAPS = """
    SELECT turn.id, turn.step_count, array_agg(step.n ORDER BY step.n) FROM turn JOIN step ON step.turn_id = turn.id
    GROUP BY turn.id HAVING array_agg(step.n ORDER BY step.n) <> ARRAY(SELECT generate_series(1, turn.step_count))"""
HELD = "SELECT '{0}', id, lease_owner FROM {0} WHERE lease_owner IS NOT NULL"
AWAKE = "SELECT '{0}', id, wake_at FROM {0} WHERE wake_at IS NOT NULL"


def assert_settled(db: Database) -> None:
    """Nothing is left to do, nothing is held, and the counters are right."""
    for statement in (UNFINISHED, WRONG_COUNTS, OPEN_CALLS, UNSENT, WITHOUT_REPLY, STEPS_WITH_GAPS):
        assert rows(db, statement) == [], statement
    for table in LANES:
        assert rows(db, HELD.format(table)) == []
        assert rows(db, AWAKE.format(table)) == []
