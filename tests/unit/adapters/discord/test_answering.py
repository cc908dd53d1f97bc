"""Orders that take longer than Discord waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.adapters.discord.answering import Answering
from app.adapters.discord.api import Api
from app.config.adapters import DiscordAdapter as Settings
from app.config.messages import Messages
from app.errors import Unavailable
from tests.fakes.discord import FakeDiscord, serving_discord

TEXTS = Messages()


@pytest.fixture
def fake() -> Iterator[FakeDiscord]:
    with serving_discord() as found:
        yield found
        assert found.problems == []


class Case:
    """A command or a button that waits for its answer, and the adapter's part that gives it."""

    def __init__(self, fake: FakeDiscord, in_time: float) -> None:
        settings = Settings(kind="discord", name="d", bot_token=SecretStr(fake.token), api_url=f"{fake.origin}/api/v10")
        self.fake, self.api = fake, Api(settings)
        self.answering = Answering(self.api, in_time)
        ann, channel = fake.person("ann"), fake.channel(fake.guild("lab"), "general")
        asked = fake.interact(None, ann, channel, "heyfleet", {"command": "status"}).interaction
        assert asked is not None
        self.asked = asked
        self.told = {"id": asked.id, "token": asked.token, "type": 2, "application_id": fake.application_id}

    def answer(self, work: Callable[[], str]) -> dict[str, Any]:
        answer, follow = self.answering.answer(self.told, work, TEXTS)
        self.api.call("POST", f"/interactions/{self.asked.id}/{self.asked.token}/callback", answer)
        follow()
        return answer

    def shown(self) -> str:
        assert self.asked.original is not None
        return str(self.asked.original.content)


def test_what_is_done_in_time_is_the_answer(fake: FakeDiscord) -> None:
    case = Case(fake, in_time=30)
    assert case.answer(lambda: "all is well")["type"] == 4
    assert case.shown() == "all is well"


def test_what_takes_longer_is_written_into_the_answer_later(fake: FakeDiscord) -> None:
    case, go_on = Case(fake, in_time=0.05), threading.Event()

    def work() -> str:
        go_on.wait(30)
        return "all is well"

    assert case.answer(work)["type"] == 5
    assert case.asked.original is not None
    assert case.asked.original.ephemeral
    go_on.set()
    fake.wait_for(lambda: case.shown() == "all is well")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Unavailable("Postgres is out of reach"), "Something went wrong: Postgres is out of reach"),
        (ZeroDivisionError("secret"), "Something went wrong: an internal error"),
    ],
)
def test_what_fails_later_is_said_too(fake: FakeDiscord, error: Exception, text: str) -> None:
    case, go_on = Case(fake, in_time=0.05), threading.Event()

    def work() -> str:
        go_on.wait(30)
        raise error

    case.answer(work)
    go_on.set()
    fake.wait_for(lambda: case.shown() == text)


def test_what_fails_in_time_is_not_answered_but_told_again(fake: FakeDiscord) -> None:
    def work() -> str:
        raise Unavailable("Postgres is out of reach")

    with pytest.raises(Unavailable):
        Case(fake, in_time=30).answer(work)
