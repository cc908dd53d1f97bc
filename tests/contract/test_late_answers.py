"""Orders that Discord posts, and that take longer than it waits for: answered at once, and told when they are done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.discord_chat import DiscordChat


@pytest.fixture
def chat(database_url: str, redis_url: str) -> Iterator[DiscordChat]:
    with DiscordChat.opened(database_url, redis_url) as opened:
        yield opened
        assert opened.fake.problems == []


def test_an_order_that_waits_for_the_database_is_answered_first_and_told_after(chat: DiscordChat) -> None:
    chat.start()
    with chat.worker.db.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE turn IN ACCESS EXCLUSIVE MODE")
        result = chat.fake.interact(chat.url(), chat.people["ann"], chat.channel, "heyfleet", {"command": "approvals"})
        assert (result.status, result.body["type"]) == (200, 5)
        asked = result.interaction
        assert asked is not None
        assert asked.original is not None
        assert asked.original.content == ""
    chat.fake.wait_for(lambda: asked.original.content == "Nothing waits for an approval here.")
