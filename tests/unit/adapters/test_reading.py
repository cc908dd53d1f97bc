"""Whatever a provider tells, in whatever shape, is understood or left out: never an error that makes it repeat it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from app.adapters.discord.parse import Channel, interaction_of, said_of
from app.adapters.discord.parse import Me as DiscordMe
from app.adapters.reading import understood
from app.adapters.slack.parse import Me as SlackMe
from app.adapters.slack.parse import happening_of as slack_happening
from app.adapters.telegram.parse import Me as TelegramMe
from app.adapters.telegram.parse import happening_of as telegram_happening
from app.config.adapters import DiscordAdapter, SlackAdapter, TelegramAdapter
from app.traffic import Happening

SLACK = SlackAdapter.model_validate({"kind": "slack", "name": "s", "bot_token": "xoxb", "signing_secret": "s"})
TELEGRAM = TelegramAdapter.model_validate({"kind": "telegram", "name": "t", "bot_token": "1:a"})
DISCORD = DiscordAdapter.model_validate({"kind": "discord", "name": "d", "bot_token": "b"})
ROOM = Channel("c", "c", thread=False)

EVENTS: dict[str, tuple[Any, Any]] = {
    "slack message": (
        lambda told: slack_happening("events_api", told, SLACK, SlackMe("U1", "B1"), b"salt"),
        {
            "team_id": "T1",
            "event": {
                "type": "message",
                "channel": "C1",
                "user": "U2",
                "text": "<@U1> hi",
                "ts": "1.2",
                "thread_ts": "1.0",
                "parent_user_id": "U1",
                "files": [{"id": "F1", "name": "a", "mimetype": "b", "size": 1, "url_private": "https://x"}],
            },
        },
    ),
    "slack button": (
        lambda told: slack_happening("interactive", told, SLACK, SlackMe("U1", "B1"), b"salt"),
        {
            "type": "block_actions",
            "user": {"id": "U2"},
            "channel": {"id": "C1"},
            "actions": [{"action_id": "heyfleet_approve", "value": "code"}],
        },
    ),
    "telegram message": (
        lambda told: telegram_happening(told, TELEGRAM, TelegramMe(1, "bot")),
        {
            "update_id": 1,
            "message": {
                "message_id": 5,
                "from": {"id": 2, "is_bot": False},
                "chat": {"id": -3, "type": "supergroup"},
                "message_thread_id": 4,
                "is_topic_message": True,
                "text": "@bot hi",
                "entities": [{"type": "text_mention", "user": {"id": 1}}],
                "reply_to_message": {"message_id": 4, "from": {"id": 1}},
                "document": {"file_id": "f", "file_name": "n", "file_size": 1},
                "photo": [{"file_id": "p", "file_size": 1}],
            },
        },
    ),
    "telegram button": (
        lambda told: telegram_happening(told, TELEGRAM, TelegramMe(1, "bot")),
        {
            "update_id": 1,
            "callback_query": {
                "id": "q",
                "from": {"id": 2},
                "data": "a:code",
                "message": {"chat": {"id": -3, "type": "group"}},
            },
        },
    ),
    "discord message": (
        lambda told: said_of(told, ROOM, DISCORD, DiscordMe("1", "2")),
        {
            "id": "5",
            "channel_id": "c",
            "guild_id": "g",
            "author": {"id": "2"},
            "member": {"roles": ["r"]},
            "content": "<@1> hi",
            "mentions": [{"id": "1"}],
            "type": 19,
            "referenced_message": {"id": "4", "author": {"id": "1"}},
            "attachments": [{"id": "a", "filename": "n", "size": 1, "url": "https://x"}],
        },
    ),
    "discord command": (
        lambda told: interaction_of(told, ROOM),
        {
            "id": "9",
            "type": 2,
            "guild_id": "g",
            "member": {"user": {"id": "2"}, "roles": ["r"]},
            "data": {"options": [{"name": "command", "value": "status"}]},
        },
    ),
}
ODD: list[Any] = [None, 7, "x", [], {}, [None], {"id": None}]


def bent(told: Any) -> Iterator[Any]:
    """The event with each of its fields missing, and then with each of them of another shape."""
    for path in paths(told):
        for odd in [..., *ODD]:
            made = copy.deepcopy(told)
            place = made
            for step in path[:-1]:
                place = place[step]
            if odd is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = odd
            yield made


def paths(told: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    for step, below in steps:
        yield (*above, step)
        yield from paths(below, (*above, step))


@pytest.mark.parametrize("name", list(EVENTS))
def test_no_shape_of_an_event_is_an_error(name: str) -> None:
    read, told = EVENTS[name]
    assert read(told) is not None
    found = [understood("a", lambda made=made: read(made)) for made in bent(told)]  # type: ignore[misc]
    assert len(found) > 20
    assert all(each is None or isinstance(each, Happening) for each in found)


def test_what_is_no_fault_of_the_shape_is_not_hidden() -> None:
    def broken() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        understood("a", broken)
