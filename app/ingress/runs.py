"""How runs stand: asked once, or waited for. Any number of waiting requests cost one query every so often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from app.db import Database
from app.errors import HeyfleetError

log = structlog.get_logger()

LOOK_EVERY = 0.05

# A message that was given to a running turn as a steer ends as that turn ends.
STANDING = """
    SELECT turn.id, thread.key, thread.adapter,
        coalesce(host.state, turn.state) AS state, coalesce(host.answer, turn.answer) AS answer,
        coalesce(host.finished_at, CASE WHEN host.id IS NULL THEN turn.finished_at END) AS finished_at,
        (SELECT jsonb_agg(jsonb_build_object('name', name, 'mediaType', media_type, 'size', length(body)))
            FROM attachment WHERE turn_id = coalesce(host.id, turn.id) AND direction = 'out') AS files,
        (SELECT jsonb_agg(jsonb_build_object('id', code, 'tool', call.tool, 'arguments', call.args, 'reason', reason,
                'details', details, 'requester', requester, 'expiresAt', expires_at) ORDER BY call.ordinal)
            FROM approval JOIN call ON call.id = approval.call_id
            WHERE approval.turn_id = coalesce(host.id, turn.id) AND approval.state = 'pending') AS asked
    FROM turn JOIN thread ON thread.id = turn.thread_id LEFT JOIN turn AS host ON host.id = turn.absorbed_by
    WHERE turn.id = ANY(:runs)"""

STATUSES = {"queued": "running", "running": "running", "waiting": "running"}
UNFINISHED = ("running", "pending_approval")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one run stands."""

    run: UUID
    thread_key: str
    adapter: str
    status: str
    """`running`, `pending_approval`, `done`, `failed` or `cancelled`."""
    text: str | None
    files: Iterable[Mapping[str, Any]]
    approvals: Sequence[Mapping[str, Any]] = ()
    """What is asked, where it waits for approvals."""

    @property
    def finished(self) -> bool:
        return self.status not in UNFINISHED


def standings(db: Database, runs: Iterable[UUID]) -> dict[UUID, Standing]:
    """How the runs stand; those that don't exist are missing. One round trip."""
    return {row.id: standing_of(row) for row in db.rows(STANDING, runs=list(runs))}


def standing_of(row: Row[Any]) -> Standing:
    status = STATUSES.get(row.state, row.state)
    if status == "running" and row.asked:
        status = "pending_approval"
    return Standing(row.id, row.key, row.adapter, status, row.answer, row.files or (), row.asked or ())


class Waiting:
    """Requests that wait for a run to end, or to ask for approvals. At most `most` at once, so that new messages always
    find a thread free."""

    def __init__(self, db: Database, most: int) -> None:
        self.db = db
        self._places = threading.BoundedSemaphore(most)
        self._changed = threading.Condition()
        self._wanted: dict[UUID, int] = {}
        self._seen: dict[UUID, Standing] = {}
        self._looking = False

    def wait(self, run: UUID, seconds: float, known: str = "running") -> Standing | None:
        """The run's standing once it is not as `known` any more, or None when it stays so (or too many wait)."""
        if seconds <= 0 or not self._places.acquire(blocking=False):
            return None
        deadline = time.monotonic() + seconds
        try:
            with self._changed:
                self._wanted[run] = self._wanted.get(run, 0) + 1
                self._start_looking()
                while True:
                    seen, left = self._seen.get(run), deadline - time.monotonic()
                    if seen is not None and seen.status != known:
                        return seen
                    if left <= 0:
                        return None
                    self._changed.wait(left)
        finally:
            with self._changed:
                self._wanted[run] -= 1
                if not self._wanted[run]:
                    del self._wanted[run]
                    self._seen.pop(run, None)
            self._places.release()

    def _start_looking(self) -> None:
        if not self._looking:
            self._looking = True
            threading.Thread(target=self._look, name="waiting-runs", daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._changed:
                wanted = [run for run in self._wanted if run not in self._seen or not self._seen[run].finished]
                if not self._wanted:
                    self._looking = False
                    return
            found = self._look_at(wanted)
            with self._changed:
                news = {run: now for run, now in found.items() if run in self._wanted and self._is_news(run, now)}
                self._seen.update(news)
                if news:
                    self._changed.notify_all()
            time.sleep(LOOK_EVERY)  # one query for all who wait, and so many a second whoever waits

    def _is_news(self, run: UUID, now: Standing) -> bool:
        seen = self._seen.get(run)
        return seen is None or seen.status != now.status

    def _look_at(self, runs: list[UUID]) -> dict[UUID, Standing]:
        try:
            return standings(self.db, runs)
        except HeyfleetError as error:
            log.warning("runs_not_seen", error=error.message)
            return {}
        except Exception:
            # Whoever waits gets "running" at the end of its time; without this thread, so would everybody after.
            log.exception("runs_not_seen")
            return {}
