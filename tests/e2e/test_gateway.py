"""The gateway's connections: one consumer where a provider lets one, and nothing lost or doubled when it is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, Process, wait_until
from tests.fakes.discord import FakeDiscord, serving_discord
from tests.fakes.slack import FakeSlack, serving_slack
from tests.fakes.telegram import FakeTelegram, serving_telegram

NAME = "team-chat"
# Each message gets a reply of its own, whatever was said before it.
EACH = {"task": {"busy": "follow_up"}}
LEADER = "SELECT lease_owner FROM role WHERE name = :name AND lease_until > now()"


def telegram(fake: FakeTelegram) -> dict[str, Any]:
    return {"kind": "telegram", "name": NAME, "bot_token": fake.token, "api_url": fake.origin, "progress": False}


def slack(fake: FakeSlack) -> dict[str, Any]:
    tokens = {"bot_token": fake.bot_token, "app_token": fake.app_token}
    return {"kind": "slack", "name": NAME, "mode": "socket", "api_url": fake.base_url, "progress": False, **tokens}


def leader(fleet: Fleet, role: str) -> Process:
    found: list[Process] = []

    def leads() -> bool:
        owners = [owner for (owner,) in fleet.sql(LEADER, name=role)]
        found[:] = [one for one in fleet.of("gateway") for owner in owners if f"gateway {one.popen.pid} " in owner]
        return bool(found)

    wait_until(leads, 20, lambda: f"nobody leads\n{fleet.logs()}")
    return found[0]


def heard(fake: FakeTelegram, chat: Any) -> list[str]:
    return [message.text.split("\n")[0] for message in fake.messages(chat) if message.sender.id == fake.bot.id]


def said_back(fleet: Fleet, found: Callable[[], list[str]], texts: list[str]) -> None:
    wait_until(lambda: len(found()) >= len(texts), 40, lambda: f"{found()}\n{fleet.logs()}")
    assert found() == texts


def test_one_gateway_polls_and_another_takes_over_when_it_is_killed(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fake.lenient = True
        fleet = make_fleet(worker=1, gateway=2, config={"adapters": [telegram(fake)], **EACH})
        ann = fake.person("Ann")
        chat = fake.private(ann)
        wanted: list[str] = []

        def say(count: int) -> None:
            for _ in range(count):
                wanted.append(f"say: {len(wanted)}")
                fake.say(chat, ann, wanted[-1])

        for _ in range(2):
            say(3)
            first = leader(fleet, f"telegram {NAME}")
            first.kill()
            say(3)
            said_back(fleet, lambda: heard(fake, chat), [text.removeprefix("say: ") for text in wanted])
            fleet.again(first)
        assert fake.conflicts == 0, fleet.logs()
        assert len(fleet.sql("SELECT id FROM turn")) == len(wanted)
        assert fake.problems == []


def test_a_gateway_that_stood_still_does_not_poll_beside_the_next_one(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fleet = make_fleet(worker=1, gateway=2, config={"adapters": [telegram(fake)], **EACH})
        ann = fake.person("Ann")
        chat = fake.private(ann)
        stale = leader(fleet, f"telegram {NAME}")
        # In the midst of a poll: what is stopped right before one sends it whenever it goes on.
        fake.wait_for(lambda: fake.updates.waiting == 1)
        stale.popen.send_signal(signal.SIGSTOP)
        fake.say(chat, ann, "say: one")
        said_back(fleet, lambda: heard(fake, chat), ["one"])
        assert leader(fleet, f"telegram {NAME}") is not stale
        stale.popen.send_signal(signal.SIGCONT)
        fake.say(chat, ann, "say: two")
        said_back(fleet, lambda: heard(fake, chat), ["one", "two"])
        assert fake.conflicts == 0, fleet.logs()


def test_who_polls_puts_the_command_into_the_menu(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fake.plan("setMyCommands", "500")
        config = {"adapters": [{**telegram(fake), "command": "ops"}], **EACH}
        fleet = make_fleet(worker=1, gateway=2, config=config)
        ann = fake.person("Ann")
        chat = fake.private(ann)
        first = leader(fleet, f"telegram {NAME}")
        fake.wait_for(lambda: "menu_not_set" in first.log.read_text(), why=fleet.logs())
        fake.say(chat, ann, "say: one")
        said_back(fleet, lambda: heard(fake, chat), ["one"])
        assert fake.account.commands == {}
        first.kill()
        menu = fake.wait_for(lambda: list(fake.account.commands.values()), why=fleet.logs())
        assert [one["command"] for (one,) in menu] == ["ops"]
        assert len(fake.called("setMyCommands")) == 2
        assert fake.problems == []


def test_a_stopped_gateway_hands_over_at_once(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        config = {"adapters": [telegram(fake)], "lease": {"ttl": "60s", "renew": "1s", "sweep": "1s"}}
        fleet = make_fleet(gateway=2, config=config)
        first = leader(fleet, f"telegram {NAME}")
        assert first.stop() == 0
        assert leader(fleet, f"telegram {NAME}") is not first


def test_updates_wait_while_postgres_refuses_them(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fleet = make_fleet(worker=1, gateway=1, config={"adapters": [telegram(fake)], **EACH})
        ann = fake.person("Ann")
        chat = fake.private(ann)
        leader(fleet, f"telegram {NAME}")
        fleet.db.rows("ALTER TABLE receipt RENAME TO receipt_away")
        fake.say(chat, ann, "say: one")
        fake.wait_for(lambda: any("update_" in process.log.read_text() for process in fleet.of("gateway")))
        fleet.db.rows("ALTER TABLE receipt_away RENAME TO receipt")
        fake.say(chat, ann, "say: two")
        said_back(fleet, lambda: heard(fake, chat), ["one", "two"])


def test_every_gateway_has_a_socket_of_slack_and_what_comes_twice_is_one_turn(make_fleet: MakeFleet) -> None:
    with serving_slack() as fake:
        fake.lenient = True
        fleet = make_fleet(worker=1, gateway=2, config={"adapters": [slack(fake)], **EACH})
        ann = fake.person("ann")
        channel = fake.channel("", kind="im", members=[ann])
        fake.wait_for(lambda: fake.sockets == 2, why=fleet.logs())

        def heard_in_slack() -> list[str]:
            return [message.text for message in fake.messages(channel) if message.user == fake.bot_user]

        wanted: list[str] = []
        for n in range(6):
            wanted.append(str(n))
            for envelope in fake.events_of(fake.say(channel, ann, f"say: {n}")):
                fake.socket_send(envelope)
                fake.socket_send(envelope)
        fleet.of("gateway")[0].kill()
        wait_until(lambda: len(heard_in_slack()) >= len(wanted), 40, lambda: f"{heard_in_slack()}\n{fleet.logs()}")
        assert sorted(heard_in_slack()) == wanted
        assert len(fleet.sql("SELECT id FROM turn")) == len(wanted)


def discord(fake: FakeDiscord, **more: Any) -> dict[str, Any]:
    url = f"{fake.origin}/api/v10"
    return {"kind": "discord", "name": NAME, "bot_token": fake.token, "api_url": url, "progress": False, **more}


class Talks:
    """What Ann says to the bot alone in Discord, and what comes back."""

    def __init__(self, fake: FakeDiscord, fleet: Fleet) -> None:
        self.fake = fake
        self.fleet = fleet
        self.ann = fake.person("ann")
        self.dm = fake.dm_with(self.ann)
        self.wanted: list[str] = []

    def say(self, count: int) -> None:
        for _ in range(count):
            self.wanted.append(str(len(self.wanted)))
            self.fake.say(self.dm, self.ann, f"say: {self.wanted[-1]}")

    def heard(self) -> list[str]:
        return [message.content for message in self.fake.messages(self.dm) if message.author.id == self.fake.bot.id]

    def all_answered_once(self) -> None:
        said_back(self.fleet, self.heard, self.wanted)
        assert len(self.fleet.sql("SELECT id FROM turn")) == len(self.wanted)


def test_discord_s_session_is_handed_on_when_its_leader_is_killed(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fake.lenient = True
        fleet = make_fleet(worker=1, gateway=2, config={"adapters": [discord(fake)], **EACH})
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        talks = Talks(fake, fleet)
        for _ in range(2):
            talks.say(3)
            first = leader(fleet, f"discord {NAME} 0")
            first.kill()
            talks.say(3)
            talks.all_answered_once()
            fleet.again(first)
        assert fake.most_sessions == 1
        assert fake.gateway.identified == 1, "it was resumed, each time"
        assert fake.problems == []
        assert fake.violations == []


@pytest.mark.parametrize("how", ["drop", "drop with a code", "reconnect", "invalidate", "resumable"])
def test_discord_s_connection_is_made_anew_however_it_ends(make_fleet: MakeFleet, how: str) -> None:
    with serving_discord() as fake:
        fake.lenient = True
        fake.gateway.identify_seconds = 0
        fleet = make_fleet(worker=1, gateway=1, config={"adapters": [discord(fake)], **EACH})
        talks = Talks(fake, fleet)
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        talks.say(2)
        talks.all_answered_once()
        match how:
            case "drop":
                fake.drop_gateway()
            case "drop with a code":
                fake.drop_gateway(4000)
            case "reconnect":
                fake.reconnect()
            case "invalidate":
                fake.invalidate(resumable=False)
                fake.wait_for(lambda: fake.gateway.identified == 2 and fake.sessions == {0: 1}, why=fleet.logs())
            case "resumable":
                fake.invalidate(resumable=True)
        talks.say(2)
        talks.all_answered_once()
        assert fake.gateway.identified == (2 if how == "invalidate" else 1)
        assert fake.problems == []


def test_what_discord_told_while_postgres_was_not_there_is_told_again(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fleet = make_fleet(worker=1, gateway=1, config={"adapters": [discord(fake)], **EACH})
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        talks = Talks(fake, fleet)
        talks.say(1)
        talks.all_answered_once()
        fleet.db.rows("ALTER TABLE receipt RENAME TO receipt_away")
        talks.say(1)
        (gateway,) = fleet.of("gateway")
        fake.wait_for(lambda: "event_waits" in gateway.log.read_text(), why=fleet.logs())
        fleet.db.rows("ALTER TABLE receipt_away RENAME TO receipt")
        talks.all_answered_once()


def test_discord_s_commands_come_by_the_gateway_where_no_key_is_set(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fleet = make_fleet(gateway=1, config={"adapters": [discord(fake)]})
        fake.wait_for(lambda: fake.sessions == {0: 1}, why=fleet.logs())
        channel = fake.channel(fake.guild("lab"), "general")
        fake.interact(None, fake.person("ann"), channel, "heyfleet", {"command": "approvals"})
        fake.wait_for(lambda: fake.interaction_answers, why=fleet.logs())
        (answer,) = fake.interaction_answers
        assert answer.data["content"] == "Nothing waits for an approval here."
        assert answer.data["flags"] == 64


def test_what_discord_refuses_for_good_is_said_with_its_cure(make_fleet: MakeFleet) -> None:
    with serving_discord() as fake:
        fake.privileged = 0
        fleet = make_fleet(gateway=1, config={"adapters": [discord(fake)]})
        (gateway,) = fleet.of("gateway")
        wait_until(lambda: "switch on Message Content Intent" in gateway.log.read_text(), 20, fleet.logs)


def test_a_gateway_with_nothing_to_hold_stays_and_takes_next_to_no_memory(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(gateway=1)
    (idle,) = fleet.of("gateway")
    wait_until(lambda: "gateway_idle" in idle.log.read_text(), 20, fleet.logs)
    status = f"/proc/{idle.popen.pid}/smaps_rollup"

    def kilobytes() -> int:
        with open(status) as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))

    wait_until(lambda: kilobytes() < 15_000, 10, lambda: f"{kilobytes()} kB")
    assert idle.alive
    assert idle.stop() == 0


def test_what_can_t_be_taken_in_does_not_hold_up_what_is_behind_it_for_ever(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fleet = make_fleet(worker=1, gateway=1, config={"adapters": [telegram(fake)], **EACH})
        ann = fake.person("Ann")
        chat = fake.private(ann)
        leader(fleet, f"telegram {NAME}")
        # Postgres refuses this one message, each time.
        fleet.db.rows("ALTER TABLE message ADD CONSTRAINT poison CHECK (text <> 'say: poison')")
        fake.say(chat, ann, "say: poison")
        fake.say(chat, ann, "say: behind it")
        said_back(fleet, lambda: heard(fake, chat), ["behind it"])
        (gateway,) = fleet.of("gateway")
        assert "update_left_out" in gateway.log.read_text()
