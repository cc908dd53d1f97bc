"""What there is in the fake Discord: guilds, channels, people, messages, and how they look as JSON."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# https://docs.discord.com/developers/reference#snowflakes
EPOCH_MS = 1_420_070_400_000
# https://docs.discord.com/developers/resources/channel#channel-object-channel-types
KINDS = {
    "text": 0,
    "dm": 1,
    "voice": 2,
    "category": 4,
    "announcement": 5,
    "announcement-thread": 10,
    "thread": 11,
    "private-thread": 12,
    "forum": 15,
}
THREADS = {10, 11, 12}
# https://docs.discord.com/developers/resources/message#message-object-message-types
PLAIN, REPLY, COMMAND_ANSWER, THREAD_STARTER = 0, 19, 20, 21
# https://docs.discord.com/developers/resources/message#message-object-message-flags
SUPPRESS_EMBEDS, HAS_THREAD, EPHEMERAL, LOADING = 1 << 2, 1 << 5, 1 << 6, 1 << 7
SUPPRESS_NOTIFICATIONS, COMPONENTS_V2 = 1 << 12, 1 << 15
# https://docs.discord.com/developers/topics/permissions: view, send, embed links, attach, read history, add
# reactions, use commands, create public threads, send in threads.
MAY_SEE, MAY_SEND = 1 << 10, 1 << 11
MAY_THE_REST = 1 << 6 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 31 | 1 << 35 | 1 << 38


class Snowflakes:
    """Ids that grow with time, and of which no two are alike."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, int(time.time() * 1000) - EPOCH_MS << 22)
            return str(self._last)


def made_at(snowflake: str) -> str:
    return shown_time(datetime.fromtimestamp(((int(snowflake) >> 22) + EPOCH_MS) / 1000, UTC))


def shown_time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


@dataclass(eq=False)
class Role:
    id: str
    guild: Guild
    name: str

    def json(self) -> dict[str, Any]:
        more = {"hoist": False, "managed": False, "mentionable": True, "flags": 0, "color": 0}
        position = self.guild.roles.index(self)
        return {"id": self.id, "name": self.name, "permissions": str(MAY_SEE), "position": position, **more}


@dataclass(eq=False)
class Person:
    id: str
    name: str
    bot: bool = False
    roles: list[Role] = field(default_factory=list)
    takes_dms: bool = True
    """False: the bot cannot write to them (50007)."""

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"

    def json(self) -> dict[str, Any]:
        shown = {"id": self.id, "username": self.name.lower(), "global_name": self.name, "discriminator": "0"}
        return {**shown, "avatar": None, "public_flags": 0, **({"bot": True} if self.bot else {})}


@dataclass(eq=False)
class Guild:
    id: str
    name: str
    roles: list[Role] = field(default_factory=list)
    """The first is @everyone, with the guild's own id."""
    channels: list[Channel] = field(default_factory=list)
    """Threads too."""
    left: set[str] = field(default_factory=set)
    """Ids of people who are no members; everybody else is."""

    def json(self) -> dict[str, Any]:
        roles = [role.json() for role in self.roles]
        more = {"emojis": [], "stickers": [], "features": [], "preferred_locale": "en-US", "owner_id": "1"}
        return {"id": self.id, "name": self.name, "icon": None, "roles": roles, **more}

    def member(self, person: Person, *, user: bool = True) -> dict[str, Any]:
        roles = [role.id for role in person.roles if role.guild is self]
        more = {"nick": None, "joined_at": made_at(self.id), "deaf": False, "mute": False, "flags": 0}
        return {**({"user": person.json()} if user else {}), "roles": roles, **more}


@dataclass(eq=False)
class Channel:
    id: str
    guild: Guild | None
    name: str
    kind: int
    parent: Channel | None = None
    person: Person | None = None
    """Of a DM: the other one."""
    history: list[Message] = field(default_factory=list)
    """With what Discord adds itself; `fake.messages` is without."""
    seen: bool = True
    """False: the bot may not see it (50001)."""
    writable: bool = True
    """False: the bot may not send (50013)."""
    managed: bool = False
    """True: the bot may delete what others wrote."""
    archived: bool = False
    owner_id: str = ""

    @property
    def is_thread(self) -> bool:
        return self.kind in THREADS

    def permissions(self) -> str:
        return str((MAY_SEE if self.seen else 0) | (MAY_SEND if self.writable else 0) | MAY_THE_REST)

    def json(self) -> dict[str, Any]:
        last = self.history[-1].id if self.history else None
        shown: dict[str, Any] = {"id": self.id, "type": self.kind, "last_message_id": last, "flags": 0}
        if self.guild is None:
            return {**shown, "recipients": [self.person.json()] if self.person else []}
        shown |= {"guild_id": self.guild.id, "name": self.name, "parent_id": self.parent.id if self.parent else None}
        if not self.is_thread:
            return {**shown, "position": 0, "topic": None, "nsfw": False, "permission_overwrites": []}
        meta: dict[str, Any] = {"archived": self.archived, "locked": False, "auto_archive_duration": 1440}
        meta["archive_timestamp"] = made_at(self.id)
        count = len(self.history)
        counts = {"message_count": count, "total_message_sent": count, "member_count": 1}
        return {**shown, **counts, "owner_id": self.owner_id, "thread_metadata": meta}


@dataclass(eq=False)
class Attachment:
    id: str
    filename: str
    content: bytes
    content_type: str
    description: str | None = None

    def json(self, url: str) -> dict[str, Any]:
        shown = {"id": self.id, "filename": self.filename, "size": len(self.content), "url": url, "proxy_url": url}
        described = {"description": self.description} if self.description else {}
        return {**shown, "content_type": self.content_type, **described}


@dataclass(eq=False)
class Message:
    id: str
    channel: Channel
    author: Person
    content: str = ""
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    reference: str | None = None
    """The id of the message it replies to."""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    """Ids of people by emoji."""
    edited: datetime | None = None
    nonce: str | int | None = None
    thread: Channel | None = None
    kind: int = PLAIN
    flags: int = 0
    mentions: list[Person] = field(default_factory=list)
    mention_roles: list[str] = field(default_factory=list)
    mention_everyone: bool = False
    webhook_id: str | None = None
    interaction: dict[str, Any] | None = None
    """What the interaction that it answers looks like in it."""

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    @property
    def loading(self) -> bool:
        """The bot is "thinking": a deferred answer."""
        return bool(self.flags & LOADING)

    def buttons(self) -> list[dict[str, Any]]:
        """Each component inside its rows."""
        return [component for row in self.components for component in row.get("components", [])]
