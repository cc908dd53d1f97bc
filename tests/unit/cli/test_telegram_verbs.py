"""`heyfleet telegram …` against a Telegram of ours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from app.adapters.telegram.parse import webhook_secret
from app.config.adapters import TelegramAdapter
from tests.fakes.telegram import FakeTelegram, serving_telegram
from tests.unit.cli.command_line import CommandLine, levels

HOST = "https://chat.example.org"


@pytest.fixture
def fake() -> Iterator[FakeTelegram]:
    with serving_telegram() as fake:
        yield fake
        assert fake.problems == []


def adapter(fake: FakeTelegram, **more: Any) -> dict[str, Any]:
    return {"kind": "telegram", "name": "team", "bot_token": fake.token, "api_url": fake.origin, **more}


def secret_of(fake: FakeTelegram) -> str:
    return webhook_secret(TelegramAdapter.model_validate(adapter(fake)))


def test_check_finds_nothing_wrong(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake))
    found = cli.run("telegram", "check", "--json").findings
    assert levels(found) == {"ok"}
    assert "@heyfleet_bot" in found["telegram team token"][0][1]
    assert "/setprivacy" in found["telegram team privacy"][0][1]
    assert {line.split()[0] for line in cli.run("telegram", "check").out.splitlines()} == {"ok"}


def test_check_of_a_webhook(cli: CommandLine, fake: FakeTelegram) -> None:
    fake.privacy, fake.lenient = False, True
    cli.configure(adapter(fake, mode="webhook"))
    ((level, said),) = cli.run("telegram", "check", "--json", code=1).findings["telegram team mode"]
    assert (level, "set-webhook --adapter team" in said) == ("error", True)
    cli.run("telegram", "set-webhook", "--url", HOST)
    assert levels(cli.run("telegram", "check", "--json").findings) == {"ok"}

    httpx.post(fake.url("setWebhook"), json={"url": f"{HOST}/{fake.token}", "allowed_updates": ["message"]})
    fake.webhook._error = int(time.time()), "Wrong response from the webhook: 401 Unauthorized"
    found = cli.run("telegram", "check", "--json", code=1).findings
    assert "is not /telegram/team/webhook" in found["telegram team mode"][0][1]
    assert [level for level, _ in found["telegram team updates"]] == ["ok", "warning", "error"]
    assert "the secret is another one" in found["telegram team updates"][1][1]
    assert "callback_query" in found["telegram team updates"][2][1]


def test_check_of_polling_where_a_webhook_is_set(cli: CommandLine, fake: FakeTelegram) -> None:
    httpx.post(fake.url("setWebhook"), json={"url": f"{HOST}/{fake.token}"})
    cli.configure(adapter(fake))
    ((level, said),) = cli.run("telegram", "check", "--json", code=1).findings["telegram team mode"]
    assert (level, "delete-webhook --adapter team" in said) == ("error", True)


def test_check_warns_of_what_waits_and_of_privacy(cli: CommandLine, fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    for n in range(25):
        fake.say(fake.private(ann), ann, str(n))
    cli.configure(adapter(fake, trigger="message"))
    found = cli.run("telegram", "check", "--json").findings
    assert found["telegram team updates"] == [("warning", "25 wait: see that a gateway runs")]
    assert found["telegram team privacy"][0][0] == "warning"


@pytest.mark.parametrize("verb", [["check"], ["observe"], ["set-webhook", "--url", HOST], ["delete-webhook"]])
def test_a_wrong_token(cli: CommandLine, fake: FakeTelegram, verb: list[str]) -> None:
    cli.configure(adapter(fake, bot_token="7000000001:guessed"))
    ran = cli.run("telegram", *verb, code=1)
    assert "compare bot_token with what @BotFather says" in ran.out + ran.err


def test_check_where_telegram_is_out_of_reach(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake, api_url="http://127.0.0.1:1"))
    found = cli.run("telegram", "check", "--json", code=1).findings
    assert list(found) == ["telegram team token"]
    assert found["telegram team token"][0][1].startswith("Telegram is out of reach (ConnectError)")


def test_observe_shows_where_messages_come_from_and_takes_none(cli: CommandLine, fake: FakeTelegram) -> None:
    fake.privacy = False
    ann = fake.person("Ann", username="ann_a")
    forum = fake.supergroup("plans", forum=True)
    fake.say(forum, ann, "welcome")
    topic = fake.topic(forum, ann, "autumn")
    cli.configure(adapter(fake))

    def later() -> None:
        fake.wait_for(lambda: fake.called("getUpdates"))
        fake.say(fake.private(ann), ann, "hello")
        fake.say(forum, ann, "leaves", thread_id=topic)

    talking = threading.Thread(target=later)
    talking.start()
    ran = cli.run("telegram", "observe", "--seconds", "3")
    talking.join()
    whole = [str(forum.id), "plans", "", str(ann.id), "Ann @ann_a"]
    in_topic = [*whole[:2], str(topic), *whole[3:]]
    assert ran.lines == [whole, in_topic, [str(ann.id), "ann_a", "", *whole[3:]], in_topic]
    assert "chat\ttitle\ttopic\tuser\tname" in ran.err
    again = cli.run("telegram", "observe", "--seconds", "1", "--json").json
    assert [row["chat"] for row in again] == [line[0] for line in ran.lines], "nothing was confirmed"


def test_observe_says_that_nothing_came(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake))
    assert "Nothing has come" in cli.run("telegram", "observe", "--seconds", "1").err


def test_observe_says_where_it_can_see_no_further(cli: CommandLine, fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    for n in range(100):
        fake.say(fake.private(ann), ann, str(n))
    cli.configure(adapter(fake))
    ran = cli.run("telegram", "observe", code=1)
    assert len(ran.lines) == 100
    assert "100 updates wait" in ran.err


def test_observe_does_not_get_in_the_way(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake))

    def poll() -> None:
        fake.wait_for(lambda: fake.updates.waiting == 1)
        httpx.post(fake.url("getUpdates"), json={"timeout": 0})

    other = threading.Thread(target=poll)
    other.start()
    assert "somebody polls with this bot's token" in cli.refused("telegram", "observe", "--seconds", "5")
    other.join()
    httpx.post(fake.url("setWebhook"), json={"url": HOST})
    assert "delete-webhook first" in cli.refused("telegram", "observe")


def test_set_webhook_has_telegram_post_with_our_secret(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake, mode="webhook", command="ops"))
    cli.secrets.append(secret_of(fake))
    said = cli.run("telegram", "set-webhook", "--url", f"{HOST}/behind/").out
    assert said.startswith(f"Telegram posts to {HOST}/behind/telegram/team/webhook now; the bot's menu has /ops")
    assert fake.updates.webhook_url == f"{HOST}/behind/telegram/team/webhook"
    assert fake.webhook.secret == secret_of(fake)
    assert fake.updates.allowed == {"message", "callback_query"}
    assert [one["command"] for one in httpx.post(fake.url("getMyCommands")).json()["result"]] == ["ops"]
    assert "--url must be https" in cli.refused("telegram", "set-webhook", "--url", "http://chat.example.org")

    assert "no webhook is set any more" in cli.run("telegram", "delete-webhook").out
    assert fake.updates.webhook_url == ""


def test_set_webhook_says_what_does_not_go_with_it(cli: CommandLine, fake: FakeTelegram) -> None:
    cli.configure(adapter(fake))
    assert "set mode: webhook" in cli.run("telegram", "set-webhook", "--url", HOST).err
    cli.configure(adapter(fake, mode="webhook"))
    assert "set mode: polling" in cli.run("telegram", "delete-webhook").err


@pytest.mark.parametrize("mode", ["polling", "webhook"])
def test_env_is_a_configuration_once_it_is_filled_in(cli: CommandLine, mode: str) -> None:
    text, _, names = cli.run("telegram", "env", "--mode", mode).out.partition("# .env")
    assert names.splitlines()[-1] == "TELEGRAM_BOT_TOKEN="
    (cli.folder / "heyfleet.yaml").write_text(text)
    (cli.folder / ".env").write_text("TELEGRAM_BOT_TOKEN=7:filled-in\n")
    (found,) = json.loads(cli.run("config", "show", "--json").out)["adapters"]
    assert (found["kind"], found["mode"]) == ("telegram", mode)
