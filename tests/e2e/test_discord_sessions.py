"""A session of Discord's gateway is what nothing is lost by: it is given up when Discord says so, and else never."""

from __future__ import annotations

import json

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import wait_until
from tests.e2e.test_gateway import EACH, NAME, Talks, discord, leader, said_back
from tests.fakes.discord import serving_discord


def test_it_is_resumed_over_the_general_address_where_its_own_is_not_reached(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fake.lenient = True
        fleet = make_fleet(worker=1, gateway=1, config={"adapters": [discord(fake)], **EACH})
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        talks = Talks(fake, fleet)
        talks.say(1)
        talks.all_answered_once()
        fake.gateway.unreached = 5
        fake.drop_gateway()
        talks.say(2)
        talks.all_answered_once()
        assert fake.gateway.identified == 1, fleet.logs()
        assert fake.gateway.unreached == 2
        assert fake.problems == []


def test_a_new_leader_that_discord_s_other_api_does_not_answer_resumes_all_the_same(make_fleet: MakeFleet) -> None:
    """What was said in a channel that it has not heard of waits until Discord tells of that, and all behind it."""
    with serving_discord() as fake:
        fake.lenient = True
        config = {"adapters": [discord(fake, trigger="message")], **EACH}
        fleet = make_fleet(worker=1, gateway=2, config=config)
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        ann, guild = fake.person("ann"), fake.guild("lab")
        channel = fake.channel(guild, "general")
        first = leader(fleet, f"discord {NAME} 0")
        for name in ("GET /users/@me", "GET /channels/{id}"):
            fake.plan(name, *["500"] * 3)
        first.kill()
        for n in range(3):
            fake.say(channel, ann, f"say: {n}")

        def heard() -> list[str]:
            return [message.content for message in fake.messages(channel) if message.author.id == fake.bot.id]

        said_back(fleet, heard, ["0", "1", "2"])
        assert fake.gateway.identified == 1, fleet.logs()
        assert fake.problems == []


def test_a_session_of_another_number_of_shards_is_not_resumed(make_fleet: MakeFleet) -> None:
    """It would be told of those servers alone that were its shard's."""
    with serving_discord() as fake:
        fleet = make_fleet(worker=1, config={"adapters": [discord(fake)], **EACH})
        old = {"id": "1", "url": "ws://127.0.0.1:9", "seq": 5, "shards": 2, "intents": 0}
        fleet.db.rows(
            "INSERT INTO role (name, lease_token, state) VALUES (:name, 1, CAST(:state AS jsonb))",
            name=f"discord {NAME} 0",
            state=json.dumps(old),
        )
        fleet.up(gateway=1)
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        (gateway,) = fleet.of("gateway")
        assert "shards or intents have changed" in gateway.log.read_text()
        assert "discord_not_connected" not in gateway.log.read_text()


def test_no_session_is_begun_where_the_day_s_are_used_up(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fake.gateway.remaining = 0
        fleet = make_fleet(gateway=1, config={"adapters": [discord(fake)]})
        (gateway,) = fleet.of("gateway")
        wait_until(lambda: "discord_sessions_used_up" in gateway.log.read_text(), 20, fleet.logs)
        assert fake.gateway.identified == 0
