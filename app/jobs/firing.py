"""Firing: in one statement a job's due targets become runs, what became of its due times is recorded, and its cursor
moves on. Two that fire at once both find the same; the first one's commit is the only one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from app import meters
from app.clock import uuid7
from app.db import Database, compiled
from app.errors import TookTooLong
from app.jobs.deciding import LATE, MOST_AT_ONCE, Decided, Decision, Due, decide
from app.jobs.records import BUSY, IS_OPEN, NOBODY, OCCURRENCES, rows_of
from app.jsonb import dumps

log = structlog.get_logger()

MOST = 200
"""Jobs that are looked at together."""

MOST_ROWS = 400
"""Runs and outcomes written by one statement, but for one job that has more targets."""

SET_ASIDE = 60.0
"""Seconds that a job is left alone which could not be fired."""

Chosen = tuple[Row[Any], Decision]
"""A due job, and what becomes of it."""

LONGEST_FAN_OUT = 120
"""Seconds that Postgres may take for a heartbeat over very many threads; other statements get 15."""

DUE = """
    SELECT id, agent, name, schedule, anchor, targets, scope, idle, max_catch_up, next_at, revision, now() AS now
    FROM job WHERE state = 'active' AND scope IS {reach} AND next_at <= now() AND id <> ALL(:aside)
    ORDER BY next_at LIMIT :most"""
DUE_TARGETS = DUE.format(reach="NULL")
DUE_SCOPE = DUE.format(reach="NOT NULL")

SOONEST = """
    SELECT extract(epoch FROM min(next_at) - now()) AS seconds FROM job
    WHERE state = 'active' AND scope IS {reach} AND id <> ALL(:aside)"""
SOONEST_TARGETS = SOONEST.format(reach="NULL")
SOONEST_SCOPE = SOONEST.format(reach="NOT NULL")

# The cursor that was read is named again, with the row's revision: whoever comes second finds it moved, and writes
# nothing.
MOVED = """
    moved AS (
        UPDATE job SET next_at = d.next FROM jsonb_to_recordset(CAST(:decisions AS jsonb))
            AS d (job uuid, was timestamptz, next timestamptz, revision bigint)
        WHERE job.id = d.job AND job.next_at = d.was AND job.revision = d.revision
        RETURNING job.id, job.agent, job.name
    )"""

FIRE = f"""
    WITH {MOVED}, made AS (
        INSERT INTO job_run (id, job_id, due_at, target, adapter, place, fanned_out, state, error, ended_at)
        SELECT r.id, moved.id, r.due_at, r.target, r.place ->> 'adapter', r.place, false,
            CASE WHEN busy THEN 'skipped' ELSE 'queued' END,
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

# The first slash ends the team, so that no two threads have one name.
THREAD_TARGET = """thread.adapter || ':' || CASE WHEN thread.team = '' AND strpos(thread.key, '/') = 0 THEN thread.key
    ELSE replace(replace(thread.team, '%', '%25'), '/', '%2F') || '/' || thread.key END"""

# One of the threads that match; `passed` where it gets no run.
MATCHING = f"""
    matching AS (
        SELECT thread.id, thread.adapter, {THREAD_TARGET} AS target,
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
        INSERT INTO job_run (id, job_id, due_at, target, adapter, thread_id, fanned_out, state)
        SELECT {NUMBERED}, moved.id, firing.due_at, matching.target, matching.adapter, matching.id, true, 'queued'
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


class Aside:
    """Jobs that could not be fired, each left alone for a while: they must not hold the others up, nor fill the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._until: dict[UUID, float] = {}
        self._clock = clock

    def put(self, job: UUID) -> None:
        self._until[job] = self._clock() + SET_ASIDE

    def ids(self) -> list[UUID]:
        now = self._clock()
        self._until = {job: until for job, until in self._until.items() if until > now}
        return list(self._until)


def fire_targets(db: Database, aside: Aside | None = None, go_on: Callable[[], bool] = lambda: True) -> int:
    """Fire every job with targets whose time has come, for as long as `go_on`. How many runs came of it."""
    aside, made = aside or Aside(), 0
    while go_on():
        due = db.rows(DUE_TARGETS, most=MOST, aside=aside.ids())
        for portion in portions(all_decided(due, aside)):
            made += fire(db, portion, aside)
            measure(portion)
        if len(due) < MOST:
            break
    return made


def measure(decided: Sequence[Chosen]) -> None:
    """How late what was decided to fire was."""
    for row, decision in decided:
        for each in decision.occurrences:
            if each.fires:
                late = (row.now - each.due_at).total_seconds()
                meters.observe("job_lateness_seconds", late, outcome=each.outcome.value)


def fire(db: Database, decided: Sequence[Chosen], aside: Aside) -> int:
    """Fire these jobs with one statement; each by itself where Postgres does not take them together."""
    runs = [run for row, decision in decided for run in runs_of(row, decision)]
    try:
        return sum(row.runs for row in db.rows(FIRE, parameters(decided), runs=dumps(runs)))
    except (DBAPIError, TookTooLong):
        if len(decided) > 1:
            return sum(fire(db, [one], aside) for one in decided)
        leave(decided[0][0], aside)
        return 0


def fan_out(db: Database, aside: Aside | None = None, go_on: Callable[[], bool] = lambda: True) -> int:
    """Fire every heartbeat over threads whose time has come, one after the other. How many runs came of it."""
    aside, made = aside or Aside(), 0
    for row, decision in all_decided(db.rows(DUE_SCOPE, most=MOST, aside=aside.ids()), aside):
        if not go_on():
            break
        params = {
            **parameters([(row, decision)]),
            "stacks": any(stacks(row, each) for each in decision.occurrences),
            "agent": row.agent,
            "idle": row.idle,
            "filters": filters_of(row.scope),
            "ids": ids(),
        }
        try:
            made += sum(found.runs for found in db.carried_out(partial(with_time, statement=FAN_OUT, params=params)))
            measure([(row, decision)])
        except (DBAPIError, TookTooLong):
            leave(row, aside)
    return made


def with_time(connection: Connection, statement: str, params: Mapping[str, Any]) -> Sequence[Row[Any]]:
    """Run a statement over very many threads."""
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LONGEST_FAN_OUT}s'")
    return connection.execute(compiled(statement), params).all()


def soonest(db: Database, statement: str, aside: Aside | None = None) -> float | None:
    """Seconds until the next job of its kind is due; None where none will be."""
    row = db.one(statement, aside=aside.ids() if aside else [])
    return None if row is None or row.seconds is None else float(row.seconds)


def all_decided(due: Sequence[Row[Any]], aside: Aside) -> list[Chosen]:
    """What becomes of each job that can be decided about."""
    found = []
    for row in due:
        # Over threads one due time at a time: each may be a hundred thousand runs.
        most = 1 if row.targets is None else max(1, min(MOST_AT_ONCE, MOST_ROWS // max(1, len(row.targets))))
        try:
            job = Due(row.schedule, row.anchor, row.next_at, row.max_catch_up)
            found.append((row, decide(job, row.now, most)))
        except Exception:  # noqa: BLE001 (told by `leave`)
            # A time zone that this machine does not know, or a defect of ours.
            leave(row, aside)
    return found


def leave(row: Row[Any], aside: Aside) -> None:
    """Told with what was raised; tried again later."""
    aside.put(row.id)
    log.exception("job_not_fired", agent=row.agent, job=row.name, schedule=row.schedule, again_in=SET_ASIDE)


def portions(decided: Sequence[Chosen]) -> Iterator[list[Chosen]]:
    """So many jobs at once that a statement stays short."""
    portion, rows = list[Chosen](), 0
    for row, decision in decided:
        size = len(decision.occurrences) * (1 + len(row.targets))
        if portion and rows + size > MOST_ROWS:
            yield portion
            portion, rows = [], 0
        portion.append((row, decision))
        rows += size
    if portion:
        yield portion


def parameters(decided: Sequence[Chosen]) -> dict[str, Any]:
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
    return [
        {**run_at(row.id, place), "due_at": each.due_at.isoformat(), "stacks": stacks(row, each)}
        for each in decision.occurrences
        if each.fires
        for place in row.targets
    ]


def stacks(row: Row[Any], each: Decided) -> bool:
    """Whether its runs wait behind one of the same job that has not ended: each late time is to be made up for."""
    return bool(row.max_catch_up == "all" and row.now - each.due_at > LATE)


def run_at(job: UUID, place: Mapping[str, str]) -> dict[str, Any]:
    return {"id": str(uuid7()), "job": str(job), "target": target_name(place), "place": place}


def ids() -> str:
    """The first 20 hexadecimal digits of ids that are numbered."""
    return uuid7().hex[:20]


def target_name(place: Mapping[str, str]) -> str:
    """A target as people read it, and as it is told from the others: `local:ops`, `local:@ada` for a user."""
    name = place["name"]
    if place["kind"] == "channel" and name[:1] in ("@", "\\"):
        name = f"\\{name}"
    return f"{place['adapter']}:{'@' if place['kind'] == 'user' else ''}{name}"


def filters_of(scope: Mapping[str, Mapping[str, Any]]) -> str:
    return dumps([{"adapter": adapter, **found} for adapter, found in scope.items()])
