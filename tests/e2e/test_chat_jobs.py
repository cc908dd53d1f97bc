"""Jobs in a chat: what they say can be answered, and a heartbeat speaks where people wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeFleet
from tests.e2e.due_times import local_job
from tests.e2e.fleet import Fleet, wait_until
from tests.e2e.test_cli import run
from tests.fakes.slack import Channel, FakeSlack, Message, serving_slack

NAME = "team-chat"


class Room:
    """A channel of a Slack, and a fleet that is in it."""

    def __init__(self, fake: FakeSlack, make_fleet: MakeFleet) -> None:
        self.fake = fake
        self.ann = fake.person("ann")
        self.channel: Channel = fake.channel("general", members=[self.ann])
        tokens = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "api_url": fake.base_url}
        adapter = {"kind": "slack", "name": NAME, "progress": False, **tokens}
        target = {"targets": {NAME: {"channels": [self.channel.id]}}}
        jobs = [
            local_job("report", "1h", **target, prompt="say: the report"),
            local_job("clean", "1h", **target, prompt="run: rm -rf old"),
            local_job("note", "1h", targets={NAME: {"users": [self.ann.id]}}, prompt="run: rm -rf mine"),
            local_job("beat", "1h", scope={NAME: {"channels": [self.channel.id]}}, prompt="say: still here"),
        ]
        self.fleet: Fleet = make_fleet(web=1, worker=1, runner=1, beat=1, config={"adapters": [adapter], "jobs": jobs})
        wait_until(lambda: self.fleet.sql("SELECT count(*) FROM job") == [(4,)], 20, self.fleet.logs)

    def say(self, text: str, thread: str | None = None) -> Message:
        message = self.fake.say(self.channel, self.ann, text, thread_ts=thread)
        for envelope in self.fake.events_of(message):
            assert self.fake.deliver(self.url, envelope)[-1].status == 200
        return message

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.fleet.of('web')[0].port}/slack/{NAME}/events"

    def heard(self, text: str, count: int = 1) -> Message:
        """The bot's last message with this text, waiting for so many of them."""

        def found() -> list[Message]:
            said = [m for m in self.fake.messages(self.channel) if m.user == self.fake.bot_user]
            return [message for message in said if text in message.text]

        wait_until(lambda: len(found()) >= count, 30, lambda: f"{text}: {found()}\n{self.fleet.logs()}")
        assert len(found()) == count
        return found()[-1]


@pytest.fixture
def room(make_fleet: MakeFleet) -> Iterator[Room]:
    with serving_slack() as fake:
        yield Room(fake, make_fleet)


def test_what_a_job_says_can_be_answered_without_mentioning_the_bot(room: Room) -> None:
    assert run(room.fleet, "jobs", "run", "report").returncode == 0
    report = room.heard("the report")
    assert report.thread_ts is None
    room.say("say: and why?", thread=report.ts)
    answer = room.heard("and why?")
    assert answer.thread_ts == report.ts
    assert len(room.fleet.sql("SELECT id FROM thread")) == 1, "the agent knows what it said"


def test_what_a_job_asks_can_be_answered_with_its_buttons(room: Room) -> None:
    assert run(room.fleet, "jobs", "run", "clean").returncode == 0
    card = room.heard("rm -rf old")
    (code,) = [code for (code,) in room.fleet.sql("SELECT code FROM approval")]
    click = room.fake.click(room.ann, card, "heyfleet_deny", code)
    assert room.fake.post_interaction(room.url, click).status == 200
    wait_until(lambda: room.fleet.sql("SELECT state FROM approval") == [("denied",)], 20, room.fleet.logs)
    assert room.fake.responses == []


def test_a_heartbeat_speaks_where_people_wrote(room: Room) -> None:
    said = room.say(f"<@{room.fake.bot_user}> say: hello")
    room.heard("hello")
    assert run(room.fleet, "jobs", "run", "beat").returncode == 0
    assert room.heard("still here").thread_ts == said.ts


def test_a_person_can_be_a_job_s_target_and_answer_it(room: Room) -> None:
    assert run(room.fleet, "jobs", "run", "note").returncode == 0
    (direct,) = [channel for channel in room.fake.channels.values() if channel.kind == "im"]
    wait_until(lambda: bool(room.fake.messages(direct)), 30, room.fleet.logs)
    ((code,),) = room.fleet.sql("SELECT code FROM approval")
    click = room.fake.click(room.ann, room.fake.messages(direct)[-1], "heyfleet_deny", code)
    assert room.fake.post_interaction(room.url, click).status == 200
    wait_until(lambda: room.fleet.sql("SELECT state FROM approval") == [("denied",)], 20, room.fleet.logs)
    for envelope in room.fake.events_of(room.fake.say(direct, room.ann, "say: why?")):
        room.fake.deliver(room.url, envelope)
    wait_until(lambda: room.fake.messages(direct)[-1].text == "why?", 30, room.fleet.logs)
    assert len(room.fleet.sql("SELECT id FROM thread")) == 1
