"""What is kept for how long. Rows go in small batches, so that no statement holds many locks."""

from __future__ import annotations

from app.config.settings import Retention
from app.db import Database

BATCH = 5000
ONE_DAY = 86_400.0

# By their place in the table, as an array: joined to a limit that the plan does not know, the whole table is read.
OLD = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {time} < now() - make_interval(secs => :age) {only}
        ORDER BY {time} LIMIT :batch))
    RETURNING 1"""
OLD_EVENTS = OLD.format(table="event", time="created_at", only="")
OLD_RECEIPTS = OLD.format(table="receipt", time="created_at", only="")
OLD_OCCURRENCES = OLD.format(table="occurrence", time="decided_at", only="")
OLD_PROCESSES = OLD.format(table="process", time="heartbeat_at", only="")
OLD_RUNS = OLD.format(table="job_run", time="created_at", only="AND ended_at IS NOT NULL")


def prune(db: Database, kept: Retention) -> dict[str, int]:
    """Delete what is older than it is kept. How many rows went, by table. May be run any number of times at once."""
    ages = {
        "event": (OLD_EVENTS, kept.events),
        "receipt": (OLD_RECEIPTS, kept.receipts),
        "occurrence": (OLD_OCCURRENCES, kept.jobs),
        "job_run": (OLD_RUNS, kept.jobs),
        "process": (OLD_PROCESSES, ONE_DAY),
    }
    return {table: prune_one(db, statement, age) for table, (statement, age) in ages.items()}


def prune_one(db: Database, statement: str, age: float) -> int:
    total = 0
    while True:
        gone = len(db.rows(statement, age=age, batch=BATCH))
        total += gone
        if gone < BATCH:
            return total
