"""What people do to jobs by hand: pause, resume, run now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from app.db import Database, compiled
from app.errors import Refused
from app.jobs.deciding import Due, passed
from app.jobs.firing import MATCHING, NUMBERED, filters_of, ids, run_at, with_time
from app.jobs.installing import told
from app.jobs.records import BUSY, IS_OPEN, drop_queued, record
from app.jsonb import dumps
from app.states import JobState
from app.timetable import timetable

LOCK = "SELECT * FROM job WHERE id = :job FOR NO KEY UPDATE"

# Once the row is locked, for which another may have been waited for.
NOW = "SELECT clock_timestamp()"

PAUSE = "UPDATE job SET state = 'paused', paused_by = :by, revision = revision + 1 WHERE id = :job"

RESUME = """
    UPDATE job SET state = 'active', paused_by = NULL, next_at = :next, revision = revision + 1 WHERE id = :job"""

# The revision is raised, since whoever decides right now what is due has not seen these runs.
RUN_TARGETS = f"""
    WITH moved AS (UPDATE job SET revision = revision + 1 WHERE id = :job RETURNING id), made AS (
        INSERT INTO job_run (id, job_id, due_at, target, adapter, place, fanned_out, state, asked_by, error, ended_at)
        SELECT r.id, moved.id, now(), r.target, r.place ->> 'adapter', r.place, false,
            CASE WHEN busy THEN 'skipped' ELSE 'queued' END, :by,
            CASE WHEN busy THEN :busy END, CASE WHEN busy THEN now() END
        FROM moved, jsonb_to_recordset(CAST(:runs AS jsonb)) AS r (id uuid, target text, place jsonb),
            LATERAL (SELECT EXISTS (
                SELECT 1 FROM job_run AS open WHERE {IS_OPEN.format(job="moved.id", target="r.target")}) AS busy) AS b
        RETURNING state
    )
    SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'skipped') AS passed
    FROM made"""

RUN_THREADS = f"""
    WITH moved AS (UPDATE job SET revision = revision + 1 WHERE id = :job RETURNING id, agent), {MATCHING}, made AS (
        INSERT INTO job_run (id, job_id, due_at, target, adapter, thread_id, fanned_out, state, asked_by)
        SELECT {NUMBERED}, moved.id, now(), matching.target, matching.adapter, matching.id, true, 'queued', :by
        FROM moved, matching WHERE NOT matching.passed
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM made) AS queued, (SELECT count(*) FROM matching WHERE passed) AS passed"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for a run."""

    queued: int
    passed_over: int
    """Targets whose last run has not ended, or in which somebody is active."""


def pause(db: Database, job: UUID, by: str) -> int | None:
    """Stop a job from firing, and skip its runs that have not begun: how many. None where it is paused already."""

    def work(connection: Connection) -> int | None:
        row = locked(connection, job)
        if row.state == JobState.PAUSED:
            return None
        connection.execute(compiled(PAUSE), {"job": job, "by": by})
        dropped = drop_queued(connection, [job], f"the job was paused by {by}")
        told(connection, "job_paused", row.agent, row.name, by=by, dropped=dropped)
        return dropped

    return db.carried_out(work)


def resume(db: Database, job: UUID, by: str) -> tuple[bool, datetime | None]:
    """Let a job fire again from now on: whether it was paused, and when it is due next.

    What was due meanwhile is skipped, and recorded so. Raises Refused for a job that is gone from the configuration.
    """

    def work(connection: Connection) -> tuple[bool, datetime | None]:
        row = locked(connection, job)
        refuse_gone(row, "resumed")
        if row.state == JobState.ACTIVE:
            return False, row.next_at
        next_at, now = row.next_at, connection.execute(compiled(NOW)).scalar_one()
        if next_at is not None:
            due = Due(row.schedule, row.anchor, next_at, row.max_catch_up)
            record(connection, job, passed(due, now, f"paused by {row.paused_by}"))
            next_at = timetable(row.schedule, row.anchor).after(now)
        connection.execute(compiled(RESUME), {"job": job, "next": next_at})
        told(connection, "job_resumed", row.agent, row.name, by=by)
        return True, next_at

    return db.carried_out(work)


def run_now(db: Database, job: UUID, by: str) -> Asked:
    """Queue one run for each target at once; the schedule is left alone. Raises Refused as `resume`."""

    def work(connection: Connection) -> Asked:
        row = locked(connection, job)
        refuse_gone(row, "run")
        statement, params = by_hand(row)
        (found,) = with_time(connection, statement, {**params, "job": job, "by": by})
        told(connection, "job_run_asked", row.agent, row.name, by=by, runs=found.queued, passed_over=found.passed)
        return Asked(found.queued, found.passed)

    return db.carried_out(work)


def by_hand(row: Row[Any]) -> tuple[str, Mapping[str, Any]]:
    if row.targets is not None:
        return RUN_TARGETS, {"runs": dumps([run_at(row.id, place) for place in row.targets]), "busy": BUSY}
    return RUN_THREADS, {
        "agent": row.agent,
        "stacks": False,
        "idle": row.idle,
        "filters": filters_of(row.scope),
        "ids": ids(),
    }


def locked(connection: Connection, job: UUID) -> Row[Any]:
    return connection.execute(compiled(LOCK), {"job": job}).one()


def refuse_gone(row: Row[Any], what: str) -> None:
    if row.gone_at is not None:
        raise Refused(
            f"job {row.name} of {row.agent} can't be {what}: it is not in the configuration any more; "
            "put it back, and it is taken up again by itself",
            status=409,
        )
