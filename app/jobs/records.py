"""Rows that more than one way of dealing with a job writes: what became of due times, and runs that are not wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from app.clock import uuid7
from app.db import compiled
from app.jobs.deciding import Decided
from app.jsonb import dumps
from app.states import OPEN_RUNS, sql_list

# To be put behind WITH: `moved (id, agent, name)` are the jobs whose cursor was moved on, `counts (job_id, due_at,
# queued, passed)` what their targets got. A due time that has its outcome keeps it.
OCCURRENCES = """
    occurred AS (
        INSERT INTO occurrence (id, job_id, due_at, last_at, due_times, outcome, reason, runs, passed_over)
        SELECT o.id, moved.id, o.due_at, o.last_at, o.due_times,
            CASE WHEN coalesce(counts.queued, 0) = 0 THEN 'skipped' ELSE o.outcome END,
            CASE WHEN o.outcome = 'skipped' OR counts.queued > 0 THEN o.reason
                WHEN counts.passed > 0 THEN :busy ELSE :nobody END,
            coalesce(counts.queued, 0), coalesce(counts.passed, 0)
        FROM moved JOIN jsonb_to_recordset(CAST(:occurrences AS jsonb)) AS o (id uuid, job uuid, due_at timestamptz,
                last_at timestamptz, due_times bigint, outcome text, reason text) ON o.job = moved.id
            LEFT JOIN counts ON counts.job_id = moved.id AND counts.due_at = o.due_at
        ON CONFLICT (job_id, due_at) DO NOTHING
        RETURNING id, job_id, due_at, last_at, outcome, reason, runs, passed_over
    ), told AS (
        INSERT INTO event (id, trace, kind, data)
        SELECT gen_random_uuid(), replace(CAST(o.id AS text), '-', ''), 'job_' || o.outcome, jsonb_strip_nulls(
            jsonb_build_object('agent', moved.agent, 'job', moved.name, 'due_at', o.due_at, 'last_at', o.last_at,
                'reason', o.reason, 'runs', o.runs, 'passed_over', o.passed_over))
        FROM occurred AS o JOIN moved ON moved.id = o.job_id
    )"""

BUSY = "each target still had a run of it, or was active"
NOBODY = "there was no target"

# Of jobs whose cursor is moved by the caller, in the same transaction.
RECORD = f"""
    WITH moved AS (SELECT id, agent, name FROM job WHERE id = :job),
    counts AS (SELECT CAST(NULL AS uuid) AS job_id, CAST(NULL AS timestamptz) AS due_at, 0 AS queued, 0 AS passed),
    {OCCURRENCES}
    SELECT count(*) FROM occurred"""

IS_OPEN = f"open.job_id = {{job}} AND open.target = {{target}} AND open.state IN ({sql_list(OPEN_RUNS)})"

DROP_QUEUED = """
    UPDATE job_run SET state = 'skipped', error = :reason, ended_at = now()
    WHERE job_id = ANY(:jobs) AND state = 'queued'"""


def rows_of(job: UUID, decided: Iterable[Decided]) -> list[Mapping[str, Any]]:
    """Occurrences as the `:occurrences` of a statement, each with an id of its own."""
    return [
        {
            "id": str(uuid7()),
            "job": str(job),
            "due_at": each.due_at.isoformat(),
            "last_at": each.last_at.isoformat(),
            "due_times": each.due_times,
            "outcome": each.outcome.value,
            "reason": each.reason,
        }
        for each in decided
    ]


def record(connection: Connection, job: UUID, decided: Decided | None) -> None:
    """Write down what became of due times that did not fire."""
    if decided is not None:
        params = {"job": job, "occurrences": dumps(rows_of(job, [decided])), "busy": BUSY, "nobody": NOBODY}
        connection.execute(compiled(RECORD), params)


def drop_queued(connection: Connection, jobs: Sequence[UUID], reason: str) -> int:
    """Skip the runs of these jobs that have not begun. How many they were."""
    return connection.execute(compiled(DROP_QUEUED), {"jobs": jobs, "reason": reason}).rowcount
