"""Redis and Postgres away: what is accepted is kept, what can't be kept is refused at once, and work goes on after."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.jobs.records import BUSY
from app.migrate import migrate
from app.services.postgres import EmbeddedPostgres
from app.services.redis import EmbeddedRedis
from tests.conftest import FAST_POSTGRES, FAST_REDIS
from tests.e2e.due_times import assert_each_due_time_has_one_outcome, local_job, more_runs
from tests.e2e.fleet import SECRET, Fleet, wait_until
from tests.fakes.receiver import Receiver, receiving


class Site:
    """A fleet with servers of its own, that can be taken away."""

    def __init__(self, folder: Path, fleet_folder: Path, config: dict[str, Any]) -> None:
        own = uuid.uuid4().hex
        self.postgres = EmbeddedPostgres(folder / f"postgres-{own}", None, FAST_POSTGRES)
        self.redis = EmbeddedRedis(folder / f"redis-{own}", None, FAST_REDIS)
        self.postgres.start()
        self.redis.start()
        migrate(self.postgres.url)
        self.fleet = Fleet(fleet_folder, self.postgres.url, self.redis.url, config=dict(config))

    def close(self) -> None:
        self.fleet.close()
        self.redis.stop()
        self.postgres.stop()


@pytest.fixture
def site(servers_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    found = Site(servers_folder, tmp_path, getattr(request, "param", {}))
    yield found
    found.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as found:
        yield found


def test_without_redis_messages_are_accepted_and_answered_after(site: Site, receiver: Receiver) -> None:
    fleet = site.fleet.up(web=1, worker=1)
    assert fleet.post("before", sync=True)["status"] == "done"
    site.redis.stop()
    web = fleet.of("web")[0]
    began = time.monotonic()
    accepted = [fleet.post(f"message {number}", replyUrl=receiver.url) for number in range(20)]
    assert time.monotonic() - began < 20, "publishing held the requests up"
    status, ready = fleet.get(web, "/ready")
    assert status == 503
    assert "out of reach" in ready["redis"]
    assert ready["postgres"] == "ok"
    site.redis.start()
    receiver.wait_for(20, 60)
    assert all(fleet.finished(one)["status"] == "done" for one in accepted)


def test_a_flushed_redis_loses_no_message(site: Site, receiver: Receiver) -> None:
    """A wake that is never sent: there is no worker yet, and Redis forgets all wakes."""
    fleet = site.fleet.up(web=1)
    for number in range(20):
        fleet.post(f"message {number}", replyUrl=receiver.url)
    redis.Redis.from_url(site.redis.url).flushall()
    fleet.start("worker")
    receiver.wait_for(20, 60)
    assert fleet.sql("SELECT DISTINCT state FROM turn") == [("done",)]


def test_without_postgres_requests_are_refused_and_nothing_is_half_done(site: Site) -> None:
    fleet = site.fleet.up(web=1, worker=1, runner=1)
    first = fleet.post("run: sleep 3; echo through", sync=False)
    wait_until(lambda: fleet.sql("SELECT count(*) FROM call WHERE state = 'running'") == [(1,)], 20, fleet.logs)
    web = fleet.of("web")[0]
    site.postgres.stop()
    began = time.monotonic()
    status, answer = fleet.request(web, "POST", "/webhook/internal", {"user": "ada", "text": "x", "eventId": "kept"})
    assert status == 503, answer
    assert time.monotonic() - began < 5
    assert fleet.get(web, "/health")[0] == 200
    assert fleet.get(web, "/ready")[0] == 503
    site.postgres.start()
    fleet.db.close()  # the test's own connections are gone, too
    again = fleet.post("x", eventId="kept")
    assert fleet.finished(again)["status"] == "done"
    assert fleet.finished(first)["status"] == "done", fleet.logs()
    said = fleet.sql("SELECT text, created_at, turn_id FROM message WHERE direction = 'in' ORDER BY id")
    assert [text for text, *_ in said] == ["run: sleep 3; echo through", "x"], (said, again, fleet.logs())


JOBS = {"jobs": [local_job("ops", max_catch_up="all"), local_job("beat", scope={"local": {}})]}


@pytest.mark.parametrize("site", [JOBS], indirect=True)
def test_without_redis_jobs_are_late_at_most(site: Site) -> None:
    """Nobody knows who leads then, so nobody fires; what was due is due still."""
    fleet = site.fleet.up(worker=1, beat=2)
    more_runs(fleet, "beat")
    site.redis.stop()
    # A leader asks again after a second, and a lease is good for three.
    newest = "SELECT count(*) FROM occurrence WHERE decided_at > now() - interval '4 seconds'"
    wait_until(lambda: fleet.sql(newest) == [(0,)], 30, lambda: f"they fire on\n{fleet.logs()}")
    waiting = "SELECT min(next_at) < now() - interval '12 seconds' FROM job"
    wait_until(lambda: fleet.sql(waiting) == [(True,)], 30, lambda: f"they fire again\n{fleet.logs()}")
    site.redis.start()
    more_runs(fleet, "ops", 60, 8)
    more_runs(fleet, "beat", 60)
    assert assert_each_due_time_has_one_outcome(fleet) > 10
    outcomes = """
        SELECT DISTINCT outcome FROM occurrence JOIN job ON job.id = job_id
        WHERE name = 'ops' AND reason IS DISTINCT FROM :busy ORDER BY 1"""
    assert fleet.sql(outcomes, busy=BUSY) == [("late",), ("ran",)], "none was given up for being late"


@pytest.mark.parametrize("site", [JOBS], indirect=True)
def test_without_postgres_nothing_is_half_fired(site: Site) -> None:
    fleet = site.fleet.up(worker=1, beat=2)
    for _ in range(3):
        more_runs(fleet, "ops", 60)
        more_runs(fleet, "beat", 60)
        site.postgres.stop()
        site.postgres.start()
        fleet.db.close()  # the test's own connections are gone, too
    more_runs(fleet, "ops", 60)
    assert assert_each_due_time_has_one_outcome(fleet) > 10
    assert all(process.alive for process in fleet.processes)
