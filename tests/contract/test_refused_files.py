"""A file that a provider does not take: what comes behind it is sent all the same, and people are told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from app.results import SendResult, Sent
from app.traffic import Outbound
from tests.contract.chats import NAME, Chat
from tests.contract.discord_chat import DiscordChat
from tests.contract.slack_chat import SlackChat
from tests.contract.telegram_chat import TelegramChat

# Of no byte: Slack and Telegram refuse that. Of more than Discord takes.
REFUSED = {"slack": b"", "telegram": b"", "discord": b"x" * (26 * 1024 * 1024)}


@pytest.fixture(params=list(REFUSED))
def chat(request: pytest.FixtureRequest, database_url: str, redis_url: str) -> Iterator[tuple[Chat, bytes]]:
    kinds: dict[str, Any] = {"slack": SlackChat, "telegram": TelegramChat, "discord": DiscordChat}
    with kinds[request.param].opened(database_url, redis_url) as opened:
        opened.start(adapter={"progress": False})
        yield opened, REFUSED[request.param]
        assert opened.fake.problems == []


def file(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "media_type": "text/plain", "data": base64.b64encode(content).decode()}


def test_what_comes_behind_it_is_sent_and_it_is_named(chat: tuple[Chat, bytes]) -> None:
    opened, refused = chat
    opened.dm("hello")
    opened.until_sent()
    adapter = opened.ingresses[0].core.adapters[NAME]
    (address,) = [row.address for row in opened.worker.db.rows("SELECT address FROM destination")]
    files = [file("empty.log", refused), file("report.txt", b"all is well")]
    sent: list[str] = []
    results: list[SendResult] = []
    opened.fake.lenient = True
    for _ in range(3):
        results.append(adapter.send(Outbound("d", address, "reply", {"text": "two files"}, 1, files=files, sent=sent)))
        sent += [result.reference for result in results[-1:] if isinstance(result, Sent)]
    assert [isinstance(result, Sent) and result.more for result in results] == [True, True, False]
    assert opened.files("dm") == [("report.txt", b"all is well")]
    assert [text.startswith("(empty.log could not be sent: ") for text in opened.heard("dm")] == [False, False, True]
