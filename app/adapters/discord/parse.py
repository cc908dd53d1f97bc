"""What Discord tells of, as heyfleet understands it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.config.adapters import DiscordAdapter as Settings
from app.errors import Refused
from app.traffic import Happening, Ordered, Pressed, Said, Sender, forwarded

BUTTONS: Mapping[str, tuple[Literal["approve", "deny"], bool]] = {
    "a": ("approve", False),
    "b": ("approve", True),
    "d": ("deny", False),
}
"""Second part of a button's id, which is `heyfleet:LETTER:CODE`."""

SAID = (0, 19)
"""Types of messages that somebody said: by themselves, and as a reply.
https://discord.com/developers/docs/resources/message#message-object-message-types"""
THREADS = (10, 11, 12)
PRIVATE_THREAD = 12
"""https://discord.com/developers/docs/resources/channel#channel-object-channel-types"""
PING, COMMAND, COMPONENT = 1, 2, 3
"""https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-object-interaction-type"""
PONG, SAY, QUIETLY = 1, 4, 6
"""Answers to them; QUIETLY: the button's message stays as it is."""
ONLY_FOR_THEM = 64


@dataclass(frozen=True, slots=True)
class Me:
    """Who the bot is."""

    user: str
    application: str


@dataclass(frozen=True, slots=True)
class Channel:
    """Where something was said: in a channel, or in a thread of it."""

    id: str
    root: str
    """The channel whose people see it: of a private thread itself."""
    thread: bool
    parent: str = ""


def verify(headers: Mapping[str, str], body: bytes, public_key: str) -> None:
    """Raises Refused (401). https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint"""
    try:
        signature = bytes.fromhex(headers.get("X-Signature-Ed25519", ""))
        signed = headers.get("X-Signature-Timestamp", "").encode() + body
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise Refused(
            "the signature is not Discord's: compare public_key with the application's page", status=401
        ) from error


def channel_of(channel: Mapping[str, Any]) -> Channel:
    thread, private = channel.get("type") in THREADS, channel.get("type") == PRIVATE_THREAD
    found, parent = str(channel["id"]), str(channel["parent_id"]) if thread else ""
    return Channel(found, parent if thread and not private else found, thread, parent)


def said_of(message: Mapping[str, Any], place: Channel, settings: Settings, me: Me) -> Said | None:
    """What a MESSAGE_CREATE tells of. https://discord.com/developers/docs/events/gateway-events#message-create"""
    author, dm = message["author"], "guild_id" not in message
    if author["id"] == me.user or message.get("type", 0) not in SAID:
        return None
    shares = [snapshot.get("message") or {} for snapshot in message.get("message_snapshots") or ()]
    text, quoted = str(message.get("content") or ""), "\n\n".join(filter(None, map(quoted_of, shares)))
    files = [file_of(file) for one in (message, *shares) for file in one.get("attachments") or ()]
    if not (text or files or quoted):
        return None
    answered = message.get("referenced_message") or {}
    to_us = (answered.get("author") or {}).get("id") == me.user
    flat = not dm and not place.thread
    return Said(
        sender=Sender(str(author["id"]), roles_of(message), bool(author.get("bot") or message.get("webhook_id"))),
        channel=place.root,
        parent=place.parent,
        text=re.sub(rf"^\s*<@!?{me.user}>[\s:,]*", "", text).strip(),
        event_key=f"message {message['id']}",
        key=f"{place.id} m{message['id']}" if flat else place.id,
        reply=reply_of(message, place, settings, flat=flat),
        dm=dm,
        meant=to_us or any(user["id"] == me.user for user in message.get("mentions") or ()),
        in_thread=place.thread,
        flat=flat,
        answers=f"{place.id} {answered['id']}" if to_us else "",
        answered_at=place.id,
        files=files,
        quoted=quoted,
    )


def quoted_of(share: Mapping[str, Any]) -> str:
    """A message that was forwarded. https://discord.com/developers/docs/resources/message#message-snapshot-object"""
    text = str(share.get("content") or "")
    return forwarded("somebody", text) if text else ""


def roles_of(happened: Mapping[str, Any]) -> list[str]:
    return [str(role) for role in (happened.get("member") or {}).get("roles") or ()]


def reply_of(message: Mapping[str, Any], place: Channel, settings: Settings, *, flat: bool) -> dict[str, Any]:
    placement = settings.response.placement
    found = {"channel": place.id, "message": message["id"]}
    answers = placement == "reply" or (placement == "auto" and flat)
    return {**found, "answers": message["id"]} if answers else found


def file_of(file: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(file.get("filename") or file["id"]),
        "media_type": str(file.get("content_type") or "application/octet-stream").partition(";")[0],
        "size": int(file.get("size") or 0),
        "source": {"id": file["id"], "url": file["url"]},
    }


def interaction_of(interaction: Mapping[str, Any], place: Channel) -> Happening | None:
    """A command or a button of ours. https://discord.com/developers/docs/interactions/receiving-and-responding"""
    user = interaction.get("user") or (interaction.get("member") or {}).get("user") or {}
    sender = Sender(str(user.get("id") or ""), roles_of(interaction), bool(user.get("bot")))
    dm = "guild_id" not in interaction
    data = interaction.get("data") or {}
    match interaction.get("type"), str(data.get("custom_id") or "").split(":"):
        case (3, ["heyfleet", letter, code]) if letter in BUTTONS:
            decision, bypass = BUTTONS[letter]
            return Pressed(sender, place.root, code, decision, bypass, dm, place.parent)
        case (2, _):
            options = {str(option.get("name")): option.get("value") for option in data.get("options") or ()}
            return Ordered(
                sender=sender,
                channel=place.root,
                parent=place.parent,
                text=str(options.get("command") or "").strip(),
                event_key=f"interaction {interaction['id']}",
                key=place.id,
                reply={"channel": place.id},
                dm=dm,
            )
        case _:
            return None


def answer_of(interaction: Mapping[str, Any], say: str, otherwise: str) -> dict[str, Any]:
    """What an interaction is answered with; `otherwise`: what a command is where there is nothing to say."""
    if interaction.get("type") == PING:
        return {"type": PONG}
    text = say or (otherwise if interaction.get("type") == COMMAND else "")
    if not text:
        return {"type": QUIETLY}
    return {"type": SAY, "data": {**shown_to_them(text), "flags": ONLY_FOR_THEM}}


def shown_to_them(text: str) -> dict[str, Any]:
    """A text of ours as a message, in which nobody is mentioned."""
    return {"content": text if len(text) <= 2000 else f"{text[:1999]}…", "allowed_mentions": {"parse": []}}
