"""Firing: in one statement a job's due targets become runs, what became of its due times is recorded, and its cursor
moves on. Two that fire at once both find the same; the first one's commit is the only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from app.clock import uuid7
from app.db import Database, compiled
from app.jobs.deciding import Decision, Due, decide
from app.jobs.records import BUSY, IS_OPEN, NOBODY, OCCURRENCES, rows_of
from app.jsonb import dumps

log = structlog.get_logger()

MOST = 200
"""Jobs fired by one statement."""

LONGEST_FAN_OUT = 120
"""Seconds that Postgres may take for a heartbeat over very many threads; other statements get 15."""

DUE = """
    SELECT id, agent, name, schedule, anchor, targets, scope, idle, max_catch_up, next_at, revision, now() AS now
    FROM job WHERE state = 'active' AND scope IS {reach} AND next_at <= now() ORDER BY next_at LIMIT :most"""
DUE_TARGETS = DUE.format(reach="NULL")
DUE_SCOPE = DUE.format(reach="NOT NULL")

SOONEST = """
    SELECT extract(epoch FROM min(next_at) - now()) AS seconds FROM job WHERE state = 'active' AND scope IS {reach}"""
SOONEST_TARGETS = SOONEST.format(reach="NULL")
SOONEST_SCOPE = SOONEST.format(reach="NOT NULL")

# The cursor that was read is named again, with the row's revision: whoever comes second finds it moved, and writes
# nothing.
MOVED = """
    moved AS (
        UPDATE job SET next_at = d.next FROM jsonb_to_recordset(CAST(:decisions AS jsonb))
            AS d (job uuid, was timestamptz, next timestamptz, revision bigint)
        WHERE job.id = d.job AND job.next_at = d.was AND job.revision = d.revision AND job.state = 'active'
        RETURNING job.id, job.agent, job.name
    )"""

FIRE = f"""
    WITH {MOVED}, made AS (
        INSERT INTO job_run (id, job_id, due_at, target, place, fanned_out, state, error, ended_at)
        SELECT r.id, moved.id, r.due_at, r.target, r.place, false, CASE WHEN busy THEN 'skipped' ELSE 'queued' END,
            CASE WHEN busy THEN :busy END, CASE WHEN busy THEN now() END
        FROM moved JOIN jsonb_to_recordset(CAST(:runs AS jsonb)) AS r (id uuid, job uuid, due_at timestamptz,
                target text, place jsonb, stacks boolean) ON r.job = moved.id,
            LATERAL (SELECT NOT r.stacks AND EXISTS (
                SELECT 1 FROM job_run AS open WHERE {IS_OPEN.format(job="moved.id", target="r.target")}) AS busy) AS b
        ON CONFLICT (job_id, due_at, target) DO NOTHING
        RETURNING job_id, due_at, state
    ), counts AS (
        SELECT job_id, due_at, count(*) FILTER (WHERE state = 'queued') AS queued,
            count(*) FILTER (WHERE state = 'skipped') AS passed
        FROM made GROUP BY job_id, due_at
    ), {OCCURRENCES}
    SELECT runs FROM occurred"""

THREAD_TARGET = "thread.adapter || ':' || CASE thread.team WHEN '' THEN '' ELSE thread.team || '/' END || thread.key"

# One of the threads that match; `passed` where it gets no run.
MATCHING = f"""
    matching AS (
        SELECT thread.id, {THREAD_TARGET} AS target,
            NOT :stacks AND EXISTS (
                SELECT 1 FROM job_run AS open WHERE {IS_OPEN.format(job="moved.id", target=THREAD_TARGET)})
            OR CAST(:idle AS float) IS NOT NULL AND (thread.open_turns > 0
                OR thread.last_asked_at > now() - make_interval(secs => CAST(:idle AS float))) AS passed
        FROM moved, jsonb_to_recordset(CAST(:filters AS jsonb))
                AS f (adapter text, teams text[], channels text[], users text[])
            JOIN thread ON thread.adapter = f.adapter AND (f.teams IS NULL OR thread.team = ANY(f.teams))
                AND (f.channels IS NULL OR thread.channel = ANY(f.channels))
                AND (f.users IS NULL OR EXISTS (
                    SELECT 1 FROM turn WHERE turn.thread_id = thread.id AND turn.actor = ANY(f.users)))
        WHERE thread.agent = :agent
    )"""

# Ids that begin as a UUIDv7 does and go on with a number: ten times as cheap as random ones, and an index takes them in
# at its end.
NUMBERED = "CAST(:ids || lpad(to_hex(row_number() OVER ()), 12, '0') AS uuid)"

FAN_OUT = f"""
    WITH {MOVED}, {MATCHING}, firing AS (
        SELECT o.due_at FROM jsonb_to_recordset(CAST(:occurrences AS jsonb)) AS o (due_at timestamptz, outcome text)
        WHERE o.outcome <> 'skipped'
    ), made AS (
        INSERT INTO job_run (id, job_id, due_at, target, thread_id, fanned_out, state)
        SELECT {NUMBERED}, moved.id, firing.due_at, matching.target, matching.id, true, 'queued'
        FROM moved, firing, matching WHERE NOT matching.passed
        ON CONFLICT (job_id, due_at, target) DO NOTHING
        RETURNING job_id, due_at
    ), counts AS (
        SELECT moved.id AS job_id, firing.due_at,
            (SELECT count(*) FROM made WHERE made.due_at = firing.due_at) AS queued,
            (SELECT count(*) FROM matching WHERE matching.passed) AS passed
        FROM moved, firing
    ), {OCCURRENCES}
    SELECT runs FROM occurred"""


def fire_targets(db: Database) -> int:
    """Fire every job with targets whose time has come. How many runs came of it."""
    made = 0
    while True:
        due = db.rows(DUE_TARGETS, most=MOST)
        decided = all_decided(due)
        if decided:
            runs = [run for row, decision in decided for run in runs_of(row, decision)]
            made += sum(row.runs for row in db.rows(FIRE, parameters(decided), runs=dumps(runs)))
        if len(due) < MOST or not decided:
            return made


def fan_out(db: Database) -> int:
    """Fire every heartbeat over threads whose time has come, one after the other. How many runs came of it."""
    made = 0
    for row, decision in all_decided(db.rows(DUE_SCOPE, most=MOST)):
        params = {
            **parameters([(row, decision)]),
            "stacks": row.max_catch_up == "all",
            "agent": row.agent,
            "idle": row.idle,
            "filters": filters_of(row.scope),
            "ids": ids(),
        }
        with db.transaction() as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LONGEST_FAN_OUT}s'")
            made += sum(found.runs for found in connection.execute(compiled(FAN_OUT), params))
    return made


def soonest(db: Database, statement: str) -> float | None:
    """Seconds until the next job of its kind is due; None where none will be."""
    row = db.one(statement)
    return None if row is None or row.seconds is None else float(row.seconds)


def all_decided(due: Sequence[Row[Any]]) -> list[tuple[Row[Any], Decision]]:
    """What becomes of each job; one that can't be decided about must not hold the others up."""
    found = []
    for row in due:
        try:
            found.append((row, decide(Due(row.schedule, row.anchor, row.next_at, row.max_catch_up), row.now)))
        except Exception:
            # A time zone that this machine does not know, or a defect of ours: told each second until it is mended.
            log.exception("job_not_decided", agent=row.agent, job=row.name, schedule=row.schedule)
    return found


def parameters(decided: Sequence[tuple[Row[Any], Decision]]) -> dict[str, Any]:
    decisions = [
        {
            "job": str(row.id),
            "was": row.next_at.isoformat(),
            "next": decision.next_at.isoformat() if decision.next_at else None,
            "revision": row.revision,
        }
        for row, decision in decided
    ]
    occurrences = [each for row, decision in decided for each in rows_of(row.id, decision.occurrences)]
    return {"decisions": dumps(decisions), "occurrences": dumps(occurrences), "busy": BUSY, "nobody": NOBODY}


def runs_of(row: Row[Any], decision: Decision) -> list[Mapping[str, Any]]:
    # Whoever wants each missed time made up for wants them one behind the other; a thread's turns are so anyway.
    stacks = row.max_catch_up == "all"
    return [
        {**run_at(row.id, place), "due_at": each.due_at.isoformat(), "stacks": stacks}
        for each in decision.occurrences
        if each.fires
        for place in row.targets
    ]


def run_at(job: UUID, place: Mapping[str, str]) -> dict[str, Any]:
    return {"id": str(uuid7()), "job": str(job), "target": target_name(place), "place": place}


def ids() -> str:
    """The first 20 hexadecimal digits of ids that are numbered."""
    return uuid7().hex[:20]


def target_name(place: Mapping[str, str]) -> str:
    """A target as people read it."""
    return f"{place['adapter']}:{'@' if place['kind'] == 'user' else ''}{place['name']}"


def filters_of(scope: Mapping[str, Mapping[str, Any]]) -> str:
    return dumps([{"adapter": adapter, **found} for adapter, found in scope.items()])
