"""`heyfleet status`"""

from __future__ import annotations

import json
import sys
from typing import Any

import redis
import typer
from redis.exceptions import RedisError

from app import runners
from app.bootstrap import Core
from app.cli.context import AsJson, connected, plain
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
        "workers": workers(core),
        "runners": [f"{runner.id} ({'alive' if runner.lives else 'gone'})" for runner in runners.listed(core.db)],
        "sweeper": row.sweeper or "nobody: no worker is running",
        "queues": queues(core),
    }


def workers(core: Core) -> list[str] | str:
    """The processes that answer a ping through Redis: those that really consume."""
    try:
        answers = core.wakes.app.control.ping(timeout=1.0)
    except (RedisError, OSError) as error:
        return f"unknown: Redis is out of reach ({error})"
    return sorted(name for answer in answers for name in answer)


def queues(core: Core) -> dict[str, int] | str:
    client = redis.Redis.from_url(core.redis_url, socket_timeout=2)
    try:
        names = (TURNS, DELIVERIES, runtime_queue(core.settings.runtime.name))
        return {name: int(client.llen(name)) for name in names}
    except RedisError as error:
        return f"unknown: Redis is out of reach ({error})"


def said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {name}" for name, number in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)
