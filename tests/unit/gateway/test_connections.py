"""How a gateway's connections end, and what it says of those that don't come to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from app.adapters.discord import DiscordAdapter
from app.adapters.slack import SlackAdapter
from app.config.adapters import DiscordAdapter as DiscordSettings
from app.config.adapters import SlackAdapter as SlackSettings
from app.db import Database
from app.errors import Unavailable
from app.leases import Lease
from gateway.__main__ import end
from gateway.discord import TOO_OFTEN, DiscordShard
from gateway.discord_talk import Session, Talk
from gateway.patience import TRIES, Patience
from gateway.slack import AWAY_AFTER, SlackSocket
from gateway.telegram import patience
from tests.fakes.discord import FakeDiscord, serving_discord
from tests.fakes.slack import serving_slack


class Connection:
    def __init__(self, name: str, happened: list[str]) -> None:
        self.name = name
        self.happened = happened

    def start(self) -> None: ...

    def stop(self) -> None:
        self.happened.append(f"stop {self.name}")

    def close(self) -> None:
        self.happened.append(f"close {self.name}")

    def problem(self) -> None: ...


def test_all_connections_are_told_to_stop_before_one_is_waited_for() -> None:
    happened: list[str] = []
    end([Connection("a", happened), Connection("b", happened)])
    assert happened == ["stop a", "stop b", "close a", "close b"]


@pytest.mark.parametrize("margin", [0.6, 3.0])
@pytest.mark.parametrize("seconds", [1, 10])
def test_the_parts_of_a_poll_are_over_before_its_lease_is(seconds: float, margin: float) -> None:
    parts = patience(seconds, margin).as_dict()
    assert parts["read"] > seconds
    assert sum(cast("float", part) for part in parts.values()) < seconds + margin


def test_a_slack_that_stays_away_is_told_after_a_minute() -> None:
    now = 1000.0
    with serving_slack() as fake:
        tokens = {"bot_token": fake.bot_token, "app_token": fake.app_token, "api_url": fake.base_url}
        settings = SlackSettings.model_validate({"kind": "slack", "name": "chat", "mode": "socket", **tokens})
        socket = SlackSocket(cast("Any", None), SlackAdapter(settings), lambda: now)
        assert socket.problem() is None
        now += AWAY_AFTER
        assert socket.problem() is None
        now += 1
        assert socket.problem() == "slack chat: no connection for 61 s; the log says why"
        socket.client.connect()
        assert socket.problem() is None
        socket.client.close()


@pytest.fixture
def fake() -> Iterator[FakeDiscord]:
    with serving_discord() as found:
        yield found


def shard_of(fake: FakeDiscord, database_url: str, redis_url: str, **more: Any) -> tuple[DiscordShard, Database]:
    db = Database(database_url, name="test", pool_size=2)

    class Core:
        """As much of the process as a shard takes."""

        def __init__(self) -> None:
            self.db, self.redis_url = db, redis_url

    given = {"kind": "discord", "name": "d", "bot_token": fake.token, "api_url": f"{fake.origin}/api/v10", **more}
    return DiscordShard(cast("Any", Core()), cast("Any", None), DiscordAdapter(DiscordSettings(**given)), 0), db


def ended_lease() -> Lease:
    """Nobody waits under it."""
    lease = Lease("role", "r", 1, float("inf"))
    lease.stop()
    return lease


def test_a_discord_that_is_never_reached_is_told_after_some_tries(
    fake: FakeDiscord, database_url: str, redis_url: str
) -> None:
    shard, db = shard_of(fake, database_url, redis_url)
    fake.plan("GET /gateway/bot", *["500"] * TOO_OFTEN)
    for tries in range(TOO_OFTEN):
        assert "came to nothing" not in problem_of(shard), tries
        shard.connect(ended_lease())
    assert problem_of(shard) == f"discord d 0: {TOO_OFTEN} connections in a row came to nothing; the log says why"
    db.close()


def problem_of(shard: DiscordShard) -> str:
    return shard.problem() or ""


def test_an_event_waits_for_postgres_for_as_long_as_it_takes(fake: FakeDiscord) -> None:
    """More often than a defect of ours is tried."""

    class Shard:
        role = "discord d 0"
        adapter: Any = None
        patience = Patience()

        def register(self) -> None:
            raise Unavailable("Postgres is out of reach")

    talk = Talk(cast("Any", Shard()), cast("Any", None), Session(), Lease("role", "r", 1, float("inf")))
    assert not any(talk.taken_in("RESUMED", {}, 1) for _ in range(TRIES + 5))
