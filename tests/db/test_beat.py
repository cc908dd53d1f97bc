"""Of any number of beats one leads: the lease in Redis, and what each makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import pytest
import redis
from redis.exceptions import RedisError

from app.config.jobs import JobSpec
from app.db import Database
from app.jobs import hands
from app.leader import leader
from app.queue import TURNS, Wakes
from beat.jobs import JobWork
from beat.lease import LeaderLease, Leadership, Standing
from tests.db.rows import value
from tests.db.schedules import HOUR, installed, job_of, pass_time, runs, spec
from tests.db.wakes_seen import woken


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)


def lease(url: str, owner: str = "one", ttl: float = 60) -> LeaderLease:
    return LeaderLease(client(url), ttl, owner)


AWAY = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.5)


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_leads_and_the_other_takes_over_when_it_lapses(redis_url: str) -> None:
    first, second = lease(redis_url, "one", 0.3), lease(redis_url, "two", 0.3)
    assert first.claim() is Standing.MINE
    assert second.claim() is Standing.LOST
    assert first.claim() is Standing.MINE, "its own is renewed"
    deadline = time.monotonic() + 5
    while second.claim() is not Standing.MINE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert first.claim() is Standing.LOST, "a lapsed lease is not renewed over another's"


def test_a_release_lets_another_lead_at_once_and_never_takes_another_s(redis_url: str) -> None:
    first, second = lease(redis_url, "one"), lease(redis_url, "two")
    assert first.claim() is Standing.MINE
    second.release()
    assert second.claim() is Standing.LOST
    first.release()
    assert second.claim() is Standing.MINE


def test_without_redis_nobody_knows(redis_url: str) -> None:
    assert LeaderLease(AWAY, 60, "one").claim() is Standing.UNKNOWN


def test_anybody_can_see_who_leads_since_when_and_whether_it_looks(redis_url: str) -> None:
    assert leader(client(redis_url)) is None
    first = lease(redis_url)
    first.claim()
    found = leader(client(redis_url))
    assert found
    assert (found.owner, found.looked_at) == ("one", None)
    first.claim("2026-01-01T00:00:00+00:00")
    again = leader(client(redis_url))
    assert again
    assert again.since == found.since
    assert again.looked_at is not None
    assert again.looked_at.isoformat() == "2026-01-01T00:00:00+00:00"
    first.release()
    second = lease(redis_url, "two")
    second.claim()
    after = leader(client(redis_url))
    assert after
    assert (after.owner, after.looked_at) == ("two", None), "nothing of the one before is left"
    with pytest.raises(RedisError):
        leader(AWAY)


def test_a_leader_asks_again_in_time_and_a_standby_each_time(redis_url: str) -> None:
    clock, told = Clock(), list[Standing]()
    first = Leadership(lease(redis_url), 5, told.append, clock)
    assert not first.mine
    first.keep()
    assert first.mine
    client(redis_url).flushall()
    clock.time += 4.9
    first.keep()
    assert client(redis_url).keys() == [], "it did not ask"
    clock.time += 0.2
    first.keep()
    assert client(redis_url).keys() == [b"heyfleet:beat"]
    second = Leadership(lease(redis_url, "two"), 5, told.append, clock)
    second.keep()
    assert not second.mine
    first.release()
    second.keep()
    assert second.mine, "who stands by asks at each look"
    clock.time += 5.1
    first.keep()
    assert not first.mine
    assert told == [Standing.MINE, Standing.LOST, Standing.MINE, Standing.LOST]


def test_whoever_stood_still_longer_than_the_lease_does_not_lead_before_it_has_asked(redis_url: str) -> None:
    clock = Clock()
    stale = Leadership(lease(redis_url, ttl=15), 5, lambda _: None, clock)
    stale.keep()
    clock.time += 14.9
    assert stale.mine
    clock.time += 0.2
    assert not stale.mine


def test_a_leader_that_can_t_renew_stops_at_once_and_goes_on_when_it_can(redis_url: str) -> None:
    clock, told = Clock(), list[Standing]()
    kept = Leadership(lease(redis_url), 5, told.append, clock)
    kept.keep()
    there, kept.lease.client = kept.lease.client, AWAY
    clock.time += 5.1
    kept.keep()
    assert not kept.mine, "the lease may be its own still, but it does not know"
    kept.lease.client = there
    kept.keep()
    assert kept.mine, "it asks again at the next look, not in five seconds"
    assert told == [Standing.MINE, Standing.UNKNOWN, Standing.MINE]


def test_the_lease_is_kept_from_a_thread_and_a_process_that_is_stuck_loses_it(redis_url: str) -> None:
    alive_at = time.monotonic()
    kept = Leadership(lease(redis_url, ttl=2), 0.3, lambda _: None)
    kept.start(lambda: alive_at, lambda: "2026-01-01T00:00:00+00:00")
    other = lease(redis_url, "two", 2)
    try:
        until(lambda: kept.mine)
        held_until = time.monotonic() + 3
        while time.monotonic() < held_until:
            assert other.claim() is Standing.LOST, "it is renewed however long a look takes"
            time.sleep(0.05)
        alive_at = float("-inf")
        until(lambda: other.claim() is Standing.MINE)
        assert not kept.mine
    finally:
        kept.release()


def test_a_failed_installation_keeps_no_job_from_being_fired(db: Database, redis_url: str) -> None:
    installed(db, spec())
    pass_time(db, HOUR)
    wakes = Wakes(redis_url)
    bad = JobSpec(**{**asdict(spec("bad")), "name": "a\0b"})
    work = JobWork(db, wakes, lambda: [bad, spec()], set, lambda: True)
    assert 0 < work.look() <= 1
    wakes.close()
    assert runs(db) == [("note:ops", "queued")]
    assert woken(redis_url, TURNS) == ["jobs"], "a worker is woken to start it"
    assert work.looked_at is not None


def test_who_led_without_a_break_installs_nothing_anew(db: Database, redis_url: str) -> None:
    """A pause by hand must not be undone by each moment without Redis."""
    wakes, specs = Wakes(redis_url), [spec(state="active")]
    work = JobWork(db, wakes, lambda: specs, set, lambda: True)
    work.look()
    hands.pause(db, job_of(db), "ada")
    work.look()
    assert value(db, "SELECT state FROM job") == "paused"
    work.forget()
    work.look()
    wakes.close()
    assert value(db, "SELECT state FROM job") == "active"


def test_jobs_of_an_agent_whose_folder_is_away_stay_as_they_are(db: Database, redis_url: str) -> None:
    installed(db, spec())
    pass_time(db, HOUR)
    wakes, unseen = Wakes(redis_url), {"default"}
    work = JobWork(db, wakes, list, lambda: unseen, lambda: True)
    work.look()
    assert runs(db) == [("note:ops", "queued")]
    unseen.clear()
    work.look()
    wakes.close()
    assert value(db, "SELECT state FROM job") == "paused"
