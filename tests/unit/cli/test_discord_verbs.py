"""`heyfleet discord …` against a Discord of ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.sessions import INTENTS
from tests.fakes.provider import Answer, Request, serving
from tests.unit.cli.command_line import CommandLine, levels


class Discord(FakeDiscord):
    """With the flags of its application, which the fake leaves at 0, and what it says of its gateway."""

    shards = 1

    def answer(self, name: str, request: Request) -> Answer:
        answer = super().answer(name, request)
        if answer.status != 200 or name not in ("GET /applications/@me", "GET /gateway/bot"):
            return answer
        more: dict[str, Any] = {"shards": self.shards}
        if name == "GET /applications/@me":
            more = {"flags": 1 << 19 if self.privileged & INTENTS["MESSAGE_CONTENT"] else 0}
        return Answer(200, {**json.loads(answer.body), **more}, answer.headers)


@pytest.fixture
def fake() -> Iterator[Discord]:
    fake = Discord()
    with serving(fake), fake.gateway.serving():
        yield fake
    assert fake.problems == []
    assert fake.violations == []


def adapter(fake: FakeDiscord, **more: Any) -> dict[str, Any]:
    return {"kind": "discord", "name": "team", "bot_token": fake.token, "api_url": f"{fake.origin}/api/v10", **more}


def test_check_finds_nothing_wrong(cli: CommandLine, fake: Discord) -> None:
    cli.configure(adapter(fake))
    found = cli.run("discord", "check", "--json").findings
    assert levels(found) == {"ok"}
    assert fake.bot.id in found["discord team token"][0][1]
    assert found["discord team interactions"][0][1] == "commands and buttons come by the gateway"
    assert {line.split()[0] for line in cli.run("discord", "check").out.splitlines()} == {"ok"}


def test_check_of_the_intent_and_of_the_gateway(cli: CommandLine, fake: Discord) -> None:
    fake.privileged, fake.shards = 0, 3
    fake.gateway.identified = 990
    cli.configure(adapter(fake))
    found = cli.run("discord", "check", "--json", code=1).findings
    assert found["discord team intents"][0][0] == "error"
    assert "switch on Message Content Intent" in found["discord team intents"][0][1]
    assert [level for level, _ in found["discord team sessions"]] == ["warning", "warning"]
    assert "10 of 1000 new sessions are left for the next 24 h" in found["discord team sessions"][0][1]
    assert "advises 3 shards" in found["discord team sessions"][1][1]


@pytest.mark.parametrize(
    ("key", "url", "level", "says"),
    [
        ("ours", "https://chat.example.org/discord/team/interactions", "ok", "posted to chat.example.org"),
        ("ours", None, "error", "to https://HOST/discord/team/interactions, or leave the key out"),
        ("ours", "https://chat.example.org/else", "error", "posted to another path of chat.example.org"),
        ("00" * 32, "https://chat.example.org/discord/team/interactions", "error", "is of another application"),
        (None, "https://chat.example.org/discord/team/interactions", "error", "past the gateway"),
    ],
)
def test_check_of_interactions(
    cli: CommandLine, fake: Discord, key: str | None, url: str | None, level: str, says: str
) -> None:
    fake.interactions_url = url
    cli.configure(adapter(fake, public_key=fake.public_key if key == "ours" else key))
    ran = cli.run("discord", "check", "--json", code=0 if level == "ok" else 1)
    ((found, said),) = ran.findings["discord team interactions"]
    assert (found, says in said) == (level, True), said


@pytest.mark.parametrize("verb", [["check"], ["invite"], ["channels"], ["observe"]])
def test_a_wrong_token(cli: CommandLine, fake: Discord, verb: list[str]) -> None:
    cli.configure(adapter(fake, bot_token="guessed"))
    ran = cli.run("discord", *verb, code=1)
    assert "compare bot_token with the application's page" in ran.out + ran.err


@pytest.mark.parametrize(
    ("url", "says"), [("http://127.0.0.1:1", "out of reach (ConnectError)"), ("{origin}/nowhere", "404")]
)
def test_check_where_discord_is_out_of_reach(cli: CommandLine, fake: Discord, url: str, says: str) -> None:
    cli.configure(adapter(fake, api_url=url.format(origin=fake.origin)))
    found = cli.run("discord", "check", "--json", code=1).findings
    assert list(found) == ["discord team token"]
    assert says in found["discord team token"][0][1]


def test_invite_has_the_permissions_that_are_needed(cli: CommandLine, fake: Discord) -> None:
    cli.configure(adapter(fake))
    url = urlsplit(cli.run("discord", "invite").out.strip())
    assert (url.hostname, url.path) == ("discord.com", "/oauth2/authorize")
    query = parse_qs(url.query)
    assert query["client_id"] == [fake.application_id]
    assert query["scope"] == ["bot applications.commands"]
    wanted = sum(1 << bit for bit in (6, 10, 11, 14, 15, 16, 38))
    assert query["permissions"] == [str(wanted)]


def test_channels_are_shown_with_their_ids(cli: CommandLine, fake: Discord) -> None:
    lab, shop = fake.guild("lab"), fake.guild("shop")
    fake.channel(lab, "rooms", "category")
    general, news = fake.channel(lab, "general"), fake.channel(shop, "General News", "announcement")
    cli.configure(adapter(fake))
    found = cli.run("discord", "channels", "GENER", "--json").json
    assert [(row["id"], row["kind"], row["server_id"]) for row in found if row["id"] in (general.id, news.id)] == [
        (general.id, "text", lab.id),
        (news.id, "announcement", shop.id),
    ]
    assert not [line for line in cli.run("discord", "channels").lines if line[1] == "rooms"]
    assert cli.run("discord", "channels", news.id).lines[0][:2] == [news.id, "General News"]


def test_observe_shows_who_writes_where(cli: CommandLine, fake: Discord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.discord_account.PAUSE", 0.3)
    lab, ann, robot = fake.guild("lab"), fake.person("Ann"), fake.person("Robot", bot=True)
    general, hidden, other = fake.channel(lab, "general"), fake.channel(lab, "hidden"), fake.channel(lab, "other")
    for n in range(7):
        fake.say(general, ann, str(n))
    fake.say(hidden, ann, "you can't see me")
    hidden.seen = False
    cli.configure(adapter(fake))

    def later() -> None:
        fake.wait_for(lambda: len(fake.called("GET /channels/{id}/messages")) == 2)
        fake.say(other, robot, "first")
        fake.say(general, robot, "later")
        fake.say(general, ann, "latest")

    talking = threading.Thread(target=later)
    talking.start()
    found = cli.run("discord", "observe", "--seconds", "3", "--json").json
    talking.join()
    assert {row["server"] for row in found} == {"lab"}
    assert [(row["channel"], row["user"], row["bot"]) for row in found[:5]] == [(general.id, ann.id, False)] * 5
    assert sorted((row["channel_name"], row["name"]) for row in found[5:]) == [
        ("general", "Ann"),
        ("general", "Robot"),
        ("other", "Robot"),
    ]
    ran = cli.run("discord", "observe", "--seconds", "1")
    assert len(ran.lines) == 6
    assert "channel\tchannel name\tuser" in ran.err


def test_observe_waits_when_it_is_told_to(cli: CommandLine, fake: Discord) -> None:
    fake.plan("GET /users/@me/guilds", "429 0.2")
    cli.configure(adapter(fake))
    assert "Nothing was written" in cli.run("discord", "observe", "--seconds", "1").err


def test_env_is_a_configuration_once_it_is_filled_in(cli: CommandLine) -> None:
    text, _, names = cli.run("discord", "env").out.partition("# .env")
    assert names.splitlines()[-1] == "DISCORD_BOT_TOKEN="
    (cli.folder / "heyfleet.yaml").write_text(text)
    (cli.folder / ".env").write_text("DISCORD_BOT_TOKEN=filled-in\n")
    (found,) = json.loads(cli.run("config", "show", "--json").out)["adapters"]
    assert found["kind"] == "discord"
