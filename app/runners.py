"""Runners: workers that host sandboxes. Each registers itself and says every so often that it lives."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from sqlalchemy import Row

from app.db import Database
from app.jsonb import dumps

REGISTER = """
    INSERT INTO runner (id, host, version, runtimes, capacity, workspace_id, instance)
    VALUES (:id, :host, :version, CAST(:runtimes AS jsonb), :capacity, :workspace, :instance)
    ON CONFLICT (id) DO UPDATE SET
        host = excluded.host, version = excluded.version, runtimes = excluded.runtimes, capacity = excluded.capacity,
        workspace_id = excluded.workspace_id, instance = excluded.instance, started_at = now(), heartbeat_at = now(),
        stopped_at = NULL"""

HEARTBEAT = "UPDATE runner SET heartbeat_at = now() WHERE id = :id AND instance = :instance RETURNING id"
STOPPED = "UPDATE runner SET stopped_at = now() WHERE id = :id AND instance = :instance"
LISTED = """
    SELECT id, host, version, runtimes, capacity, started_at, heartbeat_at, stopped_at,
        stopped_at IS NULL AND heartbeat_at > now() - interval '45 seconds' AS lives,
        (SELECT count(*) FROM call WHERE call.runner_id = runner.id AND call.state = 'running') AS running
    FROM runner ORDER BY id"""


def register(
    db: Database, *, runner: str, instance: str, runtimes: Sequence[str], capacity: int, workspace: str | None
) -> None:
    """Enter a runner that starts. An older process of the same id sees by its next heartbeat that it was replaced."""
    db.rows(
        REGISTER,
        id=runner,
        host=socket.gethostname(),
        version=version("heyfleet"),
        runtimes=dumps(list(runtimes)),
        capacity=capacity,
        workspace=workspace,
        instance=instance,
    )


def heartbeat(db: Database, runner: str, instance: str) -> bool:
    """Say that it lives. False: another process has registered under this id."""
    return db.one(HEARTBEAT, id=runner, instance=instance) is not None


def stopped(db: Database, runner: str, instance: str) -> None:
    """Say that it ends, so that its sandboxes move on at once."""
    db.rows(STOPPED, id=runner, instance=instance)


def listed(db: Database) -> Sequence[Row[Any]]:
    """All runners that ever registered."""
    return db.rows(LISTED)
