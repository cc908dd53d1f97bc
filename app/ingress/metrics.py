"""Figures of the fleet as it is at the time of the scrape: what is open, who is there, how deep the queues are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import redis
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from app import processes, runners
from app.db import Database
from app.errors import HeyfleetError
from app.leader import leader
from app.meters import documented
from app.queue import DELIVERIES, TURNS, runtime_queue
from app.states import OPEN_RUNS, OPEN_TURNS, sql_list

log = structlog.get_logger()

# Only what is open, found through partial indexes: a scrape costs the same however much is stored.
FLEET = f"""
    SELECT 'heyfleet_turns_open' AS name, state AS label, count(*)::float AS value
        FROM turn WHERE state IN ({sql_list(OPEN_TURNS)}) GROUP BY state
    UNION ALL SELECT 'heyfleet_deliveries_unsent', state, count(*) FROM delivery
        WHERE state IN ('pending', 'sending') GROUP BY state
    UNION ALL SELECT 'heyfleet_calls_open', state, count(*) FROM call
        WHERE state IN ('queued', 'running') AND sandbox_id IS NOT NULL GROUP BY state
    UNION ALL SELECT 'heyfleet_runners', CASE WHEN stopped_at IS NULL AND heartbeat_at > now() - interval '45 seconds'
        THEN 'alive' ELSE 'gone' END, count(*) FROM runner GROUP BY 2
    UNION ALL SELECT 'heyfleet_oldest_waiting_seconds', 'thread', coalesce(extract(epoch FROM now() - min(wake_at)), 0)
        FROM thread WHERE wake_at <= now() AND (lease_until IS NULL OR lease_until < now())
    UNION ALL SELECT 'heyfleet_oldest_waiting_seconds', 'destination',
        coalesce(extract(epoch FROM now() - min(wake_at)), 0)
        FROM destination WHERE wake_at <= now() AND (lease_until IS NULL OR lease_until < now())
    UNION ALL SELECT 'heyfleet_oldest_waiting_seconds', 'sandbox', coalesce(extract(epoch FROM now() - min(wake_at)), 0)
        FROM sandbox WHERE wake_at <= now() AND (lease_until IS NULL OR lease_until < now())
    UNION ALL SELECT 'heyfleet_job_runs_open', state, count(*) FROM job_run
        WHERE state IN ({sql_list(OPEN_RUNS)}) GROUP BY state
    UNION ALL SELECT 'heyfleet_job_due_seconds', reach, coalesce(extract(epoch FROM now() - min(next_at)), 0) FROM (
        SELECT 'targets' AS reach, next_at FROM job
            WHERE state = 'active' AND scope IS NULL AND next_at <= now()
        UNION ALL SELECT 'scope', next_at FROM job
            WHERE state = 'active' AND scope IS NOT NULL AND next_at <= now()) AS due GROUP BY reach
    UNION ALL SELECT 'heyfleet_job_due_times_hour', outcome, sum(coalesce(due_times, 60)) FROM occurrence
        WHERE decided_at > now() - interval '1 hour' GROUP BY outcome
    UNION ALL SELECT 'heyfleet_job_latest_seconds', outcome, max(extract(epoch FROM decided_at - last_at))
        FROM occurrence WHERE decided_at > now() - interval '1 hour' AND outcome <> 'skipped' GROUP BY outcome
    UNION ALL SELECT 'heyfleet_oldest_turn_seconds', state, extract(epoch FROM now() - min(created_at))
        FROM turn WHERE state IN ({sql_list(OPEN_TURNS)}) GROUP BY state
    UNION ALL SELECT 'heyfleet_approvals_open', state, count(*) FROM approval WHERE state = 'pending' GROUP BY state"""

STATE = ("state",)
HELP: dict[str, tuple[str, tuple[str, ...]]] = {
    "heyfleet_turns_open": ("Unfinished turns of the fleet, by state", STATE),
    "heyfleet_oldest_turn_seconds": ("How long ago the oldest unfinished turn was accepted, by state", STATE),
    "heyfleet_deliveries_unsent": ("Deliveries that are not sent yet, by state", STATE),
    "heyfleet_calls_open": ("Calls in sandboxes that have no result yet, by state", STATE),
    "heyfleet_approvals_open": ("Approvals that wait for an answer", STATE),
    "heyfleet_runners": ("Runners that ever registered, by whether they live", STATE),
    "heyfleet_job_runs_open": ("Runs of jobs that have not ended, by state", STATE),
    "heyfleet_job_due_seconds": ("How long the job has been due that nobody fired, by what it reaches", STATE),
    "heyfleet_job_due_times_hour": ("Due times of jobs in the last hour, by what became of them", STATE),
    "heyfleet_job_latest_seconds": ("How late the latest firing of the last hour was, by its outcome", STATE),
    "heyfleet_oldest_waiting_seconds": ("How long the oldest lane has had work and no holder, by kind", STATE),
    "heyfleet_processes": (
        "Processes that have not ended in order, by whether they work, are stuck or are gone",
        ("kind", "state"),
    ),
    "heyfleet_queue_depth": ("Wakes that nobody has fetched yet, by Celery queue", ("queue",)),
    "heyfleet_postgres_up": ("Whether Postgres answered this scrape", ()),
    "heyfleet_redis_up": ("Whether Redis answered this scrape", ()),
    "heyfleet_beat_leaders": ("Beats that lead: one, or none", ()),
    "heyfleet_beat_leads_since": (
        "When the beat that leads began to (seconds since 1970), by the process",
        ("owner",),
    ),
}
"""Of each figure, what it is and by what it is told apart."""


class Fleet(Collector):
    """The fleet's open work, its processes and its queues."""

    def __init__(self, db: Database, client: redis.Redis) -> None:
        self.db = db
        self.client = client

    def collect(self) -> Iterable[Metric]:
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in HELP.items()}
        runtimes = self.of_postgres(families)
        self.of_redis(families, [TURNS, DELIVERIES, *(runtime_queue(runtime) for runtime in runtimes)])
        yield from families.values()

    def of_postgres(self, families: Mapping[str, GaugeMetricFamily]) -> list[str]:
        """The runtimes that live runners offer."""
        try:
            for row in self.db.rows(FLEET):
                families[row.name].add_metric([row.label], row.value)
            counted = Counter((row.kind, row.state) for row in processes.listed(self.db))
            for (kind, state), number in counted.items():
                families["heyfleet_processes"].add_metric([kind, state], number)
            found = sorted({name for runner in runners.listed(self.db) if runner.lives for name in runner.runtimes})
        except HeyfleetError as error:
            log.warning("metrics_incomplete", error=error.message)
            families["heyfleet_postgres_up"].add_metric([], 0)
            return []
        families["heyfleet_postgres_up"].add_metric([], 1)
        return found

    def of_redis(self, families: Mapping[str, GaugeMetricFamily], queues: Sequence[str]) -> None:
        """Nothing where Redis does not say: a value of zero would mean that nobody leads, or that nothing waits."""
        try:
            found = leader(self.client)
            for queue in queues:
                families["heyfleet_queue_depth"].add_metric([queue], float(self.client.llen(queue)))
        except RedisError as error:
            log.warning("metrics_incomplete", error=str(error))
            families["heyfleet_redis_up"].add_metric([], 0)
            return
        families["heyfleet_redis_up"].add_metric([], 1)
        families["heyfleet_beat_leaders"].add_metric([], float(found is not None))
        if found is not None:
            families["heyfleet_beat_leads_since"].add_metric([found.owner], found.since.timestamp())


if __name__ == "__main__":
    sys.stdout.write(documented(HELP))  # for docs/metrics.md
