"""Connections of Discord's gateway that are there and say nothing: they must not be held for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from websockets.sync.client import connect

from app.leases import Lease
from gateway.discord_talk import HELLO_WITHIN, READY_WITHIN, Session, Talk
from gateway.patience import Patience
from tests.fakes.discord import FakeDiscord, serving_discord


class Shard:
    """What a talk is told to, noted."""

    role = "discord chat 0"
    shard = 0
    core: Any = None

    def __init__(self, fake: FakeDiscord) -> None:
        self.patience = Patience()
        self.greeted = 0
        self.adapter = cast("Any", Settings(fake))

    def reached(self) -> None:
        self.greeted += 1

    def held(self) -> None: ...

    def register(self) -> None: ...

    def save(self, session: Session, lease: Lease) -> None: ...


class Settings:
    """As much of an adapter as greeting takes."""

    def __init__(self, fake: FakeDiscord) -> None:
        self.settings = self
        self.shards = 1
        self.bot_token = self
        self.token = fake.token

    def get_secret_value(self) -> str:
        return self.token


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake() -> Iterator[FakeDiscord]:
    with serving_discord() as found:
        yield found


def talking(fake: FakeDiscord, shard: Shard, clock: Clock) -> threading.Thread:
    def talk() -> None:
        with connect(f"{fake.gateway.url}/?v=10&encoding=json") as socket:
            Talk(shard, socket, Session(), Lease("role", "r", 1, float("inf")), clock).listen()

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    return thread


def test_one_that_does_not_greet_is_left(fake: FakeDiscord) -> None:
    fake.gateway.greets = False
    shard, clock = Shard(fake), Clock()
    thread = talking(fake, shard, clock)
    fake.wait_for(lambda: len(fake.gateway.connections) == 1)
    clock.now += HELLO_WITHIN - 1
    thread.join(0.6)
    assert thread.is_alive()
    clock.now += 1
    thread.join(10)
    assert not thread.is_alive()
    assert shard.greeted == 0


def test_one_that_greets_and_tells_nothing_is_left(fake: FakeDiscord) -> None:
    fake.gateway.readies = False
    shard, clock = Shard(fake), Clock()
    thread = talking(fake, shard, clock)
    fake.wait_for(lambda: shard.greeted == 1)
    clock.now += READY_WITHIN
    thread.join(10)
    assert not thread.is_alive()
