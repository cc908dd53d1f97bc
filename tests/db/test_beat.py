"""Of any number of beats one leads: the lease in Redis, and what becomes of it."""

from __future__ import annotations

import time

import redis

from beat.lease import LeaderLease, Standing


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)


def test_one_leads_and_the_other_takes_over_when_it_lapses(redis_url: str) -> None:
    first = LeaderLease(client(redis_url), "lease", 0.3)
    second = LeaderLease(client(redis_url), "lease", 0.3)
    assert first.claim() is Standing.MINE
    assert second.claim() is Standing.LOST
    assert first.claim() is Standing.MINE, "its own is renewed"
    deadline = time.monotonic() + 5
    while second.claim() is not Standing.MINE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert first.claim() is Standing.LOST, "a lapsed lease is not renewed over another's"


def test_a_release_lets_another_lead_at_once_and_never_takes_another_s(redis_url: str) -> None:
    first, second = (LeaderLease(client(redis_url), "lease", 60) for _ in range(2))
    assert first.claim() is Standing.MINE
    second.release()
    assert second.claim() is Standing.LOST
    first.release()
    assert second.claim() is Standing.MINE


def test_without_redis_nobody_knows(redis_url: str) -> None:
    away = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.5)
    assert LeaderLease(away, "lease", 60).claim() is Standing.UNKNOWN
