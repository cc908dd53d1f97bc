"""Of any number of beats one leads: the lease in Redis, and what each makes of it."""

from __future__ import annotations

import time

import pytest
import redis
from redis.exceptions import RedisError

from app.leader import leader
from beat.lease import LeaderLease, Leadership, Standing


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
