"""The calls that look up the bot itself, guilds, channels and members, and the one that opens a DM."""

from __future__ import annotations

from typing import Any

from tests.fakes.discord import refusals
from tests.fakes.discord.bodies import Ask
from tests.fakes.discord.refusals import Refused
from tests.fakes.discord.routes import route
from tests.fakes.discord.state import State
from tests.fakes.provider import Answer

# https://docs.discord.com/developers/events/gateway#session-start-limit-object
STARTS_A_DAY, DAY_MS = 1000, 86_400_000
PERMISSIONS = str(1 << 10 | 1 << 11)


@route("GET", "/gateway/bot")
def gateway(fake: State, _: Ask) -> Answer:
    left = fake.gateway.remaining
    remaining = STARTS_A_DAY - fake.gateway.identified if left is None else left
    limit = {"total": STARTS_A_DAY, "remaining": remaining, "reset_after": DAY_MS}
    limit["max_concurrency"] = fake.gateway.max_concurrency
    return Answer(200, {"url": fake.gateway.url, "shards": 1, "session_start_limit": limit})


@route("GET", "/users/@me")
def me(fake: State, _: Ask) -> Answer:
    return Answer(200, {**fake.bot.json(), "verified": True, "mfa_enabled": False, "email": None, "locale": "en-US"})


@route("GET", "/applications/@me")
@route("GET", "/oauth2/applications/@me")
def application(fake: State, _: Ask) -> Answer:
    """`verify_key` is what interactions are signed with: .../resources/application#application-object"""
    shown: dict[str, Any] = {"id": fake.application_id, "name": fake.bot.name, "verify_key": fake.public_key}
    shown |= {"bot": fake.bot.json(), "flags": 0, "bot_public": True, "bot_require_code_grant": False}
    return Answer(200, {**shown, "description": "", "interactions_endpoint_url": fake.interactions_url})


@route("POST", "/users/@me/channels")
def open_dm(fake: State, ask: Ask) -> Answer:
    person = fake.people.get(str(ask.object().get("recipient_id")))
    if person is None or person is fake.bot:
        raise Refused(*refusals.INVALID_RECIPIENT)
    return Answer(200, fake.dm_with(person).json())


@route("GET", "/users/@me/guilds")
def guilds(fake: State, _: Ask) -> Answer:
    more: dict[str, Any] = {"icon": None, "owner": False, "permissions": PERMISSIONS, "features": []}
    return Answer(200, [{"id": guild.id, "name": guild.name, **more} for guild in fake.guilds])


@route("GET", "/guilds/{id}")
def guild(fake: State, ask: Ask) -> Answer:
    return Answer(200, fake.guild_for_bot(ask.ids[0]).json())


@route("GET", "/guilds/{id}/channels")
def channels(fake: State, ask: Ask) -> Answer:
    """Without threads."""
    found = fake.guild_for_bot(ask.ids[0]).channels
    return Answer(200, [channel.json() for channel in found if not channel.is_thread])


@route("GET", "/guilds/{id}/roles")
def roles(fake: State, ask: Ask) -> Answer:
    return Answer(200, [role.json() for role in fake.guild_for_bot(ask.ids[0]).roles])


@route("GET", "/guilds/{id}/members/{id}")
def member(fake: State, ask: Ask) -> Answer:
    found, person = fake.guild_for_bot(ask.ids[0]), fake.people.get(ask.ids[1])
    if person is None or person.id in found.left:
        raise Refused(*refusals.UNKNOWN_MEMBER)
    return Answer(200, found.member(person))


@route("GET", "/channels/{id}")
def channel(fake: State, ask: Ask) -> Answer:
    return Answer(200, fake.channel_for_bot(ask.ids[0]).json())
