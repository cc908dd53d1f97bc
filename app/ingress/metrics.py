"""Figures: of the requests of this process, and of the fleet as Postgres knows it at the time of the scrape."""

from __future__ import annotations

from collections.abc import Iterable

import redis
import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from app.db import Database
from app.errors import HeyfleetError
from app.leader import leader
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
        FROM occurrence WHERE decided_at > now() - interval '1 hour' AND outcome <> 'skipped' GROUP BY outcome"""

HELP = {
    "heyfleet_turns_open": "Unfinished turns of the fleet, by state",
    "heyfleet_deliveries_unsent": "Deliveries that are not sent yet, by state",
    "heyfleet_calls_open": "Calls in sandboxes that have no result yet, by state",
    "heyfleet_runners": "Runners that ever registered, by whether they live",
    "heyfleet_job_runs_open": "Runs of jobs that have not ended, by state",
    "heyfleet_job_due_seconds": "How long the job has been due that nobody fired, by what it reaches",
    "heyfleet_job_due_times_hour": "Due times of jobs in the last hour, by what became of them",
    "heyfleet_job_latest_seconds": "How late the latest firing of the last hour was, by its outcome",
    "heyfleet_oldest_waiting_seconds": "How long the oldest lane has had work and no holder, by kind",
}


class Fleet(Collector):
    """The fleet's open work, and who leads it."""

    def __init__(self, db: Database, client: redis.Redis) -> None:
        self.db = db
        self.client = client

    def collect(self) -> Iterable[Metric]:
        families = {name: GaugeMetricFamily(name, text, labels=["state"]) for name, text in HELP.items()}
        up = GaugeMetricFamily("heyfleet_postgres_up", "Whether Postgres answered this scrape")
        try:
            for row in self.db.rows(FLEET):
                families[row.name].add_metric([row.label], row.value)
            up.add_metric([], 1)
        except HeyfleetError as error:
            log.warning("metrics_incomplete", error=error.message)
            up.add_metric([], 0)
        yield from [*families.values(), up, *self.beat()]

    def beat(self) -> Iterable[Metric]:
        """Nothing where Redis does not say: a value of zero would mean that nobody leads."""
        try:
            found = leader(self.client)
        except RedisError as error:
            log.warning("metrics_incomplete", error=str(error))
            return
        yield GaugeMetricFamily("heyfleet_beat_leaders", "Beats that lead: one, or none", float(found is not None))
        if found is not None:
            said = "When the beat that leads began to (seconds since 1970), by the process"
            since = GaugeMetricFamily("heyfleet_beat_leads_since", said, labels=["owner"])
            since.add_metric([found.owner], found.since.timestamp())
            yield since


class Requests:
    """What this process was asked."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "request_seconds",
            "Time to answer a request, by route and status",
            ["route", "status"],
            "heyfleet",
            "",
            "",
            collectors,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10, 30),
        )
