"""What there is in this Telegram, and how the Bot API shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Person:
    """https://core.telegram.org/bots/api#user."""

    id: int
    name: str
    bot: bool = False
    username: str = ""

    def shown(self) -> dict[str, Any]:
        return filled(id=self.id, is_bot=self.bot, first_name=self.name, username=self.username)


@dataclass(eq=False)
class Chat:
    """https://core.telegram.org/bots/api#chat."""

    id: int
    kind: str
    """private · group · supergroup · channel."""
    title: str = ""
    person: Person | None = None
    """Of a private chat."""
    forum: bool = False
    username: str = ""
    topics: dict[int, Message] = field(default_factory=dict)
    """Of a forum: thread id -> the service message that began it."""
    members: dict[int, str] = field(default_factory=dict)
    """Person's id -> https://core.telegram.org/bots/api#chatmember's status."""
    messages: list[Message] = field(default_factory=list)
    closed: str = ""
    """Why the bot is forbidden to write here."""
    migrated_to: int = 0
    last_bot: Person | None = None
    """The bot that wrote here last."""

    def shown(self) -> dict[str, Any]:
        if self.person:
            return filled(
                id=self.id, type=self.kind, first_name=self.person.name, username=self.person.username, title=None
            )
        return filled(id=self.id, type=self.kind, title=self.title, is_forum=self.forum or None, username=self.username)

    def message(self, message_id: int) -> Message | None:
        return next((one for one in self.messages if one.message_id == message_id), None)


@dataclass(eq=False)
class File:
    """https://core.telegram.org/bots/api#file."""

    id: str
    name: str
    kind: str
    content: bytes
    path: str = ""
    """Where it is downloaded, once getFile was asked for it."""

    def shown(self) -> dict[str, Any]:
        return {"file_id": self.id, "file_unique_id": f"u{self.id}", "file_size": len(self.content)}


@dataclass(eq=False)
class Message:
    """https://core.telegram.org/bots/api#message."""

    chat: Chat
    message_id: int
    sender: Person
    text: str = ""
    """As people see it; of a file its caption."""
    html: str = ""
    """As the bot sent it, where it sent HTML."""
    entities: list[dict[str, Any]] = field(default_factory=list)
    markup: dict[str, Any] | None = None
    replied: Message | None = None
    thread_id: int | None = None
    """The topic."""
    document: File | None = None
    photo: File | None = None
    link_preview: dict[str, Any] | None = None
    service: dict[str, Any] = field(default_factory=dict)
    """What happened, where nobody wrote anything."""
    reactions: list[str] = field(default_factory=list)
    """The bot's."""
    edits: list[str] = field(default_factory=list)
    """Its texts before each edit."""
    date: int = field(default_factory=lambda: int(time.time()))
    edit_date: int | None = None

    @property
    def reply_to(self) -> int | None:
        return self.replied.message_id if self.replied else None

    @property
    def root(self) -> int:
        """The first message of the chain of replies."""
        return self.replied.root if self.replied else self.message_id

    def buttons(self) -> list[dict[str, Any]]:
        return [button for row in (self.markup or {}).get("inline_keyboard", []) for button in row]

    def shown(self, with_reply: bool = True) -> dict[str, Any]:
        # A channel's posts are by the channel.
        by = {"sender_chat": self.chat.shown()} if self.chat.kind == "channel" else {"from": self.sender.shown()}
        shown = {"message_id": self.message_id, **by, "chat": self.chat.shown(), "date": self.date}
        replied = self.replied
        if self.thread_id:
            shown |= {"message_thread_id": self.thread_id, "is_topic_message": True}
            # What answers nothing in a topic answers the message that began it:
            # https://github.com/tdlib/telegram-bot-api/issues/356.
            begun = self.chat.topics.get(self.thread_id)
            replied = replied or (begun if begun is not self else None)
        elif self.chat.kind == "supergroup" and not self.chat.forum and replied:
            # Replies are threads, but no topics, and can't be written to:
            # https://github.com/tdlib/telegram-bot-api/issues/447.
            shown["message_thread_id"] = self.root
        file = self._file()
        shown |= filled(
            edit_date=self.edit_date,
            reply_to_message=replied.shown(with_reply=False) if replied and with_reply else None,
            reply_markup=self.markup,
            link_preview_options=self.link_preview,
        )
        names = ("caption", "caption_entities") if file else ("text", "entities")
        return shown | file | filled(**dict(zip(names, (self.text, self.entities), strict=True))) | self.service

    def _file(self) -> dict[str, Any]:
        if self.document:
            return {
                "document": {**self.document.shown(), "file_name": self.document.name, "mime_type": self.document.kind}
            }
        if self.photo:  # https://core.telegram.org/bots/api#photosize: several sizes, the biggest last
            small = {**self.photo.shown(), "file_id": f"{self.photo.id}s", "width": 90, "height": 60}
            return {"photo": [small, {**self.photo.shown(), "width": 1280, "height": 853}]}
        return {}


@dataclass(eq=False)
class Update:
    """https://core.telegram.org/bots/api#update."""

    update_id: int
    """0: the bot does not get it."""
    kind: str
    body: dict[str, Any]
    queue: str
    """A webhook gets those of one queue one after the other."""
    message: Message | None = None
    fails: int = 0
    not_before: float = 0.0

    def shown(self) -> dict[str, Any]:
        return {"update_id": self.update_id, self.kind: self.body}


@dataclass(frozen=True)
class HttpResult:
    """What came of a POST to a webhook."""

    status: int
    """0: no answer."""
    body: bytes
    """Without an answer: why there is none."""
    seconds: float
    reason: str = ""
    retry_after: int = 0
    kind: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def filled(**fields: Any) -> dict[str, Any]:
    """Without what is empty: an optional field is left out, not null."""
    return {name: value for name, value in fields.items() if value or value is False}
