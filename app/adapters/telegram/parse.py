"""What Telegram tells of, as heyfleet understands it. Pure. https://core.telegram.org/bots/api#update"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Literal

from app.config.adapters import TelegramAdapter as Settings
from app.errors import Refused
from app.traffic import Happening, Pressed, Said, Sender

BUTTONS: Mapping[str, tuple[Literal["approve", "deny"], bool]] = {
    "a": ("approve", False),
    "b": ("approve", True),
    "d": ("deny", False),
}
"""First letter of a button's data, which can hold 64 bytes."""

FILES = (
    ("document", "", "application/octet-stream"),
    ("audio", "", "application/octet-stream"),
    ("video", "", "application/octet-stream"),
    ("voice", "", "application/octet-stream"),
    ("video_note", ".mp4", "video/mp4"),
    ("sticker", "", "application/octet-stream"),
)
"""Where a message has a file, with the ending and the type of those that have neither."""
UPDATES = ("message", "callback_query")
"""What the bot is told of."""


class Me:
    """Who the bot is, as `getMe` says."""

    def __init__(self, user: int, username: str) -> None:
        self.user = user
        self.username = username


def webhook_secret(settings: Settings) -> str:
    """What Telegram sends with each update: the configured one, else one that follows from the token."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret.get_secret_value()
    token = settings.bot_token.get_secret_value().encode()
    return hmac.new(token, b"heyfleet webhook", hashlib.sha256).hexdigest()


def verify(offered: str, settings: Settings) -> None:
    """Raises Refused (401)."""
    if not hmac.compare_digest(offered.encode(), webhook_secret(settings).encode()):
        raise Refused(
            "the secret token is not the one of this adapter: "
            f"run heyfleet telegram set-webhook --adapter {settings.name} --url https://HOST",
            status=401,
        )


def happening_of(update: Mapping[str, Any], settings: Settings, me: Me) -> Happening | None:
    """What an update tells of; None where it is of no interest."""
    if "callback_query" in update:
        return pressed_of(update["callback_query"])
    message = update.get("message")
    return said_of(update, message, settings, me) if message is not None else None


def said_of(update: Mapping[str, Any], message: Mapping[str, Any], settings: Settings, me: Me) -> Said | None:
    sender, chat = message.get("from"), message["chat"]
    text, files = message.get("text") or message.get("caption") or "", files_of(message)
    if not (text or files):
        text = described(message)
    # What is posted in a channel comes into its discussion group by itself: nobody says it there.
    if sender is None or sender["id"] == me.user or not (text or files) or message.get("is_automatic_forward"):
        return None
    dm = chat["type"] == "private"
    topic = message.get("message_thread_id") if message.get("is_topic_message") else None
    # What answers nothing in a topic still refers to the message that the topic began with.
    answered = message.get("reply_to_message") or {}
    to_us = (answered.get("from") or {}).get("id") == me.user and "forum_topic_created" not in answered
    said, meant = directed(text, message, settings, me)
    return Said(
        sender=sender_of(message),
        channel=str(chat["id"]),
        text=said,
        event_key=f"update {update['update_id']}",
        key=key_of(str(chat["id"]), topic, message, dm=dm),
        reply=reply_of(chat, topic, message, settings, dm=dm),
        dm=dm,
        meant=meant or to_us,
        in_thread=topic is not None,
        flat=not dm and topic is None,
        answers=f"{chat['id']} {answered['message_id']}" if to_us else "",
        answered_at=f"{chat['id']} {topic}" if topic is not None else str(chat["id"]),
        files=files,
        album=str(message.get("media_group_id") or ""),
    )


def sender_of(message: Mapping[str, Any]) -> Sender:
    """Who speaks as a chat (a channel, an anonymous admin) can't be told from others who do: that counts as a bot's,
    with the id of the chat. https://core.telegram.org/bots/api#message"""
    chat, person = message.get("sender_chat"), message["from"]
    return Sender(str(chat["id"]), bot=True) if chat else Sender(str(person["id"]), bot=bool(person.get("is_bot")))


def described(message: Mapping[str, Any]) -> str:
    """What is neither text nor file, in words."""
    place, contact, poll = message.get("location"), message.get("contact"), message.get("poll")
    if message.get("venue"):
        return f"(a place: {message['venue'].get('title')}, {message['venue'].get('address')})"
    if place:
        return f"(a location: {place['latitude']}, {place['longitude']})"
    if contact:
        return f"(a contact: {contact.get('first_name')} {contact.get('last_name') or ''} {contact['phone_number']})"
    if poll:
        options = "; ".join(str(option["text"]) for option in poll.get("options") or ())
        return f"(a poll: {poll['question']} {options})"
    return ""


def key_of(chat: str, topic: int | None, message: Mapping[str, Any], *, dm: bool) -> str:
    """A private chat and a topic are a conversation each; in a group each message begins one."""
    if topic is not None:
        return f"{chat} {topic}"
    # Pictures that are sent at once are one thing that is said.
    return chat if dm else f"{chat} m{message.get('media_group_id') or message['message_id']}"


def reply_of(
    chat: Mapping[str, Any], topic: int | None, message: Mapping[str, Any], settings: Settings, *, dm: bool
) -> dict[str, Any]:
    placement = settings.response.placement
    answers = placement == "reply" or (placement == "auto" and not dm and topic is None)
    found = {"chat": chat["id"], "topic": topic, "message": message["message_id"]}
    return {**found, "answers": message["message_id"]} if answers else found


def directed(text: str, message: Mapping[str, Any], settings: Settings, me: Me) -> tuple[str, bool]:
    """The text without the bot's name and command at its beginning, and whether it is named at all."""
    entities = message.get("entities") or message.get("caption_entities") or ()
    named = any(entity.get("type") == "text_mention" and entity["user"]["id"] == me.user for entity in entities)
    name = re.escape(me.username)
    mention = re.search(rf"(?<!\w)@{name}(?!\w)", text, re.IGNORECASE)
    said = re.sub(rf"^\s*@{name}(?!\w)[\s:,]*", "", text, flags=re.IGNORECASE)
    command = re.match(rf"\s*/(\w+)(@{name})?(?=\s|$)", said, re.IGNORECASE)
    if command is None:
        return said.strip(), named or mention is not None
    if command[1].lower() == settings.command:
        return said[command.end() :].strip(), True
    # `/status@bot` is `/status`, which a private chat takes as it is.
    return (f"/{command[1]}{said[command.end() :]}".strip(), True) if command[2] else (said.strip(), named)


def files_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """https://core.telegram.org/bots/api#photosize: of a photo the largest size, which comes last."""
    found: list[dict[str, Any]] = []
    if message.get("photo"):
        photo = message["photo"][-1]
        found.append(file_of(photo, f"photo-{message['message_id']}.jpg", "image/jpeg"))
    for kind, ending, media_type in FILES:
        file = message.get(kind)
        if file is not None:
            name = str(file.get("file_name") or f"{kind}-{message['message_id']}{ending}")
            found.append(file_of(file, name, str(file.get("mime_type") or media_type)))
    return found


def file_of(file: Mapping[str, Any], name: str, media_type: str) -> dict[str, Any]:
    size = int(file.get("file_size") or 0)
    return {"name": name, "media_type": media_type, "size": size, "source": {"id": file["file_id"]}}


def pressed_of(query: Mapping[str, Any]) -> Pressed | None:
    """https://core.telegram.org/bots/api#callbackquery"""
    letter, _, code = str(query.get("data") or "").partition(":")
    chat = (query.get("message") or {}).get("chat")
    if letter not in BUTTONS or chat is None:
        return None
    decision, bypass = BUTTONS[letter]
    return Pressed(
        sender=Sender(str(query["from"]["id"]), bot=bool(query["from"].get("is_bot"))),
        channel=str(chat["id"]),
        approval=code,
        decision=decision,
        bypass=bypass,
        dm=chat["type"] == "private",
    )
