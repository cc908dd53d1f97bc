"""`heyfleet status`"""

from __future__ import annotations

import json
import sys
from typing import Any

import redis
import typer
from redis.exceptions import RedisError

from app import processes, runners
from app.bootstrap import Core
from app.cli.context import AsJson, connected, plain
from app.jobs.history import standing
from app.leader import leader
from app.queue import DELIVERIES, TURNS, runtime_queue

OPEN = """
    SELECT (SELECT count(*) FROM turn WHERE state = 'queued') AS queued,
        (SELECT count(*) FROM turn WHERE state = 'running') AS running,
        (SELECT count(*) FROM turn WHERE state = 'waiting') AS waiting,
        (SELECT count(*) FROM delivery WHERE state IN ('pending', 'sending')) AS unsent,
        (SELECT count(*) FROM delivery WHERE state IN ('failed', 'ambiguous')) AS undelivered,
        (SELECT count(*) FROM call WHERE state IN ('queued', 'running')) AS calls,
        (SELECT count(*) FROM approval WHERE state = 'pending') AS asked,
        (SELECT lease_owner FROM role WHERE name = 'sweeper' AND lease_until > now()) AS sweeper"""


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """The fleet at a glance: who works, what waits, what went wrong."""
    with connected(context) as core:
        found = look(core)
    if as_json:
        sys.stdout.write(json.dumps(found, default=plain, indent=2) + "\n")
        return
    sys.stdout.writelines(f"{name.replace('_', ' '):<12} {said(value)}\n" for name, value in found.items())


def look(core: Core) -> dict[str, Any]:
    row = core.db.rows(OPEN)[0]
    return {
        "turns": {"queued": row.queued, "running": row.running, "waiting": row.waiting},
        "calls": {"open": row.calls},
        "approvals": {"pending": row.asked},
        "deliveries": {"unsent": row.unsent, "failed or ambiguous": row.undelivered},
        "processes": processes_of(core),
        "runners": [f"{runner.id} ({'alive' if runner.lives else 'gone'})" for runner in runners.listed(core.db)],
        "jobs": jobs(core),
        "beat": beat(core),
        "sweeper": row.sweeper or "nobody: no worker is running",
        "queues": queues(core),
    }


def jobs(core: Core) -> dict[str, Any]:
    all_of_them, odd = standing(core.db)
    found: dict[str, Any] = {"active": all_of_them.active, "paused": all_of_them.paused}
    found |= {"runs queued": all_of_them.queued, "runs running": all_of_them.running, "next": all_of_them.next_at}
    found |= {"late since yesterday": all_of_them.late, "skipped since yesterday": int(all_of_them.skipped)}
    if odd:
        found["latest of these"] = [
            f"{row.agent}/{row.name} due {plain(row.due_at)} {row.outcome}: {row.reason}" for row in odd
        ]
    return found


def beat(core: Core) -> dict[str, Any] | str:
    """Who schedules, since when, and when it looked last."""
    try:
        found = leader(redis.Redis.from_url(core.redis_url, socket_timeout=2))
    except RedisError as error:
        return f"unknown: Redis is out of reach ({error})"
    if found is None:
        return "nobody leads: start a beat (python -m beat); where one was just killed, another takes over by itself"
    return {"leader": found.owner, "since": found.since, "looked": found.looked_at or "not yet: is Postgres there?"}


def processes_of(core: Core) -> list[str]:
    """All that live, with what keeps them from their work; and those that are gone without a word."""
    return [
        f"{row.kind} {row.pid} on {row.host} ({row.state if row.state != 'stuck' else f'stuck: {row.problem}'})"
        for row in processes.listed(core.db)
    ]


def queues(core: Core) -> dict[str, int] | str:
    client = redis.Redis.from_url(core.redis_url, socket_timeout=2)
    try:
        names = (TURNS, DELIVERIES, runtime_queue(core.settings.runtime.name))
        return {name: int(client.llen(name)) for name in names}
    except RedisError as error:
        return f"unknown: Redis is out of reach ({error})"


def said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(said_of(name, found) for name, found in value.items() if found is not None)
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def said_of(name: str, value: Any) -> str:
    """A count before what is counted; anything else behind its name."""
    if isinstance(value, int):
        return f"{value} {name}"
    return f"{name}: {'; '.join(value)}" if isinstance(value, list) else f"{name} {plain(value)}"
