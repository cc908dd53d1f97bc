"""What Telegram tells of messages, as the agent reads it."""

from __future__ import annotations

from typing import Any

import pytest

from app.adapters.telegram.parse import Me, happening_of
from app.config.adapters import TelegramAdapter as Settings
from app.traffic import Said, Sender

SETTINGS = Settings.model_validate({"kind": "telegram", "name": "t", "bot_token": "1:a"})
GROUP = {"id": -3, "type": "supergroup"}


def heard(**message: Any) -> Said | None:
    whole = {"message_id": 5, "from": {"id": 2, "is_bot": False}, "chat": GROUP, **message}
    found = happening_of({"update_id": 1, "message": whole}, SETTINGS, Me(1, "bot"))
    assert found is None or isinstance(found, Said)
    return found


def said(**message: Any) -> Said:
    found = heard(**message)
    assert found is not None
    return found


def test_what_a_channel_posts_is_said_by_nobody_in_its_discussion_group() -> None:
    channel = {"id": -100, "type": "channel"}
    sender = {"from": {"id": 777000, "is_bot": False}, "sender_chat": channel}
    assert heard(text="news", is_automatic_forward=True, **sender) is None


def test_who_speaks_as_a_chat_counts_as_a_bot_of_that_chat_s_id() -> None:
    anonymous = {"from": {"id": 1087968824, "is_bot": True}, "sender_chat": GROUP}
    assert said(text="hi", **anonymous).sender == Sender("-3", bot=True)
    channel = {"from": {"id": 136817688, "is_bot": False}, "sender_chat": {"id": -100, "type": "channel"}}
    assert said(text="hi", **channel).sender == Sender("-100", bot=True)
    assert said(text="hi").sender == Sender("2")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"location": {"latitude": 52.5, "longitude": 13.4}}, "(a location: 52.5, 13.4)"),
        (
            {"location": {"latitude": 1, "longitude": 2}, "venue": {"title": "Café", "address": "Street 1"}},
            "(a place: Café, Street 1)",
        ),
        (
            {"contact": {"first_name": "Ada", "last_name": "L", "phone_number": "+44 1"}},
            "(a contact: Ada L +44 1)",
        ),
        ({"poll": {"question": "Now?", "options": [{"text": "yes"}, {"text": "no"}]}}, "(a poll: Now? yes; no)"),
    ],
)
def test_what_is_neither_text_nor_file_is_told_in_words(message: dict[str, Any], text: str) -> None:
    assert said(**message).text == text


@pytest.mark.parametrize(
    ("message", "name", "media_type"),
    [
        ({"video_note": {"file_id": "f", "file_size": 3}}, "video_note-5.mp4", "video/mp4"),
        ({"sticker": {"file_id": "f", "file_size": 3}}, "sticker-5", "application/octet-stream"),
    ],
)
def test_round_videos_and_stickers_are_files(message: dict[str, Any], name: str, media_type: str) -> None:
    (file,) = said(**message).files
    assert (file["name"], file["media_type"]) == (name, media_type)


def test_pictures_that_were_sent_at_once_are_known_as_one_album() -> None:
    photo = [{"file_id": "f", "file_size": 3}]
    assert said(photo=photo, media_group_id="77").album == "77"
    assert said(photo=photo).album == ""
