"""The changes to what the fake Discord holds, which clients are told of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.registry import Answered, Interaction, Registry, emoji_json
from tests.fakes.discord.sessions import EVERY_INTENT, INTENTS, Session
from tests.fakes.discord.world import HAS_THREAD, REPLY, THREAD_STARTER, Channel, Guild, Message, Person

__all__ = ["Answered", "Interaction", "State", "is_system"]


class State(Registry):
    def __init__(self) -> None:
        super().__init__()
        self.gateway = Gateway(self)

    def dm_with(self, person: Person) -> Channel:
        for channel in self.channels.values():
            if channel.person is person:
                return channel
        made = Channel(self.snowflakes.next(), None, person.name, 1, person=person)
        self.channels[made.id] = made
        return made

    # --- messages

    def add(self, message: Message) -> Message:
        """A new message: kept, and told."""
        channel = message.channel
        channel.history.append(message)
        self.known[message.id] = message
        # A message brings a thread back.
        channel.archived = False
        if not message.ephemeral:
            self.tell_message("MESSAGE_CREATE", message)
        return message

    def change(self, message: Message) -> None:
        message.edited = datetime.now(UTC)
        if not message.ephemeral:
            self.tell_message("MESSAGE_UPDATE", message)

    def remove(self, message: Message) -> None:
        message.channel.history.remove(message)
        self.known.pop(message.id)
        self.deleted.append(message)
        if message.ephemeral:
            return
        self.tell(
            "MESSAGE_DELETE",
            message.channel.guild,
            {"id": message.id, **self.place(message.channel)},
            INTENTS["GUILD_MESSAGES" if message.channel.guild else "DIRECT_MESSAGES"],
        )

    def set_mentions(self, message: Message, allowed: Mapping[str, Any] | None, default: tuple[str, ...]) -> None:
        """https://docs.discord.com/developers/resources/message#allowed-mentions-object"""
        given = allowed if allowed is not None else {"parse": default}
        parse, text = given.get("parse") or [], message.content
        users = dict.fromkeys(re.findall(r"<@!?(\d+)>", text))
        roles = dict.fromkeys(re.findall(r"<@&(\d+)>", text))
        known = {role.id for role in message.channel.guild.roles} if message.channel.guild else set()
        users = {one: None for one in users if "users" in parse or one in map(str, given.get("users") or [])}
        replied = self.referenced(message)
        if replied and message.kind == REPLY and (allowed is None or allowed.get("replied_user")):
            users[replied.author.id] = None
        message.mentions = [self.people[one] for one in users if one in self.people]
        may = set(map(str, given.get("roles") or []))
        message.mention_roles = [one for one in roles if one in known and ("roles" in parse or one in may)]
        message.mention_everyone = "everyone" in parse and bool(re.search("@(everyone|here)", text))

    def set_reaction(self, message: Message, person: Person, emoji: str, *, add: bool = True) -> None:
        people = message.reactions.setdefault(emoji, [])
        if add == (person.id in people):
            return
        (people.append if add else people.remove)(person.id)
        if not people:
            del message.reactions[emoji]
        guild = message.channel.guild
        data = {"user_id": person.id, "message_id": message.id, "emoji": emoji_json(emoji), "burst": False, "type": 0}
        data |= self.place(message.channel) | {"message_author_id": message.author.id}
        if guild and add:
            data["member"] = guild.member(person)
        intent = INTENTS["GUILD_MESSAGE_REACTIONS" if guild else "DIRECT_MESSAGE_REACTIONS"]
        self.tell("MESSAGE_REACTION_ADD" if add else "MESSAGE_REACTION_REMOVE", guild, data, intent)

    def start_thread(self, message: Message, name: str, owner: Person) -> Channel:
        """The thread has the id of its message: .../resources/channel#start-thread-from-message"""
        parent = message.channel
        kind = 10 if parent.kind == 5 else 11
        thread = Channel(message.id, parent.guild, name, kind, parent=parent, owner_id=owner.id)
        message.thread = thread
        message.flags |= HAS_THREAD
        self.add_channel(thread)
        self.tell_message("MESSAGE_UPDATE", message)
        starter = Message(self.snowflakes.next(), thread, message.author, reference=message.id, kind=THREAD_STARTER)
        self.add(starter)
        return thread

    def add_channel(self, channel: Channel) -> None:
        self.channels[channel.id] = channel
        if channel.guild is not None:
            channel.guild.channels.append(channel)
            name = "THREAD_CREATE" if channel.is_thread else "CHANNEL_CREATE"
            fresh = {"newly_created": True} if channel.is_thread else {}
            self.tell(name, channel.guild, {**channel.json(), **fresh}, INTENTS["GUILDS"])

    # --- telling

    def tell(
        self, name: str, guild: Guild | None, data: Mapping[str, Any] | Callable[[Session], Any], intent: int = 0
    ) -> None:
        self.gateway.dispatch(name, guild.id if guild else None, data, intent)

    def tell_message(self, name: str, message: Message) -> None:
        guild = message.channel.guild
        if not message.channel.seen:
            return

        def data(session: Session) -> dict[str, Any]:
            return self.told(message, session.intents, name)

        self.tell(name, guild, data, INTENTS["GUILD_MESSAGES" if guild else "DIRECT_MESSAGES"])

    def told(self, message: Message, intents: int = EVERY_INTENT, name: str = "MESSAGE_CREATE") -> dict[str, Any]:
        """What the gateway tells a session of it that has these intents."""
        guild = message.channel.guild
        shown = self.view(message, intents=intents)
        if name == "MESSAGE_CREATE" and message.nonce is not None:
            shown["nonce"] = message.nonce
        if guild is None:
            return shown
        shown["guild_id"] = guild.id
        # People have a member, webhooks do not.
        if message.webhook_id is None:
            shown["member"] = guild.member(message.author, user=False)
        shown["mentions"] = [{**one.json(), "member": guild.member(one, user=False)} for one in message.mentions]
        return shown


def is_system(message: Message) -> bool:
    """What Discord adds itself, like the first message of a thread."""
    return message.kind == THREAD_STARTER
