"""What Discord tells of messages, as the agent reads it."""

from __future__ import annotations

from app.adapters.discord.api import Refusal, refusal
from app.adapters.discord.parse import Channel, Me, said_of
from app.config.adapters import DiscordAdapter as Settings
from app.results import Retry
from app.traffic import EVERYWHERE

SETTINGS = Settings.model_validate({"kind": "discord", "name": "d", "bot_token": "b"})


def test_a_forwarded_message_is_quoted_with_its_files() -> None:
    file = {"id": "9", "filename": "a.log", "content_type": "text/plain", "size": 3, "url": "https://cdn/a.log"}
    snapshot = {"message": {"content": "it broke", "attachments": [file]}}
    message = {"id": "5", "author": {"id": "2"}, "content": "", "message_snapshots": [snapshot]}
    found = said_of(message, Channel("c", "c", thread=False), SETTINGS, Me("1", "1"))
    assert found is not None
    assert (found.text, found.quoted) == ("", "Forwarded message from somebody:\n> it broke")
    assert [file["name"] for file in found.files] == ["a.log"]


def test_a_429_of_what_stands_before_discord_holds_for_everything() -> None:
    assert refusal(Refusal(429, {}, "600"), "c") == Retry("429: too many requests", 600.0, pauses=EVERYWHERE)
    assert refusal(Refusal(429, {"retry_after": 2.5}, "3"), "c") == Retry("429: too many requests", 2.5, pauses="c")
