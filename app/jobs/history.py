"""Jobs and what became of them, as people look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.db import Database
from app.errors import Refused

LISTED = """
    SELECT job.id, agent, name, kind, schedule, targets, scope, idle, prompt, model, max_catch_up, state, paused_by,
        gone_at, CASE WHEN state = 'active' THEN next_at END AS next_at, created_at,
        last.due_at AS last_due_at, last.outcome AS last_outcome, last.reason AS last_reason
    FROM job LEFT JOIN LATERAL (
        SELECT due_at, outcome, reason FROM occurrence
        WHERE job_id = job.id ORDER BY due_at DESC LIMIT 1) AS last ON true
    WHERE (CAST(:agent AS text) IS NULL OR agent = :agent) AND (CAST(:name AS text) IS NULL OR name = :name)
    ORDER BY agent, name LIMIT :limit"""

# Runs, and due times that came to none at all. How a reply was delivered is its delivery's to tell.
HISTORY = """
    SELECT * FROM (
        (SELECT job_run.id, job_run.due_at, job_run.target, job_run.state, CASE
                WHEN delivery.state IS NULL THEN 'none' WHEN delivery.state = 'sent' THEN 'delivered'
                WHEN delivery.state IN ('pending', 'sending') THEN 'pending' ELSE 'failed' END AS delivery_state,
            job_run.started_at, job_run.ended_at, coalesce(job_run.error, delivery.error) AS error, job_run.asked_by,
            job_run.turn_id
        FROM job_run LEFT JOIN delivery ON delivery.turn_id = job_run.turn_id AND delivery.kind = 'reply'
        WHERE job_run.job_id = :job ORDER BY job_run.due_at DESC, job_run.id DESC LIMIT :limit)
        UNION ALL
        (SELECT id, due_at, NULL, 'skipped', 'none', NULL, NULL, CASE
                WHEN due_times = 1 THEN reason
                ELSE coalesce(CAST(due_times AS text), 'over 60') || ' due times up to ' || to_char(
                    last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC: ' || reason END, NULL, NULL
        FROM occurrence WHERE job_id = :job AND outcome = 'skipped' AND NOT EXISTS (
            SELECT 1 FROM job_run WHERE job_run.job_id = :job AND job_run.due_at = occurrence.due_at)
        ORDER BY due_at DESC LIMIT :limit)
    ) AS both_kinds
    ORDER BY due_at DESC, id DESC LIMIT :limit"""

STANDING = """
    SELECT (SELECT count(*) FROM job WHERE state = 'active') AS active,
        (SELECT count(*) FROM job WHERE state = 'paused') AS paused,
        (SELECT min(next_at) FROM job WHERE state = 'active') AS next_at,
        (SELECT count(*) FROM job_run WHERE state = 'queued') AS queued,
        (SELECT count(*) FROM job_run WHERE state = 'running') AS running,
        (SELECT count(*) FROM occurrence WHERE outcome = 'late' AND decided_at > now() - interval '1 day') AS late,
        (SELECT coalesce(sum(coalesce(due_times, 60)), 0) FROM occurrence
            WHERE outcome = 'skipped' AND decided_at > now() - interval '1 day') AS skipped"""

ODD = """
    SELECT agent, name, due_at, outcome, reason FROM occurrence JOIN job ON job.id = job_id
    WHERE outcome <> 'ran' AND decided_at > now() - interval '1 day' ORDER BY decided_at DESC LIMIT 3"""


def listed(db: Database, agent: str | None, limit: int, name: str | None = None) -> Sequence[Row[Any]]:
    """Stored jobs, each with what became of its last due time."""
    return db.rows(LISTED, agent=agent, name=name, limit=limit)


def find(db: Database, name: str, agent: str | None) -> Row[Any]:
    """The job of that id. Raises Refused where there is none, or where several agents have one."""
    found = listed(db, agent, 100, name)
    if not found:
        raise Refused(f"there is no job {name}{f' of {agent}' if agent else ''}; see heyfleet jobs list", status=404)
    if len(found) > 1:
        whose = ", ".join(row.agent for row in found)
        raise Refused(f"several agents have a job {name}: say whose with --agent ({whose})")
    return found[0]


def history(db: Database, job: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest runs of a job, and the due times that came to none."""
    return db.rows(HISTORY, job=job, limit=limit)


def standing(db: Database) -> tuple[Row[Any], Sequence[Row[Any]]]:
    """All jobs at a glance, and the latest due times that were late or skipped."""
    return db.rows(STANDING)[0], db.rows(ODD)
