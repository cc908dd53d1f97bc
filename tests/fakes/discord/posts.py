"""The calls for messages: https://docs.discord.com/developers/resources/message"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from tests.fakes.discord import refusals
from tests.fakes.discord.bodies import Ask
from tests.fakes.discord.drafts import EVERYBODY, draft
from tests.fakes.discord.refusals import Form, Refused, invalid
from tests.fakes.discord.routes import route
from tests.fakes.discord.state import State, is_system
from tests.fakes.discord.world import EPHEMERAL, LOADING, REPLY, SUPPRESS_EMBEDS, Channel, Message
from tests.fakes.provider import Answer

# The kinds of channels that take no messages.
CATEGORY, FORUM = 4, 15
MOST_REACTIONS = 20


@route("POST", "/channels/{id}/messages")
def create(fake: State, ask: Ask) -> Answer:
    channel = writable(fake, ask.ids[0])
    payload = ask.object()
    made = draft(fake, ask, payload)
    nonce = payload.get("nonce")
    if before := same_nonce(fake, channel, nonce, bool(payload.get("enforce_nonce"))):
        return Answer(200, made_json(fake, before))
    message = Message(fake.snowflakes.next(), channel, fake.bot, nonce=nonce, flags=made.flags & ~EPHEMERAL)
    made.write(message)
    message.reference = referenced(channel, payload.get("message_reference"))
    message.kind = REPLY if message.reference else message.kind
    fake.set_mentions(message, made.allowed, EVERYBODY)
    if nonce is not None:
        fake.nonces[str(nonce)] = (message, time.monotonic())
    return Answer(200, made_json(fake, fake.add(message)))


def made_json(fake: State, message: Message) -> dict[str, Any]:
    """Here and in MESSAGE_CREATE the nonce is shown; that it is anywhere else is not promised."""
    return {**fake.view(message), **({} if message.nonce is None else {"nonce": message.nonce})}


def writable(fake: State, channel_id: str) -> Channel:
    channel = fake.channel_for_bot(channel_id)
    if channel.kind == FORUM:
        raise Refused(*refusals.NO_MESSAGES_IN_FORUMS)
    if channel.kind == CATEGORY:
        raise Refused(*refusals.NOT_A_TEXT_CHANNEL)
    if not channel.writable:
        raise Refused(*refusals.MISSING_PERMISSIONS)
    if channel.person is not None and not channel.person.takes_dms:
        raise Refused(*refusals.TAKES_NO_DMS)
    return channel


def same_nonce(fake: State, channel: Channel, nonce: Any, enforced: bool) -> Message | None:
    """The message that was made with it a while ago: .../resources/message#create-message (`enforce_nonce`)."""
    before, at = fake.nonces.get(str(nonce), (None, 0.0)) if nonce is not None else (None, 0.0)
    if before is None or not enforced or time.monotonic() - at > fake.nonce_seconds:
        return None
    if before.channel is not channel:
        # Of channels the documentation says nothing: "another message ... by the same author".
        fake.problems.append(f"nonce {nonce} is used in two channels; whether Discord sends both is not documented")
        return None
    if before not in channel.history:
        # On purpose: https://github.com/discord/discord-api-docs/pull/6647
        raise Refused(*refusals.UNKNOWN_MESSAGE)
    return before


def referenced(channel: Channel, reference: Mapping[str, Any] | None) -> str | None:
    """https://docs.discord.com/developers/resources/message#message-reference-structure"""
    if not reference:
        return None
    if reference.get("type"):
        raise invalid("message_reference.type", "BASE_TYPE_CHOICES", "The fake Discord forwards nothing")
    if str(reference.get("channel_id") or channel.id) != channel.id:
        said = "Cannot reply to a message in a different channel"
        raise invalid("message_reference", "REPLIES_CANNOT_REFERENCE_OTHER_CHANNEL", said)
    found = next((one for one in channel.history if one.id == str(reference.get("message_id"))), None)
    if found is None:
        if reference.get("fail_if_not_exists", True):
            raise invalid("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        return None
    if is_system(found):
        said = "Cannot reply to a system message"
        raise invalid("message_reference", "REPLIES_CANNOT_REFERENCE_SYSTEM_MESSAGE", said)
    return found.id


@route("PATCH", "/channels/{id}/messages/{id}")
def edit(fake: State, ask: Ask) -> Answer:
    channel = fake.channel_for_bot(ask.ids[0])
    message = fake.message_in(channel, ask.ids[1])
    if message.author is not fake.bot:
        raise Refused(*refusals.NOT_THE_AUTHOR)
    if channel.archived:
        raise Refused(*refusals.THREAD_IS_ARCHIVED)
    rewrite(fake, ask, message)
    return Answer(200, fake.view(message))


def rewrite(fake: State, ask: Ask, message: Message, default: tuple[str, ...] = EVERYBODY) -> None:
    payload = ask.object()
    made = draft(fake, ask, payload, message)
    made.write(message)
    # What was to come is here.
    message.flags &= ~LOADING
    if "flags" in payload:
        message.flags = message.flags & ~SUPPRESS_EMBEDS | made.flags & SUPPRESS_EMBEDS
    if "content" in payload:
        fake.set_mentions(message, made.allowed, default)
    fake.change(message)


@route("DELETE", "/channels/{id}/messages/{id}")
def delete(fake: State, ask: Ask) -> Answer:
    channel = fake.channel_for_bot(ask.ids[0])
    message = fake.message_in(channel, ask.ids[1])
    if message.author is not fake.bot and channel.guild is None:
        raise Refused(*refusals.NOT_IN_A_DM)
    if message.author is not fake.bot and not channel.managed:
        raise Refused(*refusals.MISSING_PERMISSIONS)
    fake.remove(message)
    return Answer(204)


@route("GET", "/channels/{id}/messages")
def listed(fake: State, ask: Ask) -> Answer:
    """From newest to oldest, whichever way was asked for."""
    channel, query = fake.channel_for_bot(ask.ids[0]), ask.request.query
    places = [name for name in ("around", "before", "after") if name in query]
    form = Form()
    limit = query.get("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= 100:
        form.wrong("limit", "NUMBER_TYPE_MAX", "int value should be less than or equal to 100.")
    for name in places:
        if not query[name].isdigit():
            form.wrong(name, "NUMBER_TYPE_COERCE", f'Value "{query[name]}" is not snowflake.')
    if len(places) > 1:
        form.wrong("", "MUTUALLY_EXCLUSIVE", "before, after and around are mutually exclusive")
    form.check()
    count = int(limit)
    every = [one for one in channel.history if not one.ephemeral]
    match places:
        case ["before"]:
            found = [one for one in every if int(one.id) < int(query["before"])][-count:]
        case ["after"]:
            found = [one for one in every if int(one.id) > int(query["after"])][:count]
        case ["around"]:
            older = [one for one in every if int(one.id) < int(query["around"])]
            first = max(0, len(older) - count // 2)
            found = every[first : first + count]
        case _:
            found = every[-count:]
    return Answer(200, [fake.view(one) for one in reversed(found)])


@route("GET", "/channels/{id}/messages/{id}")
def one(fake: State, ask: Ask) -> Answer:
    return Answer(200, fake.view(fake.message_in(fake.channel_for_bot(ask.ids[0]), ask.ids[1])))


@route("PUT", "/channels/{id}/messages/{id}/reactions/{emoji}/@me")
def react(fake: State, ask: Ask) -> Answer:
    message, emoji = reacting(fake, ask)
    if emoji not in message.reactions and len(message.reactions) >= MOST_REACTIONS:
        raise Refused(*refusals.TOO_MANY_REACTIONS)
    fake.set_reaction(message, fake.bot, emoji)
    return Answer(204)


@route("DELETE", "/channels/{id}/messages/{id}/reactions/{emoji}/@me")
def unreact(fake: State, ask: Ask) -> Answer:
    message, emoji = reacting(fake, ask)
    if fake.bot.id in message.reactions.get(emoji, []):
        fake.set_reaction(message, fake.bot, emoji, add=False)
    return Answer(204)


def reacting(fake: State, ask: Ask) -> tuple[Message, str]:
    channel = fake.channel_for_bot(ask.ids[0])
    message, emoji = fake.message_in(channel, ask.ids[1]), ask.ids[2]
    # One of Unicode, or name:id of the guild's own.
    if emoji.isascii() and not re.fullmatch(r"\w+:\d+", emoji):
        raise Refused(*refusals.UNKNOWN_EMOJI)
    if channel.archived:
        raise Refused(*refusals.THREAD_IS_ARCHIVED)
    return message, emoji


@route("POST", "/channels/{id}/typing")
def typing(fake: State, ask: Ask) -> Answer:
    writable(fake, ask.ids[0])
    return Answer(204)


@route("POST", "/channels/{id}/messages/{id}/threads")
def thread(fake: State, ask: Ask) -> Answer:
    """https://docs.discord.com/developers/resources/channel#start-thread-from-message"""
    channel = fake.channel_for_bot(ask.ids[0])
    message, payload = fake.message_in(channel, ask.ids[1]), ask.object()
    form = Form()
    form.length("name", payload.get("name"), 100, least=1)
    if payload.get("auto_archive_duration") is not None:
        form.choice("auto_archive_duration", payload["auto_archive_duration"], (60, 1440, 4320, 10080))
    form.check()
    if channel.guild is None or channel.is_thread:
        raise Refused(*refusals.NOT_IN_THIS_KIND)
    if is_system(message):
        raise Refused(*refusals.SYSTEM_MESSAGE)
    if not channel.writable:
        raise Refused(*refusals.MISSING_PERMISSIONS)
    if message.thread is not None:
        raise Refused(*refusals.THREAD_IS_THERE)
    return Answer(201, fake.start_thread(message, payload["name"], fake.bot).json())
