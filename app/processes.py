"""The fleet's processes, as each says itself: that it lives, and whether it does its work.

A process that lives and consumes nothing is the one that nobody notices: Celery has stopped consuming after a reconnect
more than once (celery#8091, #10205). So what is told is not "it runs" but "it has worked, or could have, just now".
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import structlog
from sqlalchemy import Row

from app.db import Database
from app.errors import HeyfleetError

log = structlog.get_logger()

EVERY = 5.0
"""Seconds between two heartbeats."""
GONE_AFTER = 30
"""Seconds without one after which a process counts as gone."""
SHOWN_FOR = 3600
"""Seconds for which one that is gone without a word is still told of."""

BEAT = """
    INSERT INTO process (id, kind, host, pid, version, problem)
    VALUES (:id, :kind, :host, :pid, :version, :problem)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), problem = excluded.problem"""

STOPPED = "UPDATE process SET stopped_at = now(), heartbeat_at = now() WHERE id = :id"

LISTED = f"""
    SELECT id, kind, host, pid, version, started_at, heartbeat_at, problem,
        CASE WHEN heartbeat_at < now() - interval '{GONE_AFTER} seconds' THEN 'gone'
            WHEN problem IS NOT NULL THEN 'stuck' ELSE 'works' END AS state
    FROM process
    WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '{SHOWN_FOR} seconds'
        AND NOT (heartbeat_at < now() - interval '{GONE_AFTER} seconds' AND EXISTS (
            SELECT 1 FROM process AS next
            WHERE next.kind = process.kind AND next.started_at > process.heartbeat_at
                AND next.stopped_at IS NULL AND next.heartbeat_at >= now() - interval '{GONE_AFTER} seconds'))
    ORDER BY kind, started_at"""


def listed(db: Database) -> Sequence[Row[Any]]:
    """All that have not ended in order, by kind: `state` is works, stuck (and `problem` says why) or gone. One that is
    gone and was started again, by whomever, is not told of."""
    return db.rows(LISTED)


def troubles(db: Database) -> list[str]:
    """What is wrong with processes that live, in words."""
    return [f"{row.kind} {row.pid} on {row.host}: {row.problem}" for row in listed(db) if row.state == "stuck"]


class Presence:
    """Says of this process, from a thread of its own, that it lives; and what keeps it from its work."""

    def __init__(self, db: Database, kind: str, problem: Callable[[], str | None], every: float = EVERY) -> None:
        self.db = db
        self.kind = kind
        self.problem = problem
        """None while the process works, or could; else why not."""
        self.id = f"{socket.gethostname()} {kind} {os.getpid()} {secrets.token_hex(4)}"
        self.every = every
        self._told: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Say that it ends, as far as that can be said."""
        self._ended.set()
        self._thread.join(timeout=5)
        try:
            self.db.rows(STOPPED, id=self.id)
        except HeyfleetError as error:
            log.warning("end_not_noted", error=error.message)

    def beat(self) -> None:
        """Once. Raises Unavailable."""
        problem = self.problem()
        if problem is not None and self._told is None:
            log.error("stuck", why=problem)
        elif problem is None and self._told is not None:
            log.info("works_again")
        self._told = problem
        params = {
            "id": self.id,
            "kind": self.kind,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("heyfleet"),
            "problem": problem,
        }
        self.db.rows(BEAT, params)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except HeyfleetError as error:
                log.warning("presence_not_told", error=error.message)
            except Exception:
                # The thread must outlive any surprise: without it the process would count as gone.
                log.exception("presence_not_told")
            if self._ended.wait(self.every):
                return
