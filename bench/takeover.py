"""R6: how long it takes until what a killed process was working on goes on elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from app.db import Database
from app.errors import HeyfleetError

TABLES = {"worker": ("thread", "destination"), "runner": ("sandbox",)}
LOOK_EVERY = 0.05
GIVE_UP_AFTER = 120.0

# The owner's name is `HOST KIND PID …`; see `app.bootstrap.keeper_of`.
ORPHANS = """
    SELECT CAST(id AS text), lease_token FROM {table}
    WHERE lease_owner LIKE :owner AND lease_until > now()"""
BUSIEST = """
    SELECT lease_owner, count(*) FROM (
        SELECT lease_owner FROM thread UNION ALL SELECT lease_owner FROM destination
        UNION ALL SELECT lease_owner FROM sandbox) AS held
    WHERE lease_owner LIKE :owner GROUP BY lease_owner ORDER BY count(*) DESC LIMIT 1"""
# A lane that is free under its old token was given back in the moment before the kill.
MOVED_ON = """
    SELECT CAST(lane.id AS text) AS id, lane.lease_token > old.token AS taken FROM {table} AS lane
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:tokens AS bigint[])) AS old (id, token) ON old.id = lane.id
    WHERE lane.lease_token > old.token OR lane.lease_owner IS NULL"""


@dataclass
class Takeovers:
    """Watches the lanes that killed processes held, from a thread for each kill."""

    db: Database
    seconds: list[float] = field(default_factory=list)
    """From the kill to the next taking, for each lane."""
    never: int = 0
    threads: list[threading.Thread] = field(default_factory=list)
    unseen: int = 0
    """Kills of whose lanes nothing is known: Postgres did not answer."""

    def killed(self, kind: str, pid: int) -> None:
        """Note what the process holds; called right before it is killed."""
        for table in TABLES.get(kind, ()):
            try:
                held = dict[str, int](
                    (row[0], row[1]) for row in self.db.rows(ORPHANS.format(table=table), owner=f"% {kind} {pid} %")
                )
            except HeyfleetError:
                self.unseen += 1
                continue
            if held:
                thread = threading.Thread(target=self._watch, args=(table, held, time.monotonic()), daemon=True)
                thread.start()
                self.threads.append(thread)

    def busiest(self, kind: str) -> int | None:
        """The process of a kind that holds the most lanes right now; None where none does, or nobody can tell."""
        try:
            row = self.db.one(BUSIEST, owner=f"% {kind} %")
        except HeyfleetError:
            return None
        return int(row.lease_owner.split()[2]) if row else None

    def close(self) -> None:
        for thread in self.threads:
            thread.join()

    def _watch(self, table: str, held: dict[str, int], since: float) -> None:
        while held and time.monotonic() - since < GIVE_UP_AFTER:
            time.sleep(LOOK_EVERY)  # the figure's resolution
            try:
                rows = self.db.rows(MOVED_ON.format(table=table), ids=list(held), tokens=list(held.values()))
            except HeyfleetError:
                continue  # a fault of the storm; the next look sees it
            for row in rows:
                del held[row.id]
                if row.taken:
                    self.seconds.append(time.monotonic() - since)
        self.never += len(held)
