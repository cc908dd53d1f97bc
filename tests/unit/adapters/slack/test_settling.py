"""Has it arrived? Looked up in a Slack of ours, wherever it was sent to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.adapters.slack import SlackAdapter
from app.clock import now
from app.config.adapters import SlackAdapter as Settings
from app.results import Absent, Ambiguous, Retry, Sent
from app.traffic import Outbound
from tests.fakes.slack import FakeSlack, serving_slack

FILE = {"name": "a.txt", "media_type": "text/plain", "data": "aGk="}


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with serving_slack() as fake:
        fake.lenient = True
        yield fake
        assert fake.problems == []


def adapter_of(fake: FakeSlack) -> SlackAdapter:
    tokens = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "api_url": fake.base_url}
    return SlackAdapter(Settings.model_validate({"kind": "slack", "name": "s", **tokens}))


def outbound(address: str, **more: object) -> Outbound:
    made = {
        "id": "d1",
        "address": address,
        "kind": "reply",
        "body": {"text": "hello"},
        "attempt": 1,
        "staged_at": now(),
        "tried_at": now(),
    }
    return Outbound(**{**made, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["channel", "thread", "direct", "person"])
def test_a_message_is_found_by_its_mark_wherever_it_was_sent(slack: FakeSlack, where: str) -> None:
    ann = slack.person("ann")
    channel = slack.channel("general", members=[ann])
    root = slack.say(channel, ann, "hi")
    direct = slack.channel("", kind="im", members=[ann])
    address = {
        "channel": channel.id,
        "thread": f"{channel.id} {root.ts}",
        "direct": direct.id,
        "person": ann.id,
    }[where]
    adapter, delivery = adapter_of(slack), outbound(address)
    assert adapter.settle(delivery) == Absent()
    assert adapter.send(outbound(address, id="another")) != Absent()
    assert adapter.settle(delivery) == Absent(), "another delivery with the same text is not this one"
    sent = adapter.send(delivery)
    assert isinstance(sent, Sent)
    assert adapter.settle(delivery) == sent
    next_part = outbound(address, sent=[sent.reference], body={"text": "hello " * 2000})
    assert adapter.settle(next_part) == Absent(), "nor is another part of it"


def test_a_message_is_found_among_many_and_what_is_older_is_not_looked_at(slack: FakeSlack) -> None:
    ann = slack.person("ann")
    channel = slack.channel("general", members=[ann])
    adapter, delivery = adapter_of(slack), outbound(channel.id)
    sent = adapter.send(delivery)
    for n in range(250):
        slack.say(channel, ann, str(n))
    assert adapter.settle(delivery) == sent
    assert adapter.settle(outbound(channel.id, staged_at=now() + timedelta(hours=1))) == Absent()


def test_a_file_is_found_by_its_name_and_not_taken_for_the_one_before(slack: FakeSlack) -> None:
    channel = slack.channel("general")
    adapter = adapter_of(slack)
    first = outbound(channel.id, files=[FILE, FILE], sent=[f"{channel.id} 1.0"])
    assert adapter.settle(first) == Absent()
    sent = adapter.send(first)
    assert isinstance(sent, Sent)
    assert sent.more
    assert adapter.settle(first) == sent
    second = outbound(channel.id, files=[FILE, FILE], sent=[f"{channel.id} 1.0", sent.reference])
    assert adapter.settle(second) == Absent()


def test_a_file_of_that_name_that_was_there_before_is_another_one(slack: FakeSlack) -> None:
    channel = slack.channel("general")
    adapter = adapter_of(slack)
    earlier = outbound(channel.id, id="d0", files=[FILE], sent=[f"{channel.id} 1.0"])
    assert isinstance(adapter.send(earlier), Sent)
    slack.files[0].created -= 120
    assert adapter.settle(outbound(channel.id, files=[FILE], sent=[f"{channel.id} 2.0"])) == Absent()


def test_what_was_said_in_place_of_a_file_is_found(slack: FakeSlack) -> None:
    channel = slack.channel("general")
    adapter = adapter_of(slack)
    refused = outbound(channel.id, files=[{**FILE, "data": ""}], sent=[f"{channel.id} 1.0"])
    sent = adapter.send(refused)
    assert isinstance(sent, Sent)
    assert adapter.settle(refused) == sent


def test_where_it_can_t_be_looked_up_people_are_asked_and_where_it_can_t_now_it_is_later(slack: FakeSlack) -> None:
    channel = slack.channel("general")
    adapter, delivery = adapter_of(slack), outbound(channel.id)
    slack.plan("conversations.history", "500", "429 7", "drop")
    answers = [adapter.settle(delivery) for _ in range(3)]
    assert all(isinstance(answer, Retry) and answer.doubtful for answer in answers)
    assert isinstance(answers[1], Retry)
    assert answers[1].after == 7
    slack.scopes = frozenset(slack.scopes) - {"channels:history"}  # type: ignore[assignment]
    found = adapter.settle(delivery)
    assert isinstance(found, Ambiguous)
    assert "channels:history" in found.reason
