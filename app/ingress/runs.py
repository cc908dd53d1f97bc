"""How runs stand: asked once, or waited for. Any number of waiting requests cost one query every so often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

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
            FROM attachment WHERE turn_id = coalesce(host.id, turn.id) AND direction = 'out') AS files
    FROM turn JOIN thread ON thread.id = turn.thread_id LEFT JOIN turn AS host ON host.id = turn.absorbed_by
    WHERE turn.id = ANY(:runs)"""

STATUSES = {"queued": "running", "running": "running", "waiting": "running"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one run stands."""

    run: UUID
    thread_key: str
    adapter: str
    status: str
    """`running`, `done`, `failed` or `cancelled`."""
    text: str | None
    files: Iterable[Mapping[str, Any]]

    @property
    def finished(self) -> bool:
        return self.status != "running"


def standings(db: Database, runs: Iterable[UUID]) -> dict[UUID, Standing]:
    """How the runs stand; those that don't exist are missing. One round trip."""
    return {
        row.id: Standing(row.id, row.key, row.adapter, STATUSES.get(row.state, row.state), row.answer, row.files or ())
        for row in db.rows(STANDING, runs=list(runs))
    }


class Waiting:
    """Requests that wait for a run's end. At most `most` at once, so that new messages always find a thread free."""

    def __init__(self, db: Database, most: int) -> None:
        self.db = db
        self._places = threading.BoundedSemaphore(most)
        self._changed = threading.Condition()
        self._wanted: dict[UUID, int] = {}
        self._ended: dict[UUID, Standing] = {}
        self._looking = False

    def wait(self, run: UUID, seconds: float) -> Standing | None:
        """The run's standing once it has ended, or None when it has not within `seconds` (or too many wait)."""
        if seconds <= 0 or not self._places.acquire(blocking=False):
            return None
        deadline = time.monotonic() + seconds
        try:
            with self._changed:
                self._wanted[run] = self._wanted.get(run, 0) + 1
                self._start_looking()
                while run not in self._ended:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
                return self._ended.get(run)
        finally:
            with self._changed:
                self._wanted[run] -= 1
                if not self._wanted[run]:
                    del self._wanted[run]
                    self._ended.pop(run, None)
            self._places.release()

    def _start_looking(self) -> None:
        if not self._looking:
            self._looking = True
            threading.Thread(target=self._look, name="waiting-runs", daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._changed:
                wanted = [run for run in self._wanted if run not in self._ended]
                if not self._wanted:
                    self._looking = False
                    return
            ended = self._ended_of(wanted)
            with self._changed:
                self._ended.update({run: standing for run, standing in ended.items() if run in self._wanted})
                if ended:
                    self._changed.notify_all()
            time.sleep(LOOK_EVERY)  # one query for all who wait, and so many a second whoever waits

    def _ended_of(self, runs: list[UUID]) -> dict[UUID, Standing]:
        try:
            return {run: standing for run, standing in standings(self.db, runs).items() if standing.finished}
        except HeyfleetError as error:
            log.warning("runs_not_seen", error=error.message)
            return {}
        except Exception:
            # Whoever waits gets "running" at the end of its time; without this thread, so would everybody after.
            log.exception("runs_not_seen")
            return {}
