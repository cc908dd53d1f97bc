"""What is said and asked in a private thread of Discord is for those alone who are in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.discord_chat import DiscordChat
from tests.db.doubles import bash
from tests.db.rows import rows


@pytest.fixture
def chat(database_url: str, redis_url: str) -> Iterator[DiscordChat]:
    with DiscordChat.opened(database_url, redis_url) as opened:
        yield opened


def whisper(chat: DiscordChat, text: str) -> None:
    thread = chat.fake.channel(chat.guild, "between us", "private-thread", parent=chat.channel)
    chat.threads.append(thread)
    chat.deliver(chat.fake.say(thread, chat.people["ann"], f"{chat.fake.bot.mention} {text}"))
    chat.until_sent()


def test_who_is_in_the_channel_above_sees_nothing_of_it(chat: DiscordChat) -> None:
    chat.model.script.append([bash("rm -rf secret")])
    chat.start()
    whisper(chat, "clean up")
    ((code,),) = rows(chat.worker.db, "SELECT code FROM approval")
    above = chat.fake.interact(chat.url(), chat.people["bob"], chat.channel, "heyfleet", {"command": "approvals"})
    assert "secret" not in above.body["data"]["content"]
    denied = chat.fake.interact(chat.url(), chat.people["bob"], chat.channel, "heyfleet", {"command": f"deny {code}"})
    assert denied.body["data"]["content"].startswith(f"There is no {code} here")
    assert chat.press("channel", "Deny", "bob") == "", "in the thread itself"
    assert rows(chat.worker.db, "SELECT state FROM approval") == [("denied",)]


def test_it_is_let_in_where_the_channel_above_is(chat: DiscordChat) -> None:
    chat.start(adapter={"allow": {"channels": [chat.channel.id]}})
    whisper(chat, "hello")
    assert chat.heard("channel") == ["re: hello"]
