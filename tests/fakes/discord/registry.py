"""What the fake Discord holds, and how it looks to the bot."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fakes.discord import refusals
from tests.fakes.discord.limits import Limits
from tests.fakes.discord.refusals import Refused
from tests.fakes.discord.sessions import INTENTS, PRIVILEGED
from tests.fakes.discord.world import (
    Attachment,
    Channel,
    Guild,
    Message,
    Person,
    Snowflakes,
    made_at,
    shown_time,
)
from tests.fakes.provider import FakeProvider, Request


@dataclass(eq=False)
class Interaction:
    """Somebody used a command or pressed a button."""

    id: str
    token: str
    type: int
    person: Person
    channel: Channel
    data: dict[str, Any]
    message: Message | None = None
    """The one with the button."""
    at: float = field(default_factory=time.monotonic)
    answered: int | None = None
    """The type of its answer."""
    failed: bool = False
    """No answer came in time; the person was told so."""
    original: Message | None = None
    """What `@original` is."""


@dataclass(frozen=True)
class Answered:
    """One answer to an interaction that was taken."""

    interaction: Interaction
    type: int
    data: Mapping[str, Any]
    how: str
    """"http": in the response; "callback": by a call."""
    seconds: float


class Registry(FakeProvider):
    def __init__(self) -> None:
        super().__init__()
        self.snowflakes = Snowflakes()
        self.application_id = self.snowflakes.next()
        # Not the application's id: that they are the same for most bots is not promised anywhere.
        self.bot = Person(self.snowflakes.next(), "Fleet", bot=True)
        self.token = f"{self.bot.id}.fake.{hashlib.sha256(self.bot.id.encode()).hexdigest()[:27]}"
        self.key = Ed25519PrivateKey.generate()
        self.guilds: list[Guild] = []
        self.channels: dict[str, Channel] = {}
        self.people: dict[str, Person] = {self.bot.id: self.bot}
        self.commands: dict[str, list[dict[str, Any]]] = {}
        """By the guild's id; "" are those for everywhere."""
        self.interactions: dict[str, Interaction] = {}
        """By token."""
        self.interaction_answers: list[Answered] = []
        self.interactions_url: str | None = None
        """Where interactions are sent; None: over the gateway. Never both, as in Discord."""
        self.deleted: list[Message] = []
        self.violations: list[str] = []
        """Each limit that was overstepped."""
        self.lenient = False
        """True: no limit is kept, none noted."""
        self.limits = Limits()
        self.privileged = PRIVILEGED
        """Those privileged intents that are switched on for the application."""
        self.nonce_seconds = 300.0
        self.answer_seconds = 3.0
        self.token_seconds = 900.0
        self.attachment_seconds = 86_400.0
        # https://docs.discord.com/developers/reference#uploading-files
        self.largest_file = 20 * 1024 * 1024
        self.known: dict[str, Message] = {}
        """Every message that is not deleted, by its id."""
        self.nonces: dict[str, tuple[Message, float]] = {}

    @property
    def public_key(self) -> str:
        """In hex, as the developer portal shows it."""
        return self.key.public_key().public_bytes_raw().hex()

    def violated(self, what: str) -> None:
        self.violations.append(what)

    # --- what the bot may reach

    def guild_for_bot(self, guild_id: str) -> Guild:
        found = next((guild for guild in self.guilds if guild.id == guild_id), None)
        if found is None:
            raise Refused(*refusals.UNKNOWN_GUILD)
        return found

    def channel_for_bot(self, channel_id: str) -> Channel:
        channel = self.channels.get(channel_id)
        if channel is None:
            raise Refused(*refusals.UNKNOWN_CHANNEL)
        if not channel.seen:
            raise Refused(*refusals.MISSING_ACCESS)
        return channel

    def message_in(self, channel: Channel, message_id: str) -> Message:
        found = self.known.get(message_id)
        if found is None or found.channel is not channel or found.ephemeral:
            raise Refused(*refusals.UNKNOWN_MESSAGE)
        return found

    def referenced(self, message: Message) -> Message | None:
        return self.known.get(message.reference) if message.reference else None

    # --- how messages look

    def place(self, channel: Channel) -> dict[str, Any]:
        return {"channel_id": channel.id, **({"guild_id": channel.guild.id} if channel.guild else {})}

    def json_of(self, message: Message, *, content: bool = True, nested: bool = True) -> dict[str, Any]:
        """As the API answers; `content=False`: for who may not read it."""
        shown: dict[str, Any] = {
            "id": message.id,
            "channel_id": message.channel.id,
            "type": message.kind,
            "author": message.author.json(),
            "content": message.content if content else "",
            "embeds": [{"type": "rich", **one} for one in message.embeds] if content else [],
            "components": message.components if content else [],
            "attachments": [one.json(self.url_of(message, one)) for one in message.attachments] if content else [],
            "timestamp": made_at(message.id),
            "edited_timestamp": shown_time(message.edited) if message.edited else None,
            "mentions": [person.json() for person in message.mentions],
            "mention_roles": message.mention_roles,
            "mention_everyone": message.mention_everyone,
            "pinned": False,
            "tts": False,
            "flags": message.flags,
        }
        if message.reactions:
            shown["reactions"] = [self.reaction_json(emoji, ids) for emoji, ids in message.reactions.items()]
        optional = {
            "webhook_id": message.webhook_id,
            "interaction_metadata": message.interaction,
        }
        shown |= {name: value for name, value in optional.items() if value is not None}
        if message.thread is not None:
            shown["thread"] = message.thread.json()
        if message.reference is not None:
            referenced = self.referenced(message)
            place = self.place(referenced.channel if referenced else message.channel)
            shown["message_reference"] = {"type": 0, "message_id": message.reference, **place}
            if nested:
                shown["referenced_message"] = self.view(referenced, nested=False) if referenced else None
        return shown

    def view(self, message: Message, *, intents: int | None = None, nested: bool = True) -> dict[str, Any]:
        """As the bot may see it: https://docs.discord.com/developers/events/gateway#message-content-intent

        Over HTTP that depends on what is switched on for the application, over the gateway on what was asked for.
        """
        given = self.privileged if intents is None else intents
        mine = message.author is self.bot or message.channel.guild is None or self.bot in message.mentions
        shown = self.json_of(message, content=mine or bool(given & INTENTS["MESSAGE_CONTENT"]), nested=nested)
        referenced = self.referenced(message) if nested else None
        if referenced is not None:
            shown["referenced_message"] = self.view(referenced, intents=intents, nested=False)
        return shown

    def reaction_json(self, emoji: str, ids: list[str]) -> dict[str, Any]:
        counts = {"count": len(ids), "count_details": {"burst": 0, "normal": len(ids)}, "burst_colors": []}
        return {**counts, "me": self.bot.id in ids, "me_burst": False, "emoji": emoji_json(emoji)}

    def url_of(self, message: Message, attachment: Attachment) -> str:
        """Signed, and good for a while: https://docs.discord.com/developers/reference#signed-attachment-cdn-urls"""
        path = f"/attachments/{message.channel.id}/{attachment.id}/{quote(attachment.filename)}"
        issued, expires = f"{int(time.time()):x}", f"{int(time.time() + self.attachment_seconds):x}"
        return f"{self.origin}{path}?ex={expires}&is={issued}&hm={self.mark(path, expires, issued)}&"

    def mark(self, path: str, expires: str, issued: str) -> str:
        return hmac.new(self.token.encode(), f"{path} {expires} {issued}".encode(), hashlib.sha256).hexdigest()

    def download(self, request: Request) -> Attachment | None:
        """The file at that URL, if its signature is good and not too old."""
        expires, issued = request.query.get("ex", "0"), request.query.get("is", "0")
        if not hmac.compare_digest(self.mark(request.path, expires, issued), request.query.get("hm", "")):
            return None
        if int(expires, 16) < time.time():
            return None
        every = (one for message in self.known.values() for one in message.attachments)
        return next((one for one in every if one.id == request.path.split("/")[3]), None)

    def guild_create(self, guild: Guild) -> dict[str, Any]:
        """https://docs.discord.com/developers/events/gateway-events#guild-create"""
        channels = [one for one in guild.channels if one.seen]
        return {
            **guild.json(),
            "unavailable": False,
            "large": False,
            "member_count": len(self.people) - len(guild.left),
            "members": [guild.member(self.bot)],
            "channels": [one.json() for one in channels if not one.is_thread],
            "threads": [one.json() for one in channels if one.is_thread and not one.archived],
            "voice_states": [],
            "presences": [],
        }


def emoji_json(emoji: str) -> dict[str, Any]:
    name, _, custom = emoji.partition(":")
    return {"id": custom or None, "name": name}
