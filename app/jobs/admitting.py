"""From queued runs to turns: as many at once as are allowed in the whole fleet, those first that are due longest.

A run is claimed first, and its turn made by a statement of its own after that. Whoever dies in between leaves a run
without a turn, which is taken up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from app import tracing
from app.audit import encoded, event, insert_events
from app.config.jobs import Jobs
from app.db import Database, compiled
from app.errors import HeyfleetError, TookTooLong, Transient, Unavailable
from app.inbox import accept_run
from app.ports import Adapter
from app.queue import Wakes
from app.results import Place
from app.traffic import Inbound

log = structlog.get_logger()

STRANDED_AFTER = 5
"""Seconds after which a claimed run without a turn is taken for one whose process died."""

PORTION = 30
"""Runs that one process starts; where there are more, it wakes another for them, and so on."""

PATIENCE = 3600.0
"""Seconds that a run waits for a process that has its adapter: one that was just added, in a fleet that restarts."""

ANYTHING = f"""
    SELECT EXISTS (SELECT 1 FROM job_run WHERE state = 'queued') OR EXISTS (
        SELECT 1 FROM job_run WHERE state = 'running' AND turn_id IS NULL
            AND started_at < now() - interval '{STRANDED_AFTER} seconds') AS found"""

# Counted by the next statement, whose snapshot is taken once this one has the row: so the count is exact.
ONE_AT_A_TIME = """
    INSERT INTO role (name, version) VALUES ('jobs', 1)
    ON CONFLICT (name) DO UPDATE SET version = role.version + 1"""

# A run that waits for people holds nothing up: its place is another's meanwhile.
CLAIM = f"""
    WITH free AS (
        SELECT most.fanned_out, most.runs - (
            SELECT count(*) FROM job_run
            WHERE state = 'running' AND fanned_out = most.fanned_out AND NOT EXISTS (
                SELECT 1 FROM approval WHERE approval.turn_id = job_run.turn_id AND approval.state = 'pending')) AS runs
        FROM (VALUES (false, CAST(:targets AS bigint)), (true, CAST(:fanned_out AS bigint))) AS most (fanned_out, runs)
    ), chosen AS (
        SELECT next.id, 'queued' AS was FROM free, LATERAL (
            SELECT id FROM job_run
            WHERE state = 'queued' AND fanned_out = free.fanned_out AND adapter = ANY(:adapters)
            ORDER BY due_at, id LIMIT least(:portion, greatest(0, free.runs))) AS next
        UNION ALL SELECT id, 'running' FROM job_run
        WHERE state = 'running' AND turn_id IS NULL AND adapter = ANY(:adapters)
            AND started_at < now() - interval '{STRANDED_AFTER} seconds'
    )
    UPDATE job_run SET state = 'running', started_at = now()
    FROM chosen, job
    WHERE job_run.id = chosen.id AND job_run.state = chosen.was AND turn_id IS NULL AND job.id = job_run.job_id
    RETURNING job_run.id, job_run.due_at, job_run.target, job_run.adapter, job_run.place,
        job_run.thread_id, job.agent, job.name, job.kind, job.prompt, job.model"""

# Where what was said last was answered; not to that very message.
THREADS = """
    SELECT id, adapter, team, key, channel,
        (SELECT reply - 'message' - 'answers' FROM turn
            WHERE thread_id = thread.id AND reply <> '{}' ORDER BY seq DESC LIMIT 1) AS reply
    FROM thread WHERE id = ANY(:ids)"""

FAIL = f"""
    WITH failed AS (
        UPDATE job_run SET state = 'failed', error = :error, ended_at = now()
        WHERE id = :run AND state = 'running' AND turn_id IS NULL RETURNING id
    ), noted AS ({insert_events("failed")})
    SELECT id FROM failed"""


@dataclass(frozen=True, slots=True)
class Admission:
    """What is needed to start runs."""

    db: Database
    wakes: Wakes
    adapters: Mapping[str, Adapter]
    limits: Jobs


def admit(at: Admission) -> int:
    """Make turns of queued runs, a portion of those that there is room for, and wake their threads. How many."""
    found = at.db.one(ANYTHING)
    if found is None or not found.found:
        return 0
    claimed = at.db.carried_out(lambda connection: claim(connection, at.limits, list(at.adapters)))
    claimed.sort(key=lambda run: run.due_at)
    if len(claimed) >= PORTION:
        at.wakes.runs()
    threads = {row.id: row for row in threads_of(at.db, claimed)}
    return sum(started(at, run, threads.get(run.thread_id)) for run in claimed)


def claim(connection: Connection, limits: Jobs, adapters: list[str]) -> list[Row[Any]]:
    connection.execute(compiled(ONE_AT_A_TIME))
    most = {"targets": limits.max_concurrent_targets, "fanned_out": limits.max_concurrent, "portion": PORTION}
    return list(connection.execute(compiled(CLAIM), {**most, "adapters": adapters}))


def threads_of(db: Database, runs: list[Row[Any]]) -> list[Row[Any]]:
    ids = [run.thread_id for run in runs if run.thread_id]
    return db.rows(THREADS, ids=ids) if ids else []


def started(at: Admission, run: Row[Any], thread: Row[Any] | None) -> bool:
    """Start one run of several. What goes wrong with it holds no other up, unless Postgres is away."""
    try:
        return start(at, run, thread)
    except Transient as error:
        if isinstance(error, Unavailable) and not isinstance(error, TookTooLong):
            raise
        log.warning("job_run_waits", job=run.name, target=run.target, error=error.message)
    except HeyfleetError as error:
        fail(at.db, run, error.message)
    except Exception as error:
        # A defect in an adapter, or a row that Postgres refuses: it would be so each time.
        log.exception("job_run_not_started", job=run.name, target=run.target)
        fail(at.db, run, f"an internal error: {type(error).__name__}")
    return False


def start(at: Admission, run: Row[Any], thread: Row[Any] | None) -> bool:
    """Make the run's turn; where there is nobody to make it for, the run fails."""
    place = place_of(at.adapters[run.adapter], run, thread)
    if place is None:
        fail(at.db, run, f"the adapter {run.adapter} can't be spoken to first")
        return False
    inbound = Inbound(
        agent=run.agent,
        adapter=run.adapter,
        key=place.key,
        channel=place.channel,
        actor=f"job:{run.name}",
        text=run.prompt,
        event_key=str(run.id),
        team=place.team,
        reply=place.reply,
    )
    job = {"run": str(run.id), "name": run.name, "kind": run.kind, "model": run.model}
    told = {"heyfleet.job": run.name, "heyfleet.adapter": run.adapter}
    with tracing.entrance(f"start job {run.name}", told, kind="internal"):
        accepted = accept_run(at.db, inbound, run.id, job)
        if accepted is not None:
            at.wakes.thread(accepted.thread_id)
        return accepted is not None


def place_of(adapter: Adapter, run: Row[Any], thread: Row[Any] | None) -> Place | None:
    if thread is not None:
        # An adapter that only answers is not spoken to first in a thread either.
        speaks = adapter.place("channel", thread.channel) is not None
        return Place(thread.key, thread.channel, thread.team, (thread.reply or {}) if speaks else {})
    return adapter.place(run.place["kind"], run.place["name"])


def fail(db: Database, run: Row[Any], why: str) -> None:
    log.warning("job_run_failed", job=run.name, target=run.target, error=why)
    noted = event("job_run_failed", trace=run.id.hex, agent=run.agent, job=run.name, target=run.target, error=why)
    db.rows(FAIL, run=run.id, error=why, events=encoded([noted]))


# Whoever ended the turn knew nothing of runs (a process of an older version), or the run was never to have a process.
LOST = f"""
    WITH settled AS (
        UPDATE job_run SET ended_at = now(), state = CASE turn.state WHEN 'done' THEN 'done' ELSE 'failed' END,
            error = coalesce(turn.error, CASE turn.state WHEN 'done' THEN NULL ELSE turn.state END)
        FROM turn
        WHERE job_run.state = 'running' AND turn.id = job_run.turn_id
            AND turn.finished_at < now() - interval '{STRANDED_AFTER} seconds'
        RETURNING job_run.id
    )
    SELECT count(*) AS settled FROM settled"""

UNREACHABLE = """
    UPDATE job_run SET state = 'skipped', ended_at = now(),
        error = 'no process has an adapter named ' || adapter || ': add it, or take it out of the job'
    WHERE state = 'queued' AND adapter <> ALL(:adapters) AND created_at < now() - make_interval(secs => :patience)"""


def tidy(at: Admission) -> None:
    """What starting and ending runs leaves behind: those whose turn has ended without them, and those for an adapter
    that nobody has had for a while. May be done by any process, any number of times."""
    at.db.rows(LOST)
    at.db.rows(UNREACHABLE, adapters=list(at.adapters), patience=PATIENCE)
