"""Channels without threads: whose message goes on with which conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.discord_chat import DiscordChat
from tests.contract.slack_chat import SlackChat
from tests.contract.telegram_chat import TelegramChat
from tests.db.rows import rows

FlatChat = SlackChat | TelegramChat | DiscordChat


@pytest.fixture(params=["slack", "telegram", "discord"])
def chat(request: pytest.FixtureRequest, database_url: str, redis_url: str) -> Iterator[FlatChat]:
    kinds: dict[str, Any] = {"slack": SlackChat, "telegram": TelegramChat, "discord": DiscordChat}
    with kinds[request.param].opened(database_url, redis_url) as opened:
        placed = {"placement": "channel"} if request.param == "slack" else {}
        opened.start(adapter={"progress": False, "response": placed})
        yield opened
        assert opened.fake.problems == []


def say(chat: FlatChat, who: str, text: str, *, mention: bool = False, answers: Any = None) -> Any:
    """In the channel itself; `answers`: as a reply to that message."""
    person = chat.people[who]
    if isinstance(chat, SlackChat):
        text = f"<@{chat.fake.bot_user}> {text}" if mention else text
        root = answers.ts if answers else None
        return chat.deliver(chat.fake.say(chat.channel, person, text, thread_ts=root))
    if isinstance(chat, TelegramChat):
        text = f"@{chat.fake.bot.username} {text}" if mention else text
        group = chat.flat
        return chat.deliver(chat.fake.say(group, person, text, reply_to=answers))
    text = f"{chat.fake.bot.mention} {text}" if mention else text
    return chat.deliver(chat.fake.say(chat.channel, person, text, reply_to=answers))


def conversations(chat: FlatChat) -> list[list[str]]:
    """What was asked in each, oldest first."""
    statement = """
        SELECT array_agg(message.text ORDER BY message.id) FROM message
        WHERE direction = 'in' GROUP BY thread_id ORDER BY min(message.id::text)"""
    return [list(texts) for (texts,) in rows(chat.worker.db, statement)]


def last_of_bot(chat: FlatChat) -> Any:
    if isinstance(chat, TelegramChat):
        return [m for m in chat.fake.messages(chat.flat) if m.sender.id == chat.fake.bot.id][-1]
    return chat.of_bot("channel")[-1]


def test_the_same_person_goes_on_for_a_while_without_mentioning_the_bot(chat: FlatChat) -> None:
    say(chat, "ann", "one", mention=True)
    chat.until_sent()
    say(chat, "ann", "two")
    say(chat, "bob", "not for you")
    say(chat, "bob", "three", mention=True)
    say(chat, "ann", "four", mention=True)
    assert conversations(chat) == [["one", "two", "four"], ["three"]]


def test_after_a_while_it_is_a_new_conversation_that_needs_a_mention(chat: FlatChat) -> None:
    say(chat, "ann", "one", mention=True)
    chat.until_sent()
    chat.worker.db.rows("UPDATE turn SET created_at = created_at - interval '6 minutes'")
    say(chat, "ann", "not for you")
    say(chat, "ann", "two", mention=True)
    assert conversations(chat) == [["one"], ["two"]]


def test_whoever_answers_the_bot_goes_on_with_what_it_said(chat: FlatChat) -> None:
    say(chat, "ann", "one", mention=True)
    chat.until_sent()
    answer = last_of_bot(chat)
    chat.worker.db.rows("UPDATE turn SET created_at = created_at - interval '1 hour'")
    say(chat, "bob", "two", answers=answer)
    assert conversations(chat) == [["one", "two"]]


def test_a_reply_shows_what_it_answers(chat: FlatChat) -> None:
    asked = say(chat, "ann", "one", mention=True)
    chat.until_sent()
    answer = last_of_bot(chat)
    if isinstance(chat, TelegramChat):
        assert answer.reply_to == asked.message.message_id
    elif isinstance(chat, DiscordChat):
        assert answer.reference == asked.id
    else:
        assert answer.thread_ts is None


def test_a_group_that_became_a_supergroup_gets_its_reply_there(database_url: str, redis_url: str) -> None:
    with TelegramChat.opened(database_url, redis_url) as chat:
        chat.start(adapter={"progress": False})
        ann, group = chat.people["ann"], chat.fake.group("small")
        chat.deliver(chat.fake.say(group, ann, f"@{chat.fake.bot.username} hello"))
        grown = chat.fake.migrate(group)
        chat.until_sent()
        assert [m.text for m in chat.fake.messages(grown) if m.sender.id == chat.fake.bot.id] == ["re: hello"]


def test_a_word_that_is_a_command_is_one_only_where_it_is_meant_so(chat: FlatChat) -> None:
    say(chat, "ann", "old or new?", mention=True)
    chat.until_sent()
    say(chat, "ann", "new")
    say(chat, "ann", "new", mention=True)
    commands = [command for (command,) in rows(chat.worker.db, "SELECT command FROM turn ORDER BY seq")]
    assert commands == [None, None, "new"]
