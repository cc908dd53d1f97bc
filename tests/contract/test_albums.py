"""Pictures that somebody sends at once: Telegram tells of each as a message of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.ports import UserText
from tests.contract.telegram_chat import SECRET, TelegramChat
from tests.db.rows import rows

PICTURE = b"\xff\xd8\xff\xe0" + b"x" * 50


@pytest.fixture
def chat(database_url: str, redis_url: str) -> Iterator[TelegramChat]:
    with TelegramChat.opened(database_url, redis_url) as opened:
        yield opened
        assert opened.fake.problems == []


def send_album(chat: TelegramChat, captions: list[str]) -> None:
    for number, caption in enumerate(captions):
        photo = (f"{number}.jpg", PICTURE + bytes([number]))
        update: Any = chat.fake.say(chat.direct["ann"], chat.people["ann"], photo=photo, caption=caption).shown()
        update["message"]["media_group_id"] = "77"
        assert chat.fake.post(chat.url(), update, secret=SECRET).status == 200


@pytest.mark.parametrize("busy", ["steer", "follow_up", "reject"])
def test_an_album_is_one_question_with_one_answer(chat: TelegramChat, busy: str) -> None:
    chat.start(adapter={"progress": False}, task={"busy": busy})
    send_album(chat, ["what are these?", "", ""])
    chat.until_sent()
    (prompt,) = chat.model.prompts
    assert sum(len(news.images) for news in prompt.new if isinstance(news, UserText)) == 3
    assert len(chat.heard("dm")) == 1
    assert rows(chat.worker.db, "SELECT DISTINCT state FROM turn") == [("done",)]


def test_another_album_is_another_question(chat: TelegramChat) -> None:
    chat.start(adapter={"progress": False}, task={"busy": "reject"})
    send_album(chat, ["one", ""])
    chat.dm("in between")
    chat.until_sent()
    assert any("busy" in text for text in chat.heard("dm"))
