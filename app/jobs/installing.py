"""At start and after an edit: the jobs of the configuration into rows. What is gone from there is paused, not deleted;
what was set by hand stays, unless the configuration says otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.audit import event
from app.clock import uuid7
from app.closing import note
from app.config.jobs import JobSpec
from app.db import Database, compiled
from app.jobs.deciding import Due, passed
from app.jobs.records import drop_queued, record
from app.jsonb import dumps, storable
from app.states import JobState
from app.timetable import timetable

CONFIG = "config"
"""Who paused a job that the configuration pauses, or has no more."""

STORED = "SELECT * FROM job"

# Only what is to be changed, since a heartbeat's row is locked for as long as it is fanned out. Whoever fires it
# meanwhile waits, and then finds the new revision.
LOCKED = "SELECT * FROM job WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"

FIELDS = ("kind", "schedule", "targets", "scope", "idle", "prompt", "model", "max_catch_up")
JSON = ("schedule", "targets", "scope")
COLUMNS = (*FIELDS, "anchor", "state", "paused_by", "next_at")
VALUES = [f"CAST(:{name} AS jsonb)" if name in JSON else f":{name}" for name in COLUMNS]

INSERT = f"""
    INSERT INTO job (id, agent, name, {", ".join(COLUMNS)}) VALUES (:id, :agent, :name, {", ".join(VALUES)})
    ON CONFLICT (agent, name) DO NOTHING RETURNING id"""

UPDATE = f"""
    UPDATE job SET revision = revision + 1, gone_at = NULL,
        {", ".join(f"{name} = {value}" for name, value in zip(COLUMNS, VALUES, strict=True))}
    WHERE id = :id"""

GONE = """
    UPDATE job SET gone_at = now(), revision = revision + 1, state = 'paused',
        paused_by = CASE WHEN state = 'active' THEN :config ELSE paused_by END
    WHERE id = ANY(:ids)"""

# Once the rows are locked, for which others may have been waited for.
NOW = "SELECT clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done, by the jobs' names."""

    new: list[str]
    changed: list[str]
    gone: list[str]
    never: list[str]
    """New or changed ones whose only time has passed."""
    kept: list[str]
    """Those of agents whose folder is not there: they stay as they are."""


def install(db: Database, specs: Sequence[JobSpec], unseen: Collection[str] = ()) -> Installed:
    """Make the stored jobs those of the configuration, in one transaction. May be repeated.

    `unseen` are agents whose folder is not there: what is missing of theirs is not taken for gone.
    """
    return db.carried_out(lambda connection: installed(connection, specs, unseen))


def installed(connection: Connection, specs: Sequence[JobSpec], unseen: Collection[str]) -> Installed:
    wanted = {(spec.agent, spec.name): spec for spec in specs}
    stored = {(row.agent, row.name): row for row in connection.execute(compiled(STORED))}
    touched = [row.id for key, row in stored.items() if is_to_change(row, wanted.get(key), unseen)]
    new = [spec for key, spec in wanted.items() if key not in stored]
    kept = [row.name for key, row in stored.items() if key not in wanted and not row.gone_at and row.agent in unseen]
    done = Installed([], [], [], [], kept)
    if not (touched or new):
        return done
    locked = connection.execute(compiled(LOCKED), {"ids": touched}).all()
    now: datetime = connection.execute(compiled(NOW)).scalar_one()
    for spec in new:
        add(connection, new_row(spec, now), done)
    gone = [row for row in locked if (row.agent, row.name) not in wanted and row.gone_at is None]
    for row in locked:
        found = wanted.get((row.agent, row.name))
        after = changed_row(connection, row, found, now) if found else None
        if after is not None:
            connection.execute(compiled(UPDATE), as_json(after))
            done.changed.append(row.name)
            told(connection, "job_changed", row.agent, row.name)
            if after["next_at"] is None and row.next_at is not None:
                done.never.append(row.name)
    if gone:
        take_out(connection, gone)
        done.gone.extend(row.name for row in gone)
    return done


def is_to_change(row: Row[Any], spec: JobSpec | None, unseen: Collection[str]) -> bool:
    if spec is None:
        return row.gone_at is None and row.agent not in unseen
    same = {name: getattr(row, name) for name in FIELDS} == fields_of(spec)
    return not same or row.gone_at is not None or (row.state, row.paused_by) != state_of(row, spec)


def add(connection: Connection, row: Mapping[str, Any], done: Installed) -> None:
    if connection.execute(compiled(INSERT), as_json(row)).first() is None:
        return  # another process installs the same jobs right now
    done.new.append(row["name"])
    told(connection, "job_installed", row["agent"], row["name"])
    if row["next_at"] is None:
        done.never.append(row["name"])


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{name: None if row[name] is None else dumps(row[name]) for name in JSON}}


def new_row(spec: JobSpec, now: datetime) -> dict[str, Any]:
    paused = spec.state == JobState.PAUSED
    return {
        "id": uuid7(),
        "agent": spec.agent,
        "name": spec.name,
        **fields_of(spec),
        "anchor": now,
        "state": JobState.PAUSED.value if paused else JobState.ACTIVE.value,
        "paused_by": CONFIG if paused else None,
        "next_at": timetable(spec.schedule, now).after(now),
    }


def changed_row(connection: Connection, row: Row[Any], spec: JobSpec, now: datetime) -> dict[str, Any] | None:
    """The row as it is to be; None where it is so by now. Due times that come to nothing are recorded."""
    if not is_to_change(row, spec, ()):
        return None
    state, paused_by = state_of(row, spec)
    rescheduled = row.schedule != dict(spec.schedule)
    resumed = row.state == JobState.PAUSED and state == JobState.ACTIVE
    anchor, next_at = row.anchor, row.next_at
    if (rescheduled or resumed) and next_at is not None:
        why = f"paused by {row.paused_by}" if row.state == JobState.PAUSED else "its schedule was changed"
        record(connection, row.id, passed(Due(row.schedule, anchor, next_at, row.max_catch_up), now, why))
    if rescheduled:
        anchor = now
    if rescheduled or resumed:
        next_at = timetable(spec.schedule, anchor).after(now)
    if state == JobState.PAUSED and row.state == JobState.ACTIVE:
        drop_queued(connection, [row.id], "paused by the configuration")
    more = {"anchor": anchor, "state": state.value, "paused_by": paused_by, "next_at": next_at}
    return {"id": row.id, "agent": row.agent, "name": row.name, **fields_of(spec), **more}


def state_of(row: Row[Any], spec: JobSpec) -> tuple[JobState, str | None]:
    """The state that a stored job gets, and who paused it."""
    if spec.state == JobState.ACTIVE:
        return JobState.ACTIVE, None
    if spec.state == JobState.PAUSED:
        return JobState.PAUSED, CONFIG
    by_hand = row.state == JobState.PAUSED and row.paused_by != CONFIG
    return (JobState.PAUSED, row.paused_by) if by_hand else (JobState.ACTIVE, None)


def fields_of(spec: JobSpec) -> dict[str, Any]:
    return {
        "kind": spec.kind,
        "schedule": dict(spec.schedule),
        "targets": None if spec.targets is None else [dict(target) for target in spec.targets],
        "scope": None if spec.scope is None else dict(spec.scope),
        "idle": spec.idle,
        "prompt": storable(spec.prompt),
        "model": spec.model,
        "max_catch_up": spec.max_catch_up,
    }


def take_out(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    ids = [row.id for row in rows]
    connection.execute(compiled(GONE), {"ids": ids, "config": CONFIG})
    drop_queued(connection, ids, "the job is gone from the configuration")
    note(connection, [event("job_gone", trace=uuid7().hex, agent=row.agent, job=row.name) for row in rows])


def told(connection: Connection, kind: str, agent: str, name: str, **data: Any) -> None:
    """An event about a job, which has a trace of its own."""
    facts: Mapping[str, Any] = {"agent": agent, "job": name, **data}
    note(connection, [event(kind, trace=uuid7().hex, **facts)])
