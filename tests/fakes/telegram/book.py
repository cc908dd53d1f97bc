"""Everything that this Telegram knows: people, chats, messages, files, pressed buttons."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.telegram.model import Chat, File, Message, Person
from tests.fakes.telegram.parameters import Parameters
from tests.fakes.telegram.refusals import Refusal, bad_request

# Ids need more than 32 bits: https://core.telegram.org/bots/api#user.
FIRST_PERSON = 7_100_000_001
FIRST_GROUP = 5_020_000_001
FIRST_SUPERGROUP = 1_003_500_000_001
"""Negated: -100 and the supergroup's own number."""


@dataclass
class Query:
    """A pressed button that waits for its answer."""

    at: float
    answers: list[dict[str, object]] = field(default_factory=list)


class Book:
    def __init__(self, bot: Person) -> None:
        self.bot = bot
        self.people: dict[int, Person] = {bot.id: bot}
        self.chats: dict[int, Chat] = {}
        self.files: dict[str, File] = {}
        self.queries: dict[str, Query] = {}
        self.deleted: list[Message] = []
        self.actions: list[tuple[int, str, int | None]] = []
        """(chat, action, topic) of each sendChatAction."""
        self._person_ids = itertools.count(FIRST_PERSON)
        self._group_ids = itertools.count(FIRST_GROUP)
        self._supergroup_ids = itertools.count(FIRST_SUPERGROUP)
        self._query_ids = itertools.count(1_500_000_000_000_000_001)
        # Private chats and basic groups share one count of messages, each supergroup and channel has its own:
        # https://core.telegram.org/api/channel#basic-groups.
        self._shared_message_ids = itertools.count(101)
        self._message_ids: dict[int, Iterator[int]] = {}

    # --- what comes into being

    def add_person(self, name: str, bot: bool, username: str) -> Person:
        person = Person(next(self._person_ids), name, bot, username)
        self.people[person.id] = person
        return person

    def add_chat(self, kind: str, title: str = "", person: Person | None = None, forum: bool = False) -> Chat:
        chat_id = person.id if person else -next(self._group_ids if kind == "group" else self._supergroup_ids)
        chat = Chat(chat_id, kind, title, person, forum)
        chat.members[self.bot.id] = "administrator" if kind == "channel" else "member"
        self.chats[chat.id] = chat
        return chat

    def add_message(self, message: Message) -> Message:
        """Its id is given here."""
        chat = message.chat
        if chat.kind in ("private", "group"):
            message.message_id = next(self._shared_message_ids)
        else:
            message.message_id = next(self._message_ids.setdefault(chat.id, itertools.count(1)))
        chat.messages.append(message)
        chat.members.setdefault(message.sender.id, "member")
        if message.sender.bot:
            chat.last_bot = message.sender
        return message

    def add_file(self, name: str, kind: str, content: bytes) -> File:
        file = File(f"AgACAgIAAxkBAAI{len(self.files):04}", name, kind, content)
        self.files[file.id] = file
        return file

    def add_query(self) -> str:
        query_id = str(next(self._query_ids))
        self.queries[query_id] = Query(time.monotonic())
        return query_id

    # --- what is asked for

    def chat(self, params: Parameters) -> Chat:
        wanted = params.text("chat_id")
        if not wanted:
            raise bad_request("chat_id is empty")
        chat = self.find_chat(wanted)
        if chat is None:
            if wanted.isdigit() and int(wanted) in self.people:
                raise Refusal(403, "Forbidden: bot can't initiate conversation with a user")
            raise bad_request("chat not found")
        if chat.migrated_to:
            raise bad_request("group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat.migrated_to)
        if chat.closed:
            raise Refusal(403, f"Forbidden: {chat.closed}")
        return chat

    def find_chat(self, wanted: str) -> Chat | None:
        """By id, or by @username of what is public."""
        if wanted.startswith("@"):
            return next((one for one in self.chats.values() if one.username == wanted[1:] and not one.person), None)
        return self.chats.get(int(wanted)) if wanted.removeprefix("-").isdigit() else None

    def find_file(self, file_id: str) -> File | None:
        """A photo's smaller size has an id of its own."""
        return self.files.get(file_id.removesuffix("s"))

    def message(self, params: Parameters, purpose: str) -> Message:
        chat = self.chat(params)
        if not params.text("message_id"):
            raise bad_request("message identifier is not specified")
        message = chat.message(params.whole("message_id"))
        if message is None:
            raise bad_request(f"message to {purpose} not found")
        return message
