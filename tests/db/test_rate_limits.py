"""Invariant 9: a provider's limit holds for all processes together, and a pause that one is told holds for all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import redis

from app.db import Database
from app.rate_limits import ASK_AGAIN_AFTER, RateLimits
from app.results import Retry
from app.traffic import EVERYWHERE, Limit
from tests.db.doubles import NoteAdapter
from tests.db.processes import together
from tests.db.rows import rows, value

A_CHANNEL = Limit("channel a", 1, 10.0)


@pytest.fixture
def limits(redis_url: str) -> RateLimits:
    return RateLimits(redis_url)


def test_a_limit_lets_its_burst_through_and_then_one_an_interval(limits: RateLimits) -> None:
    slow = Limit("slow", 2, 20.0, burst=3)
    assert [limits.take("x", [slow]) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert 9.0 < limits.take("x", [slow]) <= 10.0
    assert 9.0 < limits.take("x", [slow]) <= 10.0, "asking uses nothing up"


def test_limits_of_two_channels_and_two_adapters_are_apart(limits: RateLimits) -> None:
    assert limits.take("x", [A_CHANNEL]) == 0
    assert limits.take("x", [A_CHANNEL]) > 0
    assert limits.take("x", [Limit("channel b", 1, 10.0)]) == 0
    assert limits.take("y", [A_CHANNEL]) == 0


def test_of_several_limits_all_have_room_or_none_is_used(limits: RateLimits) -> None:
    everywhere = Limit(EVERYWHERE, 2, 10.0, burst=2)
    assert limits.take("x", [everywhere, A_CHANNEL]) == 0
    for _ in range(5):
        assert limits.take("x", [everywhere, A_CHANNEL]) > 9
    assert limits.take("x", [everywhere]) == 0, "what was held up by its channel used nothing of it"
    assert limits.take("x", [everywhere]) > 0


def test_a_limit_has_room_again_once_its_time_has_come(limits: RateLimits) -> None:
    quick = Limit("quick", 10, 1.0)
    assert limits.take("x", [quick]) == 0
    wait = limits.take("x", [quick])
    assert 0 < wait <= 0.1
    time.sleep(wait)  # the very time that it named
    assert limits.take("x", [quick]) == 0


def test_a_pause_holds_for_its_limit_and_the_longer_of_two_counts(limits: RateLimits, redis_url: str) -> None:
    other = RateLimits(redis_url)
    other.pause("x", "channel a", 30)
    other.pause("x", "channel a", 5)
    assert 29 < limits.take("x", [A_CHANNEL]) <= 30
    assert limits.take("x", [Limit("channel b", 1, 1.0)]) == 0
    other.pause("x", EVERYWHERE, 40)
    assert limits.take("x", [Limit(EVERYWHERE, 100, 1.0, burst=100), Limit("channel c", 1, 1.0)]) > 39
    assert limits.take("y", [A_CHANNEL]) == 0


def test_nothing_is_kept_in_redis_for_longer_than_it_matters(limits: RateLimits, redis_url: str) -> None:
    limits.take("x", [A_CHANNEL])
    limits.pause("x", "channel a", 7)
    client = redis.Redis.from_url(redis_url)
    left = {key.decode(): client.pttl(key) for key in client.scan_iter("heyfleet:*:x:*")}
    assert 9_000 < left["heyfleet:limit:x:channel a"] <= 10_001
    assert 6_000 < left["heyfleet:pause:x:channel a"] <= 7_000


def test_without_redis_nothing_goes_through(limits: RateLimits) -> None:
    gone = RateLimits("redis://127.0.0.1:1/0")
    assert gone.take("x", [A_CHANNEL]) == ASK_AGAIN_AFTER
    gone.pause("x", "channel a", 5)
    assert gone.take("x", []) == 0, "what has no limit needs none"


def take_many(barrier: Barrier, redis_url: str, path: str) -> None:
    limits = RateLimits(redis_url)
    barrier.wait()
    taken = sum(limits.take("x", [Limit("shared", 25, 1000.0, burst=25)]) == 0 for _ in range(50))
    with Path(path).open("a") as file:
        file.write(json.dumps(taken) + "\n")


def test_a_limit_is_shared_by_all_processes(redis_url: str, tmp_path: Path) -> None:
    path = str(tmp_path / "taken")
    together(take_many, *[(redis_url, path)] * 4)
    taken = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert (len(taken), sum(taken)) == (4, 25)


# --- the outbox keeps to them


def test_a_delivery_waits_for_its_limit(worker: Callable[..., Any], db: Database) -> None:
    adapter = NoteAdapter()
    adapter.limited = [A_CHANNEL]
    w = worker(adapter=adapter)
    for n in range(2):
        w.advance(w.say(str(n), thread=f"t{n}", reply={"to": "x"}).thread_id)
    assert [sent.body["text"] for sent in adapter.sends] == ["re: 0"]
    assert rows(db, "SELECT state, attempts FROM delivery ORDER BY seq") == [("sent", 1), ("pending", 0)]
    assert value(db, "SELECT wake_at - now() BETWEEN '9 s' AND '10 s' AND lease_owner IS NULL FROM destination")


def test_a_provider_s_no_stops_every_process(worker: Callable[..., Any], db: Database) -> None:
    told = NoteAdapter(Retry("429", 30, pauses=EVERYWHERE))
    other = NoteAdapter()
    told.limited = other.limited = [Limit(EVERYWHERE, 100, 1.0, burst=100)]
    first, second = worker(adapter=told), worker(adapter=other)
    first.advance(first.say("a", thread="a", reply={"to": "x"}).thread_id)
    second.advance(second.say("b", thread="b", reply={"to": "y"}).thread_id)
    assert (len(told.sends), len(other.sends)) == (1, 0)
    assert rows(db, "SELECT state FROM delivery") == [("pending",), ("pending",)]
    assert value(db, "SELECT min(due_at) - now() BETWEEN '28 s' AND '30 s' FROM delivery")
